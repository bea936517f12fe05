"""Each command of a DAG file: what it becomes, and where it is refused."""

from __future__ import annotations

import pytest
from dagman_bundles import bundle, found, read, refused, returns_the_same, task

from wms_grpc.domain.nets import Dependency
from wms_grpc.domain.tasks import (
    AbortRule,
    BatchWork,
    NoopWork,
    Recovery,
    Script,
    SubWorkflowWork,
    SuccessRule,
)
from wms_grpc.gateway.dagman import Dagman
from wms_grpc.gateway.model import MAX_TOKEN, Bundle, Refused

_SUB = {"a.sub": "executable = /bin/true\nqueue\n"}
_TWO = "JOB A a.sub\nJOB B a.sub\n"


def test_a_diamond_is_four_nodes_and_their_order() -> None:
    diamond = "".join(f"JOB {name} a.sub\n" for name in "ABCD")
    translation = read(diamond + "PARENT A CHILD B C\nPARENT B C CHILD D\n", _SUB)

    assert [t.name for t in translation.workflow.tasks] == ["A", "B", "C", "D"]
    assert translation.workflow.dependencies == (
        Dependency(("A",), ("B", "C")),
        Dependency(("B", "C"), ("D",)),
    )
    assert translation.findings == ()
    assert translation.workflow.name == "main"


def test_keywords_are_read_in_any_case_with_a_hyphen_or_an_underscore() -> None:
    said = "job A a.sub\nabort_dag_on A 3 return 1\nPre-Skip A 4\nscript pre A x\nretry A 1\n"
    a = task(read(said, _SUB), "A")

    assert a.abort == AbortRule(3, 1)
    assert a.pre_skip == 4
    assert a.recovery == Recovery(max_tries=2)


def test_names_are_read_in_the_case_that_they_have() -> None:
    assert [t.name for t in read("JOB A a.sub\nJOB a a.sub\n", _SUB).workflow.tasks] == ["A", "a"]


def test_a_backslash_continues_a_line_over_comments_and_blank_lines() -> None:
    said = (
        "JOB A \\\n  # a comment \\\n\n\ta.sub \\\n  NOOP\n"
        "# and this one ends here \\\nJOB B a.sub\n"
    )
    translation = read(said, _SUB)

    assert task(translation, "A").work == NoopWork()
    assert task(translation, "B").work == BatchWork("/bin/true")


def test_an_error_in_a_continued_line_has_the_place_of_its_word() -> None:
    finding = refused("JOB A a.sub \\\n   NOOP \\\n     oops\n", _SUB)

    assert (finding.position.line, finding.position.column) == (3, 6)
    assert "oops" in finding.message


