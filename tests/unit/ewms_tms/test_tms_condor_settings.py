"""How a TMS's settings reach HTCondor's bindings: as the environment of its helper."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ewms_tms.config import TmsSettings
from ewms_tms.program import condor_environment


def settings(**given: object) -> TmsSettings:
    return TmsSettings.model_validate({"grid": "condor", "pilot": ["/bin/true"], **given})


def test_what_is_not_set_is_left_to_htcondors_own_configuration() -> None:
    assert condor_environment(settings()) == {}


def test_the_bindings_take_what_is_set(tmp_path: Path) -> None:
    if importlib.util.find_spec("htcondor2") is None:
        pytest.skip("no HTCondor bindings (pip install htcondor)")
    given = condor_environment(
        settings(
            condor_pool="pool.example.org:9619",
            condor_tokens=tmp_path / "tokens",
            condor_scitoken=tmp_path / "scitoken",
        )
    )
    names = (
        "COLLECTOR_HOST", "SEC_TOKEN_DIRECTORY", "SCITOKENS_FILE",
        "SEC_CLIENT_AUTHENTICATION_METHODS",
    )  # fmt: skip
    # In a process of its own: the bindings change the environment of who imports them.
    said = subprocess.run(
        [sys.executable, "-c", f"import htcondor2\nfor n in {names}: print(htcondor2.param[n])"],
        env={**os.environ, "CONDOR_CONFIG": "ONLY_ENV", **given},
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    assert said[:4] == [
        "pool.example.org:9619",
        str(tmp_path / "tokens"),
        str(tmp_path / "scitoken"),
        "SCITOKENS, IDTOKENS",
    ]
