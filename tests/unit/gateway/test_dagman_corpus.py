"""HTCondor's own DAG files: each gives what the manifest says, and comes back the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dagman_bundles import CORPUS, corpus, returns_the_same

from wms_grpc.gateway.dagman import Dagman
from wms_grpc.gateway.model import Bundle, Refused

_FILES = corpus()
_MANIFEST: dict[str, dict[str, Any]] = json.loads((CORPUS / "manifest.json").read_text())


def test_the_manifest_names_every_file() -> None:
    assert sorted(_MANIFEST) == sorted(_FILES)


@pytest.mark.parametrize("name", _MANIFEST)
def test_a_file_gives_what_the_manifest_says(name: str) -> None:
    expected = _MANIFEST[name]
    language, bundle = Dagman(), Bundle(_FILES, name)
    assert language.claims(bundle)

    if expected["gives"] == "refused":
        with pytest.raises(Refused) as caught:
            language.read(bundle)
        finding = caught.value.finding
        where = (finding.position.file, finding.position.line, finding.code)
        assert where == (expected.get("file", name), expected["line"], expected["code"])
        assert finding.message == expected["reason"]
        return

    translation = language.read(bundle)
    found = [
        [f.code, f.position.line, f.severity]
        + ([f.position.file] if f.position.file != name else [])
        for f in translation.findings
    ]
    assert sorted(found) == sorted(expected.get("findings", []))
    assert len(translation.workflow.tasks) == expected["tasks"]
    assert (expected["gives"] == "translated") == (not found)
    assert len(translation.workflow.net.transitions) >= len(
        [task for task in translation.workflow.tasks if task.role == "node"]
    )
    returns_the_same(translation)


def test_every_finding_has_its_place() -> None:
    for name, expected in _MANIFEST.items():
        if expected["gives"] != "refused":
            for finding in Dagman().read(Bundle(_FILES, name)).findings:
                line = _FILES[finding.position.file].decode().split("\n")[finding.position.line - 1]
                assert 1 <= finding.position.column <= len(line)


def test_the_table_in_the_docs_is_that_of_the_manifest() -> None:
    script = Path(__file__).parents[3] / "scripts" / "generate_dagman_table.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0