@pytest.mark.parametrize(
    ("said", "code", "line", "column"),
    [
        ("JOB", "SYNTAX", 1, 4),
        ("JOB A", "SYNTAX", 1, 6),
        ("JOB A a.sub DIR", "SYNTAX", 1, 16),
        ("JOB A a.sub // no comment", "SYNTAX", 1, 13),
        ("JOB Parent a.sub", "RESERVED_NAME", 1, 5),
        ("JOB all_nodes a.sub", "RESERVED_NAME", 1, 5),
        ("JOB A+B a.sub", "RESERVED_NAME", 1, 5),
        ("NODE A a.sub", "UNKNOWN_COMMAND", 1, 1),
        ("DATA A a.sub", "UNKNOWN_COMMAND", 1, 1),
        ("\n  DIR x", "UNKNOWN_COMMAND", 2, 3),
        (_TWO + "JOB A b.sub", "DUPLICATE_NAME", 3, 1),
        (_TWO + "PARENT A CHILD C", "UNKNOWN_NODE", 3, 1),
        (_TWO + "PARENT A CHILD", "SYNTAX", 3, 10),
        (_TWO + "PARENT CHILD A", "SYNTAX", 3, 15),
        (_TWO + "PARENT A B", "SYNTAX", 3, 11),
        (_TWO + "WEAK A CHILD B", "SYNTAX", 3, 6),
        (_TWO + "RETRY A", "SYNTAX", 3, 8),
        (_TWO + "RETRY A -1", "SYNTAX", 3, 9),
        (_TWO + "RETRY A 99999999999", "SYNTAX", 3, 9),
        (_TWO + "RETRY A 3 UNLESS 4", "SYNTAX", 3, 11),
        (_TWO + "RETRY C 3", "UNKNOWN_NODE", 3, 1),
        (_TWO + "RETRY A 3 UNLESS-EXIT 4 5", "SYNTAX", 3, 25),
        (_TWO + "ABORT-DAG-ON A x", "SYNTAX", 3, 16),
        (_TWO + "ABORT-DAG-ON A 3 RETURN 256", "SYNTAX", 3, 25),
        (_TWO + "SCRIPT A PRE x", "SYNTAX", 3, 8),
        (_TWO + "SCRIPT POST A", "SYNTAX", 3, 14),
        (_TWO + "SCRIPT DEBUG f some PRE A x", "SYNTAX", 3, 16),
        (_TWO + "VARS A", "SYNTAX", 3, 6),
        (_TWO + "VARS A x", "SYNTAX", 3, 8),
        (_TWO + "VARS A x==1", "SYNTAX", 3, 8),
        (_TWO + "VARS A =1", "SYNTAX", 3, 8),
        (_TWO + 'VARS A x="1', "SYNTAX", 3, 10),
        (_TWO + 'VARS A x="1" "y"="2"', "SYNTAX", 3, 14),
        (_TWO + 'VARS A Queue_x="1"', "SYNTAX", 3, 8),
        (_TWO + "MAXJOBS x -1", "SYNTAX", 3, 11),
        (_TWO + "CATEGORY A x y", "SYNTAX", 3, 14),
        (_TWO + "PRIORITY A high", "SYNTAX", 3, 12),
        (_TWO + "TOLERANCE A -1", "SYNTAX", 3, 13),
        (_TWO + "TOLERANCE A 1 SLOW", "SYNTAX", 3, 15),
        (_TWO + "DONE ALL_NODES", "SYNTAX", 3, 6),
        (_TWO + "SAVE_POINT_FILE ALL_NODES", "SYNTAX", 3, 17),
        (_TWO + "PIN_IN A 0", "SYNTAX", 3, 10),
        (_TWO + "CONNECT A B", "UNKNOWN_NODE", 3, 1),
        (_TWO + "ENV X", "SYNTAX", 3, 5),
        (_TWO + "ENV SET", "SYNTAX", 3, 8),
        (_TWO + "DOT f JUNK", "SYNTAX", 3, 7),
        (_TWO + "NODE_STATUS_FILE f x", "SYNTAX", 3, 20),
        (_TWO + "REJECT x", "SYNTAX", 3, 8),
        (_TWO + "REJECT", "REJECTED", 3, 1),
        ("SUBDAG A x.dag", "SYNTAX", 1, 8),
        ("SPLICE S nowhere.dag", "MISSING_FILE", 1, 1),
        ("INCLUDE nowhere.dag", "MISSING_FILE", 1, 1),
        ("JOB A {\nexecutable = x\n", "SYNTAX", 1, 1),
        ("JOB A @=\n@\n", "SYNTAX", 1, 7),
        ("SUBMIT-DESCRIPTION D x.sub", "SYNTAX", 1, 22),
        ("FINAL F a.sub\nFINAL G a.sub", "DUPLICATE_NAME", 2, 1),
        ("FINAL F a.sub\nRETRY F 2", "WRONG_NODE", 2, 1),
        ("FINAL F a.sub\nABORT-DAG-ON F 2", "WRONG_NODE", 2, 1),
        ("JOB A a.sub\nFINAL F a.sub\nPARENT A CHILD F", "NO_DEPENDENCY", 3, 1),
        ("JOB A a.sub\nSERVICE S a.sub\nPARENT S CHILD A", "NO_DEPENDENCY", 3, 1),
        ("\ufeffJOB A a.sub", "BYTE_ORDER_MARK", 1, 1),
        ("JOB A a.sub\nJOB \0 a.sub", "NOT_TEXT", 2, 5),
        ("JOB A a.sub\nJOB " + "x" * (MAX_TOKEN + 1) + " a.sub", "TOO_LARGE", 2, 5),
    ],
)
def test_what_dagman_refuses_is_refused_at_its_word(
    said: str, code: str, line: int, column: int
) -> None:
    finding = refused(said, _SUB)

    assert (finding.code, finding.position.line, finding.position.column) == (code, line, column)
    assert finding.position.file == "main.dag"
    assert finding.severity == "error"


def test_a_number_is_read_as_dagman_reads_it_and_reported() -> None:
    translation = read(_TWO + "RETRY A 3x\n", _SUB)

    assert task(translation, "A").recovery.max_tries == 4
    assert [f.position.line for f in found(translation, "INEXACT_NUMBER")] == [3]


