"""WfFormat: what is read, what is told of it, and simulations."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from corpus_manifests import bundle_of, corpus_files, expectations, outcome, page_with_table
from hypothesis import given, settings
from hypothesis import strategies as st
from wfformat_generator import generated

from wms_grpc.domain.analysis import Subject, analyze, shape_of
from wms_grpc.domain.nets import Dependency
from wms_grpc.domain.tasks import BatchWork
from wms_grpc.gateway.analysed import analysed
from wms_grpc.gateway.model import Bundle, Refused, Translation
from wms_grpc.gateway.wfformat_reader import WfFormat, measured_durations

FILES = sorted(expectations("wfformat"))


def _bundle(document: object) -> Bundle:
    content = document if isinstance(document, bytes) else json.dumps(document, indent=1).encode()
    return Bundle({"w.json": content}, "w.json")


def _document(*tasks: dict[str, object], **workflow: object) -> dict[str, object]:
    defaults: dict[str, object] = {"parents": [], "children": []}
    specification = {"tasks": [{"name": task["id"], **defaults, **task} for task in tasks]}
    execution = {
        "tasks": [
            {"id": t["id"], "runtimeInSeconds": 10, "command": {"program": "p"}} for t in tasks
        ]
    }
    return {
        "name": "w",
        "schemaVersion": "1.5",
        "workflow": {"specification": specification, "execution": execution, **workflow},
    }


def _read(document: object, simulate: float | None = None) -> Translation:
    return WfFormat(simulate).read(_bundle(document))


def _refusal(document: object) -> tuple[str, int, int]:
    with pytest.raises(Refused) as refused:
        _read(document)
    finding = refused.value.finding
    return finding.code, finding.position.line, finding.position.column


def _work(translation: Translation, name: str) -> BatchWork:
    work = next(task.work for task in translation.workflow.tasks if task.name == name)
    assert isinstance(work, BatchWork)
    return work


@pytest.mark.parametrize("file", FILES)
def test_each_file_of_the_corpus_gives_what_its_manifest_says(file: str) -> None:
    expected = expectations("wfformat")[file]
    found = outcome(WfFormat(), bundle_of("wfformat", file))
    assert (found.gives, sorted(found.findings)) == (expected.gives, sorted(expected.findings))


def test_the_manifest_has_every_file_and_the_page_its_table() -> None:
    assert corpus_files("wfformat") == set(FILES)
    page, fresh = page_with_table("wfformat")
    assert page == fresh, "run `python tests/corpus_manifests.py wfformat`"


@pytest.mark.parametrize("file", [f for f in FILES if not f.startswith(("ours", "wfcommons"))])
def test_all_that_a_real_file_says_of_its_order_and_times_is_there(file: str) -> None:
    bundle = bundle_of("wfformat", file)
    said = json.loads(bundle.files[file])["workflow"]
    workflow = WfFormat().read(bundle).workflow
    assert [task.name for task in workflow.tasks] == [
        task["id"] for task in said["specification"]["tasks"]
    ]
    pairs = {(p, c) for d in workflow.dependencies for p in d.parents for c in d.children}
    assert pairs == {(p, t["id"]) for t in said["specification"]["tasks"] for p in t["parents"]}
    assert measured_durations(workflow) == {
        task["id"]: task["runtimeInSeconds"] for task in said["execution"]["tasks"]
    }
    found = analyze(Subject(workflow.tasks, workflow.dependencies))
    assert not [finding for finding in found if finding.severity == "error"]


@pytest.mark.parametrize("file", [f for f in FILES if not f.startswith(("ours", "wfcommons"))])
def test_every_real_file_can_be_simulated_without_a_word(file: str) -> None:
    simulated = WfFormat(simulate=0.001).read(bundle_of("wfformat", file))
    assert not simulated.findings
    made = {f"task:{t.name}/{o}" for t in simulated.workflow.tasks for o in _outputs(t.work)}
    wanted = {i for t in simulated.workflow.tasks for i in _inputs(t.work)}
    assert wanted <= made


def _outputs(work: object) -> tuple[str, ...]:
    assert isinstance(work, BatchWork)
    return work.outputs


def _inputs(work: object) -> tuple[str, ...]:
    assert isinstance(work, BatchWork)
    return work.inputs


def test_a_task_is_the_command_that_ran_with_its_files() -> None:
    document = _document(
        {"id": "a", "outputFiles": ["x"], "children": ["b"]},
        {"id": "b", "parents": ["a"], "inputFiles": ["x", "http://there/y"]},
    )
    document["workflow"]["execution"]["tasks"][1] |= {  # type: ignore[index]
        "coreCount": 4,
        "priority": 20,
        "command": {"program": "blast", "arguments": ["-i", "x"]},
        "avgCPU": 99.5,
    }
    translation = _read(document)
    assert not translation.findings
    work = _work(translation, "b")
    assert (work.executable, work.arguments, work.n_cores) == ("blast", ("-i", "x"), 4)
    assert work.inputs == ("task:a/x", "http://there/y")
    task = translation.workflow.tasks[1]
    assert task.priority == 20
    assert task.annotations["wfformat"]["avgCPU"] == 99.5  # type: ignore[index]


def test_the_old_layout_is_read_by_id_and_refers_by_name() -> None:
    translation = WfFormat().read(bundle_of("wfformat", "ours-version-1.4.json"))
    workflow = translation.workflow
    assert [task.name for task in workflow.tasks] == ["ID000001", "ID000002", "ID000003"]
    assert workflow.dependencies == (
        Dependency(("ID000001",), ("ID000002",)),
        Dependency(("ID000001",), ("ID000003",)),
    )
    assert _work(translation, "ID000003").inputs == ("task:ID000001/parts/part.2",)
    assert _work(translation, "ID000002").n_cores == 4
    assert measured_durations(workflow) == {"ID000001": 1.5, "ID000002": 8, "ID000003": 6}
    annotations = workflow.annotations["wfformat"]
    assert annotations["wms"] == {"name": "Makeflow", "version": "7.1"}  # type: ignore[index]


def test_times_may_stand_in_the_specification_too() -> None:
    document = _document({"id": "a", "runtimeInSeconds": 3, "avgCPU": 7}, {"id": "b"})
    document["workflow"]["execution"]["tasks"][0] = {"id": "a", "coreCount": 2}  # type: ignore[index]
    translation = _read(document)
    assert measured_durations(translation.workflow) == {"a": 3, "b": 10}
    assert _work(translation, "a").n_cores == 2


@pytest.mark.parametrize("number", [-1, 10**300, 1e300, "12", True, None, [1]])
def test_odd_numbers_are_told_and_never_break_anything(number: object) -> None:
    document = _document({"id": "a", "outputFiles": ["x"]})
    document["workflow"]["specification"]["files"] = [{"id": "x", "sizeInBytes": number}]  # type: ignore[index]
    document["workflow"]["execution"]["tasks"][0] |= {  # type: ignore[index]
        "runtimeInSeconds": number,
        "coreCount": number,
        "priority": number,
    }
    for scale in (None, 0.5, 1e308):
        translation = _read(document, simulate=scale)
        analysed(translation)
        told = {finding.code for finding in translation.findings}
        assert ("BAD_VALUE" in told) == (number is not None)


def test_names_may_repeat_and_ids_may_not() -> None:
    translation = _read(_document({"id": "a", "name": "same"}, {"id": "b", "name": "same"}))
    assert [task.name for task in translation.workflow.tasks] == ["a", "b"]
    assert _refusal(_document({"id": "a"}, {"id": "a"}))[0] == "DUPLICATE_NAME"


def test_an_edge_that_one_side_only_tells_is_there() -> None:
    document = _document(
        {"id": "a", "children": ["b", "c"]}, {"id": "b", "parents": ["a"]}, {"id": "c"}
    )
    translation = _read(document)
    assert Dependency(("a",), ("c",)) in translation.workflow.dependencies
    assert [(f.code, f.subject) for f in translation.findings] == [("ONE_SIDED_EDGE", "a")]


def test_who_reads_what_another_writes_comes_after_it() -> None:
    document = _document({"id": "r", "inputFiles": ["x"]}, {"id": "w", "outputFiles": ["x"]})
    translation = _read(document)
    assert translation.workflow.dependencies == (Dependency(("w",), ("r",)),)
    assert [(f.code, f.severity) for f in translation.findings] == [("IMPLIED_DEPENDENCY", "info")]


def test_a_file_that_is_written_only_afterwards_makes_no_cycle() -> None:
    document = _document(
        {"id": "first", "inputFiles": ["x"], "children": ["last"]},
        {"id": "last", "outputFiles": ["x"], "parents": ["first"]},
    )
    translation = _read(document)
    assert translation.workflow.dependencies == (Dependency(("first",), ("last",)),)
    codes = {finding.code for finding in translation.findings}
    assert codes == {"MISSING_FILE", "DATA_WITHOUT_ORDER"}


def test_a_cycle_is_left_for_the_analysis() -> None:
    workflow = _read(
        _document({"id": "a", "parents": ["b"]}, {"id": "b", "parents": ["a"]})
    ).workflow
    found = analyze(Subject(workflow.tasks, workflow.dependencies))
    assert [(f.code, f.subject) for f in found] == [("CYCLE", "a")]


def test_the_analysis_knows_lines_and_measured_times() -> None:
    found = analysed(_read(_document({"id": "a"}, {"id": "b", "parents": ["a"]})))
    path = next(finding for finding in found if finding.code == "CRITICAL_PATH")
    assert path.message == "the longest path has 2 tasks: a, b; at least 20 s"
    assert (path.subject, path.position.line) == ("b", 13)


def test_a_file_in_place_is_no_edge_to_oneself() -> None:
    translation = _read(_document({"id": "a", "inputFiles": ["x"], "outputFiles": ["x"]}))
    assert not translation.workflow.dependencies


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (b"", ("SYNTAX", 1, 1)),
        (b"[1, 2", ("SYNTAX", 1, 6)),
        (b'{"a": 1,\n "a": 2}', ("DUPLICATE_FIELD", 2, 2)),
        (b'{"a": \n 1e999}', ("SYNTAX", 2, 2)),
        (b'{"a": ' + b"9" * 400 + b"}", ("SYNTAX", 1, 7)),
        (b'{"a": "\\ud800"}', ("SYNTAX", 1, 7)),
        (b'{"a": "\xff"}', ("SYNTAX", 1, 8)),
        (b'{"a": NaN}', ("SYNTAX", 1, 7)),
        (b"[" * 1_000, ("TOO_DEEP", 1, 101)),
        (b'{"a": "' + b"x" * 70_000 + b'"}', ("TOO_LARGE", 1, 7)),
        (b"1" * 5_000, ("SYNTAX", 1, 1)),
        (b"{} x", ("SYNTAX", 1, 4)),
        (b"{}", ("MISSING_FIELD", 1, 1)),
        (b'{"schemaVersion": 1.5}', ("WRONG_TYPE", 1, 19)),
        (b'{"schemaVersion": "1.5"}', ("MISSING_FIELD", 1, 1)),
        (b'{"schemaVersion": "1.5", "workflow": {}}', ("MISSING_FIELD", 1, 38)),
        (b'{"schemaVersion": "1.5", "workflow": {"tasks": []}}', ("NO_TASKS", 1, 48)),
        (b'{"schemaVersion": "1.5", "workflow": {"tasks": [7]}}', ("WRONG_TYPE", 1, 49)),
    ],
)
def test_bad_input_is_refused_where_it_is_bad(
    content: bytes, refusal: tuple[str, int, int]
) -> None:
    assert _refusal(content) == refusal


def test_a_newer_version_is_read_as_the_one_before() -> None:
    document = _document({"id": "a"}) | {"schemaVersion": "1.6"}
    assert [finding.code for finding in _read(document).findings] == ["NEWER_VERSION"]


def test_it_claims_its_files_and_no_others() -> None:
    reader = WfFormat()
    claimed = {file for file in FILES if reader.claims(bundle_of("wfformat", file))}
    assert set(FILES) - claimed == {"wfcommons-schema.json"}
    for content in (b"", b"{}", b"JOB a a.sub\n", b'{"tasks": [{"name": "x"}]}', b"\xff\xfe{"):
        assert not reader.claims(_bundle(content))


def test_what_has_no_meaning_here_is_kept() -> None:
    document = _document({"id": "a", "colour": "red"}, repo="https://there")
    document["workflow"]["specification"] |= {  # type: ignore[index]
        "files": [{"id": "x", "sizeInBytes": 1, "sha": "77"}],
        "more": 1,
    }
    document["workflow"]["execution"] |= {"machines": [{"nodeName": "n"}]}  # type: ignore[index]
    workflow = _read(document).workflow
    said = workflow.annotations["wfformat"]
    assert said == {
        "schemaVersion": "1.5",
        "workflow": {
            "repo": "https://there",
            "specification": {"more": 1},
            "execution": {"machines": [{"nodeName": "n"}]},
        },
        "sizes": {"x": 1},
        "files": {"x": {"sha": "77"}},
    }
    assert workflow.tasks[0].annotations["wfformat"]["colour"] == "red"  # type: ignore[index]


def test_measurements_of_no_task_are_told_and_kept() -> None:
    document = _document({"id": "a"})
    document["workflow"]["execution"]["tasks"] += [  # type: ignore[index]
        {"id": "b", "runtimeInSeconds": 1},
        {"id": "a", "runtimeInSeconds": 2},
    ]
    translation = _read(document)
    told = [(finding.code, finding.subject) for finding in translation.findings]
    assert told == [("UNKNOWN_EXECUTION", "b"), ("UNKNOWN_EXECUTION", "a")]
    said = translation.workflow.annotations["wfformat"]
    strays = said["workflow"]["execution"]["tasks"]  # type: ignore[index]
    assert [stray["runtimeInSeconds"] for stray in strays] == [1, 2]
    assert measured_durations(translation.workflow) == {"a": 10}


def test_a_simulated_task_sleeps_and_writes_as_much(tmp_path: Path) -> None:
    document = _document({"id": "a", "outputFiles": ["/x/out put.txt", "/y/out_put.txt", "-n"]})
    document["workflow"]["specification"]["files"] = [  # type: ignore[index]
        {"id": "/x/out put.txt", "sizeInBytes": 1000},
        {"id": "/y/out_put.txt", "sizeInBytes": 3000},
        {"id": "-n", "sizeInBytes": 0},
    ]
    document["workflow"]["execution"]["tasks"][0]["runtimeInSeconds"] = 1  # type: ignore[index]
    work = _work(_read(document, simulate=0.01), "a")
    assert work.arguments[2:4] == ("simulate", "0.01")
    subprocess.run([work.executable, *work.arguments], cwd=tmp_path, check=True, timeout=20)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes == {"_x_out_put.txt": 10, "_y_out_put.txt": 30, "_n": 0}
    assert set(work.outputs) == set(sizes)
    assert work.n_cores is None


def test_what_a_simulation_does_not_know_is_told() -> None:
    document = _document({"id": "a", "outputFiles": ["x"]})
    del document["workflow"]["execution"]  # type: ignore[attr-defined]
    assert [finding.code for finding in _read(document, simulate=1).findings] == [
        "NO_RUNTIME",
        "NO_SIZE",
    ]
    assert [finding.code for finding in _read(document).findings] == ["NO_COMMAND"]


@pytest.mark.parametrize("scale", [-1, float("nan"), float("inf")])
def test_a_scale_is_a_number_from_zero(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        WfFormat(simulate=scale)


def test_a_workflow_of_a_thousand_tasks_comes_from_a_seed() -> None:
    content = generated(1_000, seed=5)
    assert content == generated(1_000, seed=5) != generated(1_000, seed=6)
    translation = _read(content, simulate=0)
    workflow = translation.workflow
    assert len(workflow.tasks) == 1_000
    assert not translation.findings
    measures = shape_of(Subject(workflow.tasks, workflow.dependencies))
    assert measures is not None
    assert measures.n_levels > 5


def test_tasks_stand_where_they_are_written() -> None:
    translation = _read(_document({"id": "a"}, {"id": "b"}))
    assert [translation.positions[name].line for name in "ab"] == [7, 13]


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "tasks",
                    "id",
                    "name",
                    "parents",
                    "files",
                    "workflow",
                    "execution",
                    "specification",
                    "command",
                    "link",
                    "sizeInBytes",
                    "coreCount",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@settings(max_examples=150, deadline=None)
@given(_JSON, st.sampled_from([None, 0.5]))
def test_whatever_a_file_holds_it_is_read_or_refused(value: object, simulate: float | None) -> None:
    _reads_or_refuses({"schemaVersion": "1.5", "workflow": value}, simulate)
    _reads_or_refuses(_document({"id": "a"}) | {"workflow": value}, simulate)
    _reads_or_refuses(_document({"id": "a"}, {"id": "b", "more": value}), simulate)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_done_to_a_file_it_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(
        bundle_of("wfformat", "ours-version-1.4.json").files["ours-version-1.4.json"]
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=8))
    _reads_or_refuses(bytes(content), data.draw(st.sampled_from([None, 1.0])))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(content: bytes) -> None:
    WfFormat().claims(_bundle(content))
    _reads_or_refuses(content, None)


def _reads_or_refuses(document: object, simulate: float | None) -> None:
    try:
        workflow = _read(document, simulate).workflow
    except Refused as refused:
        line = refused.finding.position.line
    else:
        line = 1
        json.dumps(dict(workflow.annotations))
        analyze(Subject(workflow.tasks, workflow.dependencies))
    assert line >= 1
