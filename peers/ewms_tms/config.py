"""Every setting of the TMS: typed, with unit and default, from `EWMS_TMS_<NAME>`.

Guarantees that a value out of range is refused at start-up, by its name, and nowhere later.
"""

from __future__ import annotations

import os
import shlex
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ewms_rpc.addresses import optional_tcp_address
from ewms_rpc.tls import require_pair
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
    wms_ca: Path | None = Field(
        None,
        description="PEM file of the CA of the WMS's certificate; then the WMS speaks TLS.",
    )
    wms_cert: Path | None = Field(None, description="PEM file of a certificate to show to the WMS.")
    wms_key: Path | None = Field(None, description="PEM file of that certificate's key.")
    mqs_ca: Path | None = Field(
        None, description="PEM file of the CA of the MQS's certificate, given to the pilots."
    )
    insecure: bool = Field(
        False, description="Speak plain text to a WMS on another machine, on a trusted network."
    )
    data: Path = Field(
        Path("ewms-data/tms"), description="Folder of journals, job event logs and workers' files."
    )
    schedd: Annotated[tuple[str, ...], NoDecode] = Field(
        ("local", "osg"), min_length=1, description="Schedds to be the agent of."
    )
    grid: Literal["local", "condor"] = Field(
        "local", description="What runs the workers: this machine, or HTCondor."
    )
    slots: int = Field(
        default_factory=_default_slots,
        ge=1,
        le=10_000,
        description="Slots of the local grid; a worker takes one for each of its cores.",
    )
    runner: Runner = Field(
        "process", description="How pilots run tasks: as containers, or as plain processes."
    )
    pilot: Annotated[tuple[str, ...], NoDecode] = Field(
        (str(Path(sys.executable).with_name("ewms-pilot")),),
        min_length=1,
        description="The pilot's command line. To HTCondor its first word goes along as the job's"
        " executable, so it must be one file that runs on any worker; with a pilot image it is a"
        " path in there.",
    )
    pilot_image: str = Field(
        "",
        description="The pilot's container image on HTCondor, `{tag}` in it being the tag that a"
        " task asks for. Default: none, the pilot is a plain process.",
    )
    condor_config: Path | None = Field(
        None, description="HTCondor's configuration. Default: where HTCondor looks for it."
    )
    condor_pool: str = Field(
        "", description="HOST[:PORT] of the collector. Default: as HTCondor's configuration says."
    )
    condor_schedds: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict,
        description="HTCondor's names of the schedds, `osg=schedd@host,…`. Default: their own.",
    )
    condor_tokens: Path | None = Field(
        None,
        description="Folder of the tokens that the schedds know us by."
        " Default: as HTCondor's configuration says.",
    )
    condor_scitoken: Path | None = Field(
        None,
        description="File of a SciToken that the schedds know us by, read anew for each connection;"
        " tried before other tokens. Default: as HTCondor's configuration says.",
    )
    condor_requirements: str = Field(
        "", description="ClassAd expression that is anded to the requirements of every worker."
    )
    condor_interval: timedelta = Field(
        timedelta(seconds=10),
        ge=timedelta(seconds=1),
        description="Between two looks at the room of the pool; seconds, or ISO 8601.",
    )
    input_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="Folders below which input files of HTCondor's workers may be, joined by"
        " commas. Default: none, input files are URLs.",
    )
    retention: timedelta = Field(
        timedelta(days=7),
        ge=timedelta(hours=1),
        description="For how long files of ended clusters are kept; seconds, or ISO 8601.",
    )
    archive: Path | None = Field(
        None,
        description="Folder that those files are packed into before they are deleted."
        " Default: none, they are gone.",
    )
    metrics: Annotated[str, AfterValidator(optional_tcp_address)] = Field(
        "", description="HOST:PORT of the metrics for Prometheus. Default: not served."
    )
    stack: str = Field(
        "", description="Set by `ewms up`: the WMS of another stack is not worked for."
    )
    log_json: bool = Field(False, description="Log JSON instead of text.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least level that is logged."
    )

    @model_validator(mode="after")
    def _whole_certificates(self) -> Self:
        require_pair(self.wms_cert, self.wms_key)
        return self

    @model_validator(mode="after")
    def _usable_pilot(self) -> Self:
        if self.grid == "condor" and not self.pilot_image and not Path(self.pilot[0]).is_file():
            raise ValueError(f"the pilot {self.pilot[0]} is no file that could be sent to a worker")
        unknown = self.condor_schedds.keys() - set(self.schedd)
        if unknown:
            raise ValueError(f"condor_schedds names {', '.join(sorted(unknown))}, not in schedd")
        return self

    @field_validator("condor_schedds", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        parts = value.split(",") if isinstance(value, str) else value
        pairs = [part.strip().partition("=") for whole in parts for part in whole.split(",")]
        if not all(name and equals and schedd for name, equals, schedd in pairs if name):
            raise ValueError("must be NAME=SCHEDD, joined by commas")
        return {name: schedd for name, _, schedd in pairs if name}

    @field_validator("input_roots", mode="before")
    @classmethod
    def _split_paths(cls, value: Any) -> Any:
        parts = value.split(",") if isinstance(value, str) else value
        paths = [Path(part.strip()) for part in map(str, parts) if part.strip()]
        if not all(path.is_absolute() for path in paths):
            raise ValueError("must be absolute paths")
        return tuple(paths)

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