def test_a_retry_spares_an_exit_code() -> None:
    assert task(read(_TWO + "RETRY A 3 UNLESS-EXIT 2\n", _SUB), "A").recovery == Recovery(
        max_tries=4, never_on=(2,)
    )


def test_scripts_run_around_the_job_with_what_they_are_told() -> None:
    said = (
        "JOB A a.sub DIR sub\n"
        "SCRIPT DEFER 3 60 DEBUG log.txt stderr PRE A ./pre.sh $JOB  $RETRY\n"
        "SCRIPT POST A /usr/bin/post $RETURN\n"
    )
    a = task(read(said, {"sub/a.sub": "executable=x\n"}), "A")

    assert a.pre == Script("sub/pre.sh", ("$JOB", "$RETRY"), defer_status=3, defer_seconds=60)
    assert a.post == Script("/usr/bin/post", ("$RETURN",))
    assert a.annotations == {"dagman": {"dir": "sub", "pre_debug": ["log.txt", "STDERR"]}}


def test_a_hold_script_is_kept_and_reported() -> None:
    translation = read(_TWO + "SCRIPT HOLD A notify.sh me\n", _SUB)

    kept = {"words": ["notify.sh", "me"], "defer": [], "debug": []}
    assert task(translation, "A").annotations == {"dagman": {"hold_script": kept}}
    assert [f.position.line for f in found(translation, "NEEDS_ACCESS_POINT")] == [3]
    returns_the_same(translation)


def test_the_last_script_counts_and_the_first_is_reported() -> None:
    translation = read(_TWO + "SCRIPT PRE ALL_NODES all\nSCRIPT PRE A own\n", _SUB)

    assert task(translation, "A").pre == Script("own")
    assert task(translation, "B").pre == Script("all")
    assert [f.subject for f in found(translation, "OVERRIDDEN")] == ["A"]


def test_all_nodes_are_those_of_the_file_but_not_final() -> None:
    said = _TWO + "FINAL F a.sub\nRETRY all_nodes 2\nVARS ALL_NODES x=1\n"
    translation = read(said, _SUB)

    assert [t.recovery.max_tries for t in translation.workflow.tasks] == [3, 3, 1]


def test_priorities_categories_and_their_limits() -> None:
    said = _TWO + "PRIORITY A -3\nCATEGORY A big\nCATEGORY B +all\nMAXJOBS big 2\nMAXJOBS +all 5\n"
    translation = read(said, _SUB)

    assert (task(translation, "A").priority, task(translation, "A").category) == (-3, "big")
    assert task(translation, "B").category == "+all"
    assert translation.workflow.category_limits == {"big": 2, "+all": 5}


def test_a_tolerance_is_how_many_procs_must_succeed() -> None:
    files = {"a.sub": "executable=x\nqueue 10\n"}
    said = _TWO + "TOLERANCE A 3\nTOLERANCE B 25% FAIL-FAST\n"
    translation = read(said, files)

    works = [t.work for t in translation.workflow.tasks]
    assert isinstance(works[0], BatchWork)
    assert works[0].success == SuccessRule(at_least=7)
    assert isinstance(works[1], BatchWork)
    assert works[1].success == SuccessRule(share=0.75)
    assert task(translation, "B").annotations == {"dagman": {"tolerance_mode": "FAIL-FAST"}}
    returns_the_same(translation)


def test_done_nodes_have_succeeded_before() -> None:
    translation = read("JOB A a.sub DONE\nJOB B b.sub\nDONE B\nFINAL F a.sub DONE\n", _SUB)

    assert [t.is_done for t in translation.workflow.tasks] == [True, True, False]
    assert [f.severity for f in found(translation, "MISSING_FILE")] == ["warning"]
    assert [f.subject for f in found(translation, "IGNORED_DONE")] == ["F"]


def test_a_noop_node_needs_no_submit_file() -> None:
    translation = read(
        "JOB A none NOOP\nSUBDAG EXTERNAL B none.dag NOOP\nJOB C {\n a = b\n} NOOP\n"
    )

    assert translation.findings == ()
    assert [t.work for t in translation.workflow.tasks] == [NoopWork()] * 3
    returns_the_same(translation)


