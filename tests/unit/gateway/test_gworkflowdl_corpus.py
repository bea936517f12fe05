"""The corpus of GWorkflowDL: what each file gives, its way there and back, its final markings."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
from lxml import etree
from xml_corpus import CORPUS, ROOT, bundle_of, manifest, page_with_table

from wms_grpc.domain.coloured import Binding
from wms_grpc.domain.nets import Token, Transition
from wms_grpc.domain.token_game import Marking, TokenGame, final_markings
from wms_grpc.gateway.equality import differences
from wms_grpc.gateway.gworkflowdl_reader import GWorkflowDL
from wms_grpc.gateway.gworkflowdl_writer import GWorkflowDLWriter
from wms_grpc.gateway.model import Bundle, Refused, Workflow
from wms_grpc.gateway.xml_tokens import string_of
from wms_grpc.gateway.xpath import expressions_of

_LANGUAGE = GWorkflowDL()
_FILES = manifest("gworkflowdl")
_READ = [name for name, entry in _FILES.items() if entry["outcome"] != "refused"]
_PLAYED = [name for name, entry in _FILES.items() if "final_markings" in entry]
_DEPARTURES = {"ID_NOT_NAME", "ID_TWICE", "ELEMENT_ORDER", "UNKNOWN_ELEMENT"}
_CLASS = "{http://www.gridworkflow.org/gworkflowdl/operationclass}operationClass"
_FOLDER = CORPUS / "gworkflowdl"
_MAIN = etree.XMLSchema(etree.parse(_FOLDER / "gworkflowdl_2_0.xsd"))
_CLASSES = etree.XMLSchema(etree.parse(_FOLDER / "gworkflowdl_operationclass_2_0.xsd"))


def schema_errors(data: bytes) -> list[str]:
    """What the language's own schemas say."""
    errors: list[str] = []
    document = etree.fromstring(data)
    if not _MAIN.validate(document):
        errors.extend(map(str, _MAIN.error_log))
    for element in document.iter(_CLASS):
        if not _CLASSES.validate(etree.fromstring(etree.tostring(element))):
            errors.extend(map(str, _CLASSES.error_log))
    return errors


def test_the_manifest_is_of_the_files_that_there_are() -> None:
    assert set(_FILES) == {path.name for path in (CORPUS / "gworkflowdl").glob("*.gwdl")}


@pytest.mark.parametrize("name", _FILES)
def test_a_file_gives_what_the_manifest_says(name: str) -> None:
    entry, bundle = _FILES[name], bundle_of("gworkflowdl", name)
    assert _LANGUAGE.claims(bundle)
    if entry["outcome"] == "refused":
        with pytest.raises(Refused) as refused:
            _LANGUAGE.read(bundle)
        finding = refused.value.finding
        assert (finding.code, finding.position.line) == (entry["code"], entry["line"])
        assert finding.message == entry["reason"]
        return
    translation = _LANGUAGE.read(bundle)
    found: dict[str, list[int]] = defaultdict(list)
    for finding in translation.findings:
        assert finding.position.column > 0
        found[finding.code].append(finding.position.line)
    assert found == entry.get("findings", {})
    assert bool(found) == (entry["outcome"] == "translated with findings")
    net = translation.workflow.net
    assert (len(net.places), len(net.transitions)) == (entry["places"], entry["transitions"])
    assert [task.name for task in translation.workflow.tasks] == entry["tasks"]


@pytest.mark.parametrize("name", _READ)
def test_the_schemas_find_fault_where_we_do(name: str) -> None:
    bundle = bundle_of("gworkflowdl", name)
    found = {finding.code for finding in _LANGUAGE.read(bundle).findings}

    assert bool(schema_errors(bundle.files[name])) == bool(found & _DEPARTURES)


@pytest.mark.parametrize("name", _READ)
def test_what_is_written_is_valid_and_the_same_net(name: str) -> None:
    workflow = _LANGUAGE.read(bundle_of("gworkflowdl", name)).workflow
    written = GWorkflowDLWriter().write(workflow)

    assert written.findings == ()
    assert schema_errors(written.bundle.files[written.bundle.main]) == []
    again = _LANGUAGE.read(written.bundle)
    assert differences(workflow, again.workflow) == []
    assert not {finding.code for finding in again.findings} & _DEPARTURES


