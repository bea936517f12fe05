"""Splices, includes and connections: what they expand to, and their bounds."""

from __future__ import annotations

import pytest
from dagman_bundles import corpus, found, read, refused, returns_the_same, task

from wms_grpc.domain.nets import Dependency
from wms_grpc.domain.tasks import BatchWork
from wms_grpc.gateway.dagman import Dagman, graph_reader
from wms_grpc.gateway.model import Bundle

_SUB = {"a.sub": "executable = /bin/true\n"}
_CHAIN = "JOB A a.sub\nJOB B a.sub\nPARENT A CHILD B\n"


def test_a_splice_s_nodes_have_its_name_before_theirs() -> None:
    said = "JOB X a.sub\nSPLICE S in.dag\nJOB Y a.sub\nPARENT X CHILD S\nPARENT S CHILD Y\n"
    translation = read(said, {**_SUB, "in.dag": _CHAIN})

    assert sorted(t.name for t in translation.workflow.tasks) == ["S+A", "S+B", "X", "Y"]
    assert set(translation.workflow.dependencies) == {
        Dependency(("S+A",), ("S+B",)),
        Dependency(("X",), ("S+A",)),
        Dependency(("S+B",), ("Y",)),
    }
    assert translation.findings == ()
    returns_the_same(translation)


def test_splices_nest_and_their_ends_are_those_of_all_within() -> None:
    files = {**_SUB, "mid.dag": "SPLICE I in.dag\nJOB M a.sub\n", "in.dag": _CHAIN}
    translation = read("SPLICE O mid.dag\nJOB X a.sub\nPARENT O CHILD X\n", files)

    assert Dependency(("O+M", "O+I+B"), ("X",)) in translation.workflow.dependencies
    returns_the_same(translation)


def test_a_node_within_a_splice_is_named_from_outside() -> None:
    files = {**_SUB, "mid.dag": "SPLICE I in.dag\n", "in.dag": _CHAIN}
    said = 'SPLICE O mid.dag\nRETRY O+I+A 2\nVARS O+I+A x="1"\nPARENT O+I+B CHILD X\nJOB X a.sub\n'
    translation = read(said, files)

    assert task(translation, "O+I+A").recovery.max_tries == 3
    assert Dependency(("O+I+B",), ("X",)) in translation.workflow.dependencies


def test_one_splice_file_serves_many_splices_and_job_is_the_full_name() -> None:
    files = {
        "a.sub": "executable = x\narguments = $(n)\n",
        "in.dag": 'JOB A a.sub\nVARS A n="$(JOB)"\n',
    }
    translation = read("SPLICE S in.dag\nSPLICE T in.dag\nPARENT S CHILD T\n", files)

    assert task(translation, "T+A").work == BatchWork("x", arguments=("T+A",))
    returns_the_same(translation)


def test_the_folder_of_a_splice_is_where_its_files_are() -> None:
    files = {
        "sub/in.dag": "JOB A a.sub\nJOB B b.sub DIR deep\nINCLUDE more.dag\n",
        "sub/more.dag": "JOB C /abs/c.sub DIR /abs\n",
        "sub/a.sub": "executable = run\ntransfer_input_files = x\n",
        "sub/deep/b.sub": "executable = ../run\n",
    }
    translation = read("SPLICE S in.dag DIR sub\n", files)

    assert task(translation, "S+A").work == BatchWork("sub/run", inputs=("sub/x",))
    assert task(translation, "S+B").work == BatchWork("sub/run")
    assert task(translation, "S+B").annotations == {"dagman": {"dir": "sub/deep"}}
    assert [f.subject for f in translation.findings] == ["S+C"]
    returns_the_same(translation)


def test_an_include_stands_for_its_lines_and_keeps_their_places() -> None:
    files = {**_SUB, "more.dag": "JOB B a.sub\nRETRY A 2\nRETRY B x\n"}
    finding = refused("JOB A a.sub\nPARENT A CHILD B\nINCLUDE more.dag\n", files)

    assert (finding.position.file, finding.position.line) == ("more.dag", 3)


def test_categories_of_a_splice_have_its_name_and_global_ones_do_not() -> None:
    inner = "JOB A a.sub\nJOB B a.sub\nCATEGORY A c\nCATEGORY B +g\nMAXJOBS c 3\nMAXJOBS +g 4\n"
    said = "SPLICE S in.dag\nMAXJOBS S+c 1\nMAXJOBS c 9\n"
    translation = read(said, {**_SUB, "in.dag": inner})

    assert task(translation, "S+A").category == "S+c"
    assert task(translation, "S+B").category == "+g"
    assert translation.workflow.category_limits == {"S+c": 1, "+g": 4, "c": 9}
    returns_the_same(translation)


def test_a_description_of_the_outer_dag_serves_a_splice() -> None:
    said = "SUBMIT-DESCRIPTION d {\nexecutable = /x\n}\nSPLICE S in.dag\n"

    assert task(read(said, {"in.dag": "JOB A d\n"}), "S+A").work == BatchWork("/x")