def test_a_missing_submit_file_forbids_the_submission_and_not_the_reading() -> None:
    translation = read('JOB A nowhere.sub\nVARS A x="1 \\"2\\"" APPEND_me=3\nTOLERANCE A 2\n')

    assert task(translation, "A").work == BatchWork()
    notes = {"submit_file": "nowhere.sub", "vars": {"x": '1 "2"', "APPEND_me": "3"}}
    assert task(translation, "A").annotations == {"dagman": {**notes, "tolerance": "2"}}
    (finding,) = translation.findings
    assert (finding.code, finding.severity, finding.position.line) == ("MISSING_FILE", "error", 1)
    returns_the_same(translation)


def test_a_submit_file_that_a_pre_script_may_write_is_a_warning() -> None:
    translation = read("JOB A later.sub\nSCRIPT PRE A make.sh\n")

    assert [(f.code, f.severity) for f in translation.findings] == [("MISSING_FILE", "warning")]


def test_a_sub_dag_is_a_workflow_of_its_own() -> None:
    said = "SUBDAG EXTERNAL S inner.dag DIR sub\nFINAL F other.dag.condor.sub\n"
    files = {"sub/inner.dag": "JOB A a.sub\n", "other.dag": "JOB A a.sub\n"}
    translation = read(said, files)

    assert task(translation, "S").work == SubWorkflowWork("dagman", "sub/inner.dag")
    assert task(translation, "F").work == SubWorkflowWork("dagman", "other.dag")
    assert translation.findings == ()
    returns_the_same(translation)


def test_roles_of_nodes() -> None:
    translation = read(_TWO + "FINAL F a.sub\nSERVICE S a.sub\nPROVISIONER P a.sub\n", _SUB)

    roles = {t.name: t.role for t in translation.workflow.tasks}
    assert (roles["F"], roles["S"], roles["P"]) == ("final", "service", "provisioner")
    (finding,) = found(translation, "NEEDS_ACCESS_POINT")
    assert (finding.subject, finding.severity) == ("P", "error")
    returns_the_same(translation)


def test_a_description_in_the_dag_serves_the_nodes_that_name_it() -> None:
    said = (
        "SUBMIT-DESCRIPTION sleeper {\n  executable = /bin/sleep\n  # a comment\n"
        "  arguments = $(n)\n}\nJOB A sleeper\nJOB B sleeper\nVARS A n=1\nVARS B n=2\n"
        "JOB C @=end\n  executable = /bin/true\n@end DONE\n"
    )
    translation = read(said)

    assert task(translation, "A").work == BatchWork("/bin/sleep", arguments=("1",))
    assert task(translation, "B").work == BatchWork("/bin/sleep", arguments=("2",))
    assert task(translation, "C").work == BatchWork("/bin/true")
    assert task(translation, "C").is_done
    returns_the_same(translation)


def test_text_beside_the_bracket_of_a_description_is_reported() -> None:
    translation = read("JOB A { executable = lost\n executable = kept\n}\n")

    assert [f.position.column for f in found(translation, "IGNORED_TEXT")] == [9]


def test_a_cycle_is_an_error_that_names_its_nodes_at_the_line_that_closes_it() -> None:
    said = _TWO + "JOB C a.sub\nPARENT A CHILD B\nPARENT B CHILD C\nPARENT C CHILD B\n"
    (finding,) = read(said, _SUB).findings

    assert (finding.code, finding.severity, finding.position.line) == ("CYCLE", "error", 6)
    assert "B -> C -> B" in finding.message


def test_a_node_that_waits_for_itself_is_a_cycle() -> None:
    (finding,) = read("JOB A a.sub\nPARENT A CHILD A\n", _SUB).findings

    assert finding.message == "a cycle: A -> A"


def test_a_cycle_through_sets_is_found_and_an_order_of_sets_is_none() -> None:
    nodes = "".join(f"JOB N{n} a.sub\n" for n in range(4))
    order = "PARENT N0 N1 CHILD N2 N3\n"

    assert read(nodes + order, _SUB).findings == ()
    (finding,) = read(nodes + order + "PARENT N3 CHILD N0\n", _SUB).findings
    assert (finding.code, finding.position.line) == ("CYCLE", 6)


def test_a_weak_dependency_is_kept_as_an_order_and_reported() -> None:
    translation = read(_TWO + "WEAK PARENT A CHILD B\n", _SUB)

    assert translation.workflow.dependencies == (Dependency(("A",), ("B",)),)
    assert translation.workflow.annotations == {"dagman": {"weak": [[["A"], ["B"]]]}}
    assert [f.subject for f in found(translation, "NO_COUNTERPART")] == ["WEAK"]
    returns_the_same(translation)


