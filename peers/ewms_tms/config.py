"""Every setting of the TMS: typed, with unit and default, from `EWMS_TMS_<NAME>`.

Guarantees that a value out of range is refused at start-up, by its name, and nowhere later.
"""

from __future__ import annotations

import os
import shlex
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ewms_tms.submission import Runner

__all__ = ["TmsSettings"]

_LEAST_SLOTS = 16
_SLOTS_PER_CORE = 4


def _default_slots() -> int:
    return max(_LEAST_SLOTS, _SLOTS_PER_CORE * (os.cpu_count() or 1))


class TmsSettings(BaseSettings):
    """How one TMS process runs."""

    model_config = SettingsConfigDict(env_prefix="EWMS_TMS_", frozen=True)

    wms: str = Field("127.0.0.1:50051", min_length=1, description="HOST:PORT of the WMS.")
    insecure: bool = Field(
        False, description="Speak plain text to a WMS on another machine, on a trusted network."
    )
    data: Path = Field(
        Path("ewms-data/tms"), description="Folder of journals, job event logs and workers' files."
    )
    schedd: Annotated[tuple[str, ...], NoDecode] = Field(
        ("local", "osg"), min_length=1, description="Schedds to be the agent of."
    )
    grid: Literal["local"] = Field("local", description="What runs the workers.")
    slots: int = Field(
        default_factory=_default_slots,
        ge=1,
        le=10_000,
        description="Workers of the local grid that run at once.",
    )
    runner: Runner = Field(
        "process", description="How pilots run tasks: as containers, or as plain processes."
    )
    pilot: Annotated[tuple[str, ...], NoDecode] = Field(
        (str(Path(sys.executable).with_name("ewms-pilot")),),
        min_length=1,
        description="The pilot's command line.",
    )
    retention: timedelta = Field(
        timedelta(days=7),
        ge=timedelta(hours=1),
        description="For how long files of ended clusters are kept; seconds, or ISO 8601.",
    )
    stack: str = Field(
        "", description="Set by `ewms up`: the WMS of another stack is not worked for."
    )
    log_json: bool = Field(False, description="Log JSON instead of text.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least level that is logged."
    )

    @field_validator("schedd", mode="before")
    @classmethod
    def _split_schedds(cls, value: Any) -> Any:
        parts = value.split(",") if isinstance(value, str) else value
        names = [name.strip() for part in parts for name in part.split(",") if name.strip()]
        if len(set(names)) != len(names):
            raise ValueError("names a schedd twice")
        if any("/" in name or name.startswith(".") for name in names):
            raise ValueError("a schedd's name must be usable as a folder's")
        return tuple(names)

    @field_validator("pilot", mode="before")
    @classmethod
    def _split_command(cls, value: Any) -> Any:
        return tuple(shlex.split(value)) if isinstance(value, str) else value
