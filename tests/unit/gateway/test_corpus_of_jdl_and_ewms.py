"""Each file of the corpora of job descriptions and of requests gives what its manifest says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wms_grpc.gateway.equality import differences
from wms_grpc.gateway.ewms import Ewms
from wms_grpc.gateway.jdl import Jdl
from wms_grpc.gateway.model import Bundle, Refused, Translation

ROOT = Path(__file__).resolve().parents[3]
CORPUS = ROOT / "tests" / "corpus"
LANGUAGES = {"jdl": Jdl(), "ewms": Ewms()}
ENTRIES = {
    (language, name): entry
    for language in LANGUAGES
    for name, entry in json.loads((CORPUS / language / "manifest.json").read_text()).items()
}
TRANSLATED = [key for key, entry in ENTRIES.items() if entry["gives"] != "refused"]
REFUSED = [key for key, entry in ENTRIES.items() if entry["gives"] == "refused"]


def bundle_of(language: str, name: str) -> Bundle:
    names = [name, *ENTRIES[language, name].get("with", [])]
    return Bundle({path: (CORPUS / language / path).read_bytes() for path in names}, name)


def read(language: str, name: str) -> Translation:
    return LANGUAGES[language].read(bundle_of(language, name))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_manifest_names_every_file(language: str) -> None:
    folder = CORPUS / language
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    assert files - {"manifest.json"} == {name for of, name in ENTRIES if of == language}


@pytest.mark.parametrize(("language", "name"), ENTRIES)
def test_a_file_is_claimed_by_its_own_language_alone(language: str, name: str) -> None:
    claims = {of for of, known in LANGUAGES.items() if known.claims(bundle_of(language, name))}

    assert claims == {language}


@pytest.mark.parametrize(("language", "name"), TRANSLATED)
def test_a_file_is_translated_with_the_findings_that_it_deserves(language: str, name: str) -> None:
    entry = ENTRIES[language, name]
    translation = read(language, name)
    found = [
        [finding.code, finding.position.line]
        + ([finding.position.file] if finding.position.file != name else [])
        for finding in translation.findings
    ]
    pairs = {
        (parent, child)
        for dependency in translation.workflow.dependencies
        for parent in dependency.parents
        for child in dependency.children
    }

    assert sorted(found) == sorted(entry.get("findings", []))
    assert len(translation.workflow.tasks) == entry["tasks"]
    assert len(pairs) == entry["dependencies"]
    assert translation.workflow.net.transitions


@pytest.mark.parametrize(("language", "name"), REFUSED)
def test_a_file_is_refused_where_it_is_wrong(language: str, name: str) -> None:
    entry = ENTRIES[language, name]
    with pytest.raises(Refused) as refused:
        read(language, name)

    finding = refused.value.finding
    assert (finding.code, finding.position.line) == (entry["code"], entry["line"])
    assert entry["reason"] in finding.message
    assert finding.position.file == name
    assert finding.position.column > 0


@pytest.mark.parametrize(("language", "name"), TRANSLATED)
def test_a_file_comes_back_as_the_same_workflow(language: str, name: str) -> None:
    bundle = bundle_of(language, name)
    workflow = read(language, name).workflow
    written = LANGUAGES[language].write(workflow).bundle
    beside = {path: data for path, data in bundle.files.items() if path != name}
    again = Bundle({**beside, **written.files}, written.main)

    assert differences(workflow, LANGUAGES[language].read(again).workflow) == []


@pytest.mark.parametrize(("language", "name"), [key for key in TRANSLATED if key[0] == "jdl"])
def test_a_job_description_comes_through_a_request_as_the_same(language: str, name: str) -> None:
    bundle = bundle_of(language, name)
    workflow = read(language, name).workflow
    through = Ewms().read(Ewms().write(workflow).bundle).workflow
    written = Jdl().write(through).bundle
    beside = {path: data for path, data in bundle.files.items() if path != name}
    again = Bundle({**beside, **written.files}, written.main)

    assert differences(workflow, Jdl().read(again).workflow) == []


def test_the_tables_in_the_documentation_are_fresh() -> None:
    script = ROOT / "scripts" / "generate_corpus_tables.py"
    subprocess.run([sys.executable, script, "--check", *LANGUAGES], check=True)