def test_settings_of_the_dag_are_kept_and_reported() -> None:
    said = _TWO + (
        "DOT a.dot UPDATE INCLUDE head.dot\nNODE_STATUS_FILE s.txt 60 ALWAYS-UPDATE\n"
        'JOBSTATE_LOG j.log\nENV GET HOME PATH\nENV SET a=b;c=d\nSET_JOB_ATTR x = "1 2"\n'
        "SAVE_POINT_FILE A\nSAVE_POINT_FILE B there\n"
    )
    translation = read(said, _SUB)

    assert translation.workflow.annotations == {
        "dagman": {
            "dot": [["a.dot", "UPDATE", "INCLUDE", "head.dot"]],
            "node_status_file": [["s.txt", "60", "ALWAYS-UPDATE"]],
            "jobstate_log": [["j.log"]],
            "env": [["GET", "HOME PATH"], ["SET", "a=b;c=d"]],
            "set_job_attr": [['x = "1 2"']],
        }
    }
    assert task(translation, "A").annotations == {"dagman": {"save_point_file": ""}}
    lines = [f.position.line for f in found(translation, "NEEDS_ACCESS_POINT")]
    assert lines == list(range(3, 11))
    returns_the_same(translation)


def test_limits_come_from_the_configuration() -> None:
    config = "# limits\nDAGMAN_MAX_JOBS_SUBMITTED = 7\ndagman_max_jobs_idle=0\nDAGMAN_X = y z\n"
    translation = read(_TWO + "CONFIG c.config\n", {**_SUB, "c.config": config})

    assert (translation.workflow.max_running, translation.workflow.max_idle) == (7, None)
    assert translation.workflow.annotations == {"dagman": {"config": {"DAGMAN_X": "y z"}}}
    (finding,) = translation.findings
    assert (finding.code, finding.position.file, finding.position.line) == (
        "NO_COUNTERPART", "c.config", 4,
    )  # fmt: skip
    returns_the_same(translation)


def test_a_missing_configuration_forbids_the_submission() -> None:
    translation = read(_TWO + "CONFIG c.config\n", _SUB)

    assert [(f.code, f.severity) for f in translation.findings] == [("MISSING_FILE", "error")]
    returns_the_same(translation)


def test_two_configurations_are_refused() -> None:
    files = {**_SUB, "c.config": "", "d.config": ""}

    assert refused(_TWO + "CONFIG c.config\nCONFIG d.config\n", files).code == "DUPLICATE_CONFIG"


def test_paths_are_relative_to_the_main_file_where_that_finds_more() -> None:
    files = {"flows/a.sub": "executable = run.sh\n", "b.sub": "executable = run.sh\n"}
    beside = read("JOB A a.sub\n", files, "flows/main.dag")
    above = read("JOB A b.sub\n", files, "flows/main.dag")

    assert task(beside, "A").work == BatchWork("flows/run.sh")
    assert task(above, "A").work == BatchWork("run.sh")


@pytest.mark.parametrize(
    ("text", "name", "is_claimed"),
    [
        ("# c\n\n JOB A a.sub\n", "x", True),
        ("pre_skip A 3\n", "x.txt", True),
        ("", "x.dag", True),
        ("# nothing\n", "x.dag.rescue001", True),
        ("JOBB A a.sub\n", "x.dag", True),
        ("JOBB A a.sub\n", "x", False),
        ("", "x", False),
        ("executable = x\nqueue\n", "x.sub", False),
        ('[\n type = "dag";\n]', "x.jdl", False),
        ("priority = 3\n", "x", False),
        ("<xml/>", "x.dag", False),
        ("{}", "x.json", False),
        ("JOB A \0", "x", False),
    ],
)
def test_dag_files_are_known_by_their_first_command(text: str, name: str, is_claimed: bool) -> None:
    assert Dagman().claims(bundle(text, name=name)) == is_claimed


def test_a_file_that_is_not_utf_8_is_read_with_a_finding() -> None:
    content = "# für alle\nJOB A a.sub\n".encode("latin-1")
    translation = Dagman().read(Bundle({"x.dag": content, "a.sub": b"executable=x\n"}, "x.dag"))

    (finding,) = translation.findings
    assert (finding.code, finding.position.line, finding.position.column) == ("ENCODING", 1, 4)


def test_a_main_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(Refused):
        Dagman().read(Bundle({}, "x.dag"))