@pytest.mark.parametrize("name", [name for name in _PLAYED if "10000" not in name])
def test_a_net_comes_to_rest_where_it_should(name: str) -> None:
    workflow = _LANGUAGE.read(bundle_of("gworkflowdl", name)).workflow
    final = final_markings(workflow.net, expressions_of(workflow.net))

    assert _sorted(map(_plain, final)) == _sorted(_FILES[name]["final_markings"])


@pytest.mark.parametrize("name", _PLAYED)
def test_every_seed_plays_to_one_of_the_final_markings(name: str) -> None:
    workflow = _LANGUAGE.read(bundle_of("gworkflowdl", name)).workflow
    allowed = _FILES[name]["final_markings"]
    seen = [_played(workflow, seed) for seed in range(1 if "10000" in name else 40)]

    assert all(marking in allowed for marking in seen)
    if "10000" not in name:
        assert len({str(marking) for marking in seen}) == len(allowed)


def test_the_sub_workflow_is_a_task_once_its_file_is_in_the_bundle() -> None:
    main = "masterworkflow-sdpa-test.gwdl"
    inner = (CORPUS / "gworkflowdl" / "subworkflow-sdpa-test.gwdl").read_bytes()
    files = {
        f"nets/{main}": (CORPUS / "gworkflowdl" / main).read_bytes(),
        "nets/workflows/subworkflow-sdpa-test.gwdl": inner,
    }
    translation = _LANGUAGE.read(Bundle(files, f"nets/{main}"))

    assert translation.findings == ()
    [task] = translation.workflow.tasks
    assert task.name == "sub-workflow"
    assert task.work.file == "nets/workflows/subworkflow-sdpa-test.gwdl"  # type: ignore[union-attr]


def test_the_table_in_the_docs_is_fresh() -> None:
    page = (ROOT / "docs" / "languages" / "gworkflowdl.md").read_text()

    assert page == page_with_table("gworkflowdl")


def _played(workflow: Workflow, seed: int) -> dict[str, list[str]]:
    game = TokenGame(workflow.net, expressions_of(workflow.net), seed=seed)
    game.run()
    return _plain(game.marking)


def _plain(marking: Marking) -> dict[str, list[str]]:
    return {
        place: sorted(string_of(token.value or "") for token in tokens)
        for place, tokens in sorted(marking.items())
    }


def _sorted(markings: Any) -> list[str]:
    return sorted(str(dict(sorted(marking.items()))) for marking in markings)


@pytest.mark.parametrize("seed", range(3))
def test_the_remigration_runs_to_its_end_once_its_operations_have_results(seed: int) -> None:
    """Two frequencies of three depth levels: six levels are calculated, and every global taken."""
    net = _LANGUAGE.read(bundle_of("gworkflowdl", "remigration.up4.gwdl")).workflow.net
    start = Token("<data><config>file:///config</config></data>")
    places = tuple(
        replace(place, tokens=(start,)) if place.id == "config_file" else place
        for place in net.places
    )
    sizes = {
        "number_of_frequencies": "2",
        "number_of_depthlevels": "3",
        "number_of_parallel_propagators": "1",
    }
    calculated: list[str] = []

    def results(transition: Transition, binding: Binding) -> dict[str, str]:
        said = {name: string_of(token.value or "") for name, token in binding.variables.items()}
        if transition.name == "calc_one_level":
            calculated.append(said["slice_and_depth"])
        same = {f"{name}_OUT": value for name, value in said.items()}
        return {**same, **(sizes if transition.name == "init" else {})}

    game = TokenGame(replace(net, places=places), expressions_of(net), seed=seed, results=results)
    game.run()

    assert sorted(calculated) == ["0", "1", "2", "3", "4", "5"]
    assert _plain(game.marking) == {"done": ["true"], "slices_queued": ["0"]}