def test_settings_in_a_splice_are_ignored_as_in_dagman_and_reported() -> None:
    translation = read("SPLICE S in.dag\n", {**_SUB, "in.dag": "JOB A a.sub\nDOT x.dot\n"})

    assert translation.workflow.annotations == {}
    assert [f.position.line for f in found(translation, "IGNORED_IN_SPLICE")] == [2]


def test_connected_splices_are_joined_pin_by_pin() -> None:
    files = {
        **_SUB,
        "one.dag": "JOB A a.sub\nJOB B a.sub\nPIN_OUT A 1\nPIN_OUT B 1\nPIN_OUT B 2\n",
        "two.dag": "JOB C a.sub\nJOB D a.sub\nPIN_IN C 1\nPIN_IN D 2\nPIN_OUT C 7\n",
    }
    translation = read("SPLICE S one.dag\nSPLICE T two.dag\nCONNECT S T\n", files)

    assert set(translation.workflow.dependencies) == {
        Dependency(("S+A", "S+B"), ("T+C",)),
        Dependency(("S+B",), ("T+D",)),
    }


def test_pins_of_the_main_file_are_kept() -> None:
    translation = read("JOB A a.sub\nPIN_IN A 1\nPIN_OUT A 2\n", _SUB)

    pins = [["PIN_IN", "A", 1], ["PIN_OUT", "A", 2]]
    assert translation.workflow.annotations == {"dagman": {"pins": pins}}
    returns_the_same(translation)


@pytest.mark.parametrize(
    ("said", "inner", "code", "line"),
    [
        ("SPLICE S in.dag\nJOB S a.sub\n", _CHAIN, "DUPLICATE_NAME", 2),
        ("SPLICE S in.dag\nSPLICE S in.dag\n", _CHAIN, "DUPLICATE_NAME", 2),
        ("SPLICE S in.dag\nRETRY S 3\n", _CHAIN, "UNKNOWN_NODE", 2),
        ("SPLICE S in.dag\nRETRY S+C 3\n", _CHAIN, "UNKNOWN_NODE", 2),
        ("SPLICE S in.dag\nCONNECT S T\n", _CHAIN, "UNKNOWN_NODE", 2),
        ("SPLICE S in.dag\nSPLICE T in.dag\nCONNECT S T\n", _CHAIN, "PIN_MISMATCH", 3),
        (
            "SPLICE S in.dag\nSPLICE T in.dag\nCONNECT S T\n",
            "JOB A a.sub\nJOB B a.sub\nPIN_IN A 1\nPIN_OUT B 1\n",
            "PIN_MISMATCH",
            3,
        ),
        (
            "SPLICE S in.dag\nSPLICE T in.dag\nCONNECT S T\n",
            "JOB A a.sub\nPIN_IN A 2\nPIN_OUT A 2\n",
            "PIN_MISMATCH",
            3,
        ),
        ("SPLICE S main.dag\n", "", "RECURSION", 1),
        ("INCLUDE main.dag\n", "", "RECURSION", 1),
    ],
)
def test_what_cannot_be_spliced_is_refused(said: str, inner: str, code: str, line: int) -> None:
    finding = refused(said, {**_SUB, "in.dag": inner})

    assert (finding.code, finding.position.line) == (code, line)


def test_a_final_node_in_a_splice_is_refused_where_it_stands() -> None:
    finding = refused("SPLICE S in.dag\n", {**_SUB, "in.dag": "\nFINAL F a.sub\n"})

    assert (finding.code, finding.position.file, finding.position.line) == (
        "FINAL_IN_SPLICE", "in.dag", 2,
    )  # fmt: skip


def test_an_empty_splice_orders_nothing_and_is_reported() -> None:
    translation = read("SPLICE S in.dag\nJOB A a.sub\nPARENT S CHILD A\n", {**_SUB, "in.dag": ""})

    assert translation.workflow.dependencies == ()
    assert [f.position.line for f in found(translation, "EMPTY_SPLICE")] == [3]


def test_splices_nest_up_to_the_bound() -> None:
    def files(depth: int) -> dict[str, str]:
        nested = {f"{n}.dag": f"SPLICE S {n + 1}.dag\n" for n in range(1, depth)}
        return {**_SUB, **nested, f"{depth}.dag": "JOB A a.sub\n"}

    assert len(read("SPLICE S 1.dag\n", files(99)).workflow.tasks) == 1
    assert refused("SPLICE S 1.dag\n", files(101)).code == "TOO_DEEP"


@pytest.mark.parametrize("word", ["SPLICE {n}", "INCLUDE"])
def test_files_that_double_at_each_level_end_at_a_bound(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_reader, "_MAX_FILES", 10_000)
    line = word.format(n="S") + " {next}.dag\n" + word.format(n="T") + " {next}.dag\n"
    files = {f"{n}.dag": line.format(next=n + 1) for n in range(1, 60)} | {"60.dag": ""}

    assert refused("INCLUDE 1.dag\n", files).code == "TOO_LARGE"


def test_the_same_splice_is_spliced_as_often_as_it_is_named_in_the_corpus() -> None:
    translation = Dagman().read(Bundle(corpus(), "job_dagman_splice-G.dag"))

    assert len(translation.workflow.tasks) == 36
    net = translation.workflow.net
    assert sum(t.task is None for t in net.transitions) == 3 + 2  # joins; a fork and a join
