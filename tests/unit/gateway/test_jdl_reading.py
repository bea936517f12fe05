"""What job descriptions say, as gLite's users write them."""

from __future__ import annotations

import pytest

from wms_grpc.domain.nets import Dependency
from wms_grpc.domain.tasks import BatchWork, Script, SubWorkflowWork, Task
from wms_grpc.gateway.jdl import Jdl
from wms_grpc.gateway.model import Bundle, Finding, Refused, Translation


def read(text: str, **files: str) -> Translation:
    beside = {name.replace("_", "."): content.encode() for name, content in files.items()}
    return Jdl().read(Bundle({"work.jdl": text.encode(), **beside}, "work.jdl"))


def the_job(text: str) -> Task:
    (task,) = read(text).workflow.tasks
    return task


def the_work(text: str) -> BatchWork:
    work = the_job(f'Executable = "/bin/true"; {text}').work
    assert isinstance(work, BatchWork)
    return work


def a_dag(nodes: str, beside: str = "") -> str:
    return f'[ Type = "dag"; nodes = [ {nodes} ]; {beside} ]'


def a_node(name: str, job: str = "") -> str:
    return f'{name} = [ description = [ Executable = "/bin/true"; {job} ]; ];'


def codes(translation: Translation) -> list[str]:
    return [finding.code for finding in translation.findings]


def refusal(text: str, **files: str) -> Finding:
    with pytest.raises(Refused) as refused:
        read(text, **files)
    return refused.value.finding


def test_a_job_needs_no_brackets_and_its_names_no_case() -> None:
    task = the_job('EXECUTABLE = "/bin/date"; stdoutput = "out";')

    assert (task.name, task.work) == ("work", BatchWork(executable="/bin/date", stdout="out"))


def test_comments_of_each_kind_are_no_part_of_what_is_said() -> None:
    text = '# one\n// two\n/* three * / */ Executable = /* here */ "/bin/date" // "x"\n;'

    assert the_job(text).work == BatchWork(executable="/bin/date")


def test_arguments_are_split_as_a_shell_splits_them() -> None:
    work = the_work(r"""Arguments = "-c 'echo a b' \"c d\" e\\ f";""")

    assert work.arguments == ("-c", "echo a b", "c d", "e f")


def test_what_only_a_shell_could_expand_is_told() -> None:
    text = 'Executable = "x"; Arguments = "$HOME *.dat"; Environment = { "A=$B" };'

    assert codes(read(text)) == ["SHELL_EXPANSION", "SHELL_EXPANSION"]
    assert the_job(text).annotations == {"jdl": {"attributes": {"Arguments": '"$HOME *.dat"'}}}


def test_a_dollar_in_single_quotes_is_not_expanded_anywhere() -> None:
    assert codes(read("""Executable = "x"; Arguments = "-c 'echo $HOME'";""")) == []


def test_files_are_below_their_base_unless_they_are_absolute() -> None:
    work = the_work(
        'InputSandboxBaseURI = "gsiftp://se/data/"; '
        'InputSandbox = { "a", "b/c", "/d", "file:///e", "https://f/g" };'
    )

    assert work.inputs == (
        "gsiftp://se/data/a",
        "gsiftp://se/data/b/c",
        "/d",
        "file:///e",
        "https://f/g",
    )


def test_an_attribute_may_name_another_one_of_its_job() -> None:
    work = the_work('StdOutput = "out"; StdError = StdOutput; OutputSandbox = { StdError, "x" };')

    assert (work.stderr, work.outputs) == ("out", ("out", "x"))


def test_attributes_that_name_one_another_are_refused() -> None:
    text = 'Executable = "x"; StdOutput = StdError; StdError = StdOutput;'

    assert refusal(text).code == "WRONG_TYPE"


def test_an_expression_over_glue_is_kept_and_told_and_asked_of_no_machine() -> None:
    translation = read('Executable = "x";\nRequirements = other.GlueCEStateStatus == "Production";')
    (task,) = translation.workflow.tasks

    assert task.work == BatchWork(executable="x")
    assert task.annotations == {
        "jdl": {"attributes": {"Requirements": 'other.GlueCEStateStatus == "Production"'}}
    }
    (finding,) = translation.findings
    assert (finding.code, finding.position.line, finding.subject) == (
        "NO_COUNTERPART",
        2,
        "Requirements",
    )


def test_an_expression_over_a_machine_is_asked_of_machines_on_one_line() -> None:
    work = the_work('Requirements = OpSys == "LINUX" // any\n  && Cpus > 2; Rank = Memory;')

    assert (work.requirements, work.rank) == ('OpSys == "LINUX" && Cpus > 2', "Memory")


def test_what_has_no_counterpart_is_kept_as_it_is_written() -> None:
    translation = read(
        'Executable = "x"; UserTags = [ a = 1;  b = "c" ]; unheard_of = f(x) ? 1 : 2;'
    )

    assert translation.workflow.tasks[0].annotations == {
        "jdl": {
            "attributes": {"UserTags": '[ a = 1; b = "c" ]', "unheard_of": "f(x) ? 1 : 2"},
        }
    }
    assert codes(translation) == ["NO_COUNTERPART", "NO_COUNTERPART"]


def test_retries_are_tries_less_one_and_the_nearest_number_holds() -> None:
    translation = read(
        a_dag(
            a_node("a")
            + a_node("b", "RetryCount = 5;")
            + 'c = [ node_retry_count = 1; description = [ Executable = "x"; ]; ];',
            "node_retry_count = 2;",
        )
    )

    tries = {task.name: task.recovery.max_tries for task in translation.workflow.tasks}
    assert tries == {"a": 3, "b": 6, "c": 2}


def test_prologue_and_epilogue_are_scripts_of_the_task() -> None:
    task = the_job(
        'Executable = "x"; Prologue = "pre.sh"; PrologueArguments = "-v 1"; Epilogue = "post.sh";'
    )

    assert (task.pre, task.post) == (Script("pre.sh", ("-v", "1")), Script("post.sh"))


@pytest.mark.parametrize(
    ("said", "code", "severity"),
    [
        ('"MPICH"', "JOB_TYPE", "error"),
        ('"interactive"', "JOB_TYPE", "error"),
        ('"Checkpointable"', "JOB_TYPE", "warning"),
    ],
)
def test_a_job_that_needs_more_than_a_batch_system_is_told(
    said: str, code: str, severity: str
) -> None:
    (finding,) = read(f'Executable = "x"; JobType = {said};').findings

    assert (finding.code, finding.severity) == (code, severity)


def test_a_dag_hands_what_it_says_to_the_nodes_that_do_not_say_it() -> None:
    text = a_dag(
        a_node("a") + a_node("b", 'InputSandbox = { "own" }; Environment = { };'),
        'InputSandbox = { "common" }; Environment = { "A=1" };',
    )
    a, b = (task.work for task in read(text).workflow.tasks)

    assert a == BatchWork(executable="/bin/true", inputs=("common",), environment={"A": "1"})
    assert b == BatchWork(executable="/bin/true", inputs=("own",))


def test_what_every_node_says_for_itself_is_told_to_be_unused() -> None:
    text = a_dag(a_node("a", 'InputSandbox = "own";'), 'InputSandbox = { "common" };')

    assert codes(read(text)) == ["UNUSED"]


def test_dependencies_stand_within_the_nodes_or_beside_them_or_both() -> None:
    nodes = a_node("a") + a_node("b") + a_node("c")
    text = a_dag(f"{nodes} dependencies = {{ {{ a, b }} }};", "dependencies = { { { a, B }, c } };")

    assert read(text).workflow.dependencies == (
        Dependency(("a",), ("b",)),
        Dependency(("a", "b"), ("c",)),
    )


def test_an_output_of_another_node_is_an_input_and_a_reason_to_wait() -> None:
    nodes = a_node("a", 'OutputSandbox = { "x", "y" };') + a_node(
        "b", "InputSandbox = { root.nodes.A.description.OutputSandbox[1] };"
    )
    translation = read(a_dag(nodes))

    assert translation.workflow.dependencies == (Dependency(("a",), ("b",)),)
    assert translation.workflow.tasks[1].work == BatchWork(
        executable="/bin/true", inputs=("task:a/y",)
    )
    assert codes(translation) == ["IMPLIED_DEPENDENCY"]


def test_an_output_of_a_grandparent_asks_for_no_dependency_of_its_own() -> None:
    nodes = (
        a_node("a", 'OutputSandbox = { "x" };')
        + a_node("b")
        + a_node("c", "InputSandbox = root.nodes.a.description.OutputSandbox;")
    )
    translation = read(a_dag(nodes, "dependencies = { { a, b }, { b, c } };"))

    assert len(translation.workflow.dependencies) == 2
    assert codes(translation) == []


def test_a_path_may_lead_to_a_path() -> None:
    nodes = (
        a_node("a", 'OutputSandbox = { "x" };')
        + a_node("b", "InputSandbox = { root.nodes.a.description.OutputSandbox[0] };")
        + a_node("c", "InputSandbox = { root.nodes.b.description.InputSandbox[0] };")
    )

    assert read(a_dag(nodes)).workflow.tasks[2].work == BatchWork(
        executable="/bin/true", inputs=("task:a/x",)
    )


def test_paths_that_lead_round_are_refused() -> None:
    nodes = a_node("a", "InputSandbox = root.nodes.b.description.InputSandbox;") + a_node(
        "b", "InputSandbox = root.nodes.a.description.InputSandbox;"
    )

    assert refusal(a_dag(nodes)).code == "BAD_REFERENCE"


def test_a_node_may_be_a_file_with_places_of_its_own() -> None:
    translation = read(
        a_dag('a = [ file = "a.jdl"; ];'), a_jdl='\nExecutable = "a.sh";\nHLRLocation = "x";'
    )

    assert translation.workflow.tasks[0].work == BatchWork(executable="a.sh")
    (finding,) = translation.findings
    assert (finding.position.file, finding.position.line) == ("a.jdl", 3)


def test_a_file_that_is_missing_forbids_the_submission_not_the_reading() -> None:
    translation = read(a_dag('a = [ file = "gone.jdl"; ];' + a_node("b")))

    assert [(f.code, f.severity) for f in translation.findings] == [("MISSING_FILE", "error")]
    assert [task.name for task in translation.workflow.tasks] == ["a", "b"]


def test_a_file_above_the_bundle_is_a_missing_file() -> None:
    assert codes(read(a_dag('a = [ file = "../../etc/passwd"; ];'))) == ["MISSING_FILE"]


def test_a_file_that_is_a_dag_is_a_workflow_of_its_own() -> None:
    inner = a_dag(a_node("x"))
    (task,) = read(a_dag('a = [ file = "inner.jdl"; ];'), inner_jdl=inner).workflow.tasks

    assert task.work == SubWorkflowWork("jdl", "inner.jdl")


def test_a_file_that_is_its_own_node_is_read_once() -> None:
    (task,) = read(a_dag('a = [ file = "work.jdl"; ];')).workflow.tasks

    assert task.work == SubWorkflowWork("jdl", "work.jdl")


def test_names_may_be_quoted_and_hold_anything() -> None:
    nodes = a_node("'a b'") + a_node("'is'") + a_node(r"'it\'s'")
    text = a_dag(nodes, r"dependencies = { { 'a b', { 'is', 'it\'s' } } };")

    assert read(text).workflow.dependencies == (Dependency(("a b",), ("is", "it's")),)


def test_at_most_so_many_nodes_run_by_either_name() -> None:
    node = a_node("a")

    assert read(a_dag(node, "max_nodes_running = 3;")).workflow.max_running == 3
    assert read(a_dag(node, "max_running_nodes = 4;")).workflow.max_running == 4
    assert codes(read(a_dag(node, "max_nodes_running = 0;"))) == ["OUT_OF_RANGE"]


def test_a_parametric_job_is_a_job_for_each_value() -> None:
    text = 'JobType = "Parametric"; Executable = "x"; Arguments = "-s _PARAM_"; '
    counted = read(text + "Parameters = 3; ParameterStart = 10; ParameterStep = 5;").workflow
    listed = read(text + 'Parameters = { one, 2, "3 4" };').workflow

    assert [task.name for task in counted.tasks] == ["Node_10", "Node_15", "Node_20"]
    assert [task.work for task in counted.tasks][1] == BatchWork("x", arguments=("-s", "15"))
    assert [task.work for task in listed.tasks][2] == BatchWork("x", arguments=("-s", "3", "4"))


def test_what_a_parametric_job_is_besides_is_told_of_each_of_its_jobs() -> None:
    kind = 'JobType = { "Parametric", "MPICH" }; Parameters = { 1, 2 }; ParameterStep = 2;'
    translation = read(f'{kind} Executable = "x";')

    assert sorted(codes(translation)) == ["JOB_TYPE", "UNUSED"]
    assert translation.workflow.tasks[1].annotations == {
        "jdl": {"attributes": {"JobType": '{ "MPICH" }'}}
    }


def test_a_number_of_parameters_that_gLite_would_read_otherwise_is_told() -> None:
    text = 'JobType = "Parametric"; Executable = "x"; Parameters = 6; ParameterStep = 2;'

    (finding,) = read(text).findings
    assert finding.code == "AMBIGUOUS_PARAMETERS"
    assert "gives 3" in finding.message


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ('Executable = "x"\nStdOutput = "y";', "SYNTAX", 2, 1),
        ('Executable = "x";\nStdOutput = "y;', "SYNTAX", 2, 13),
        ('[ Executable = "x";\n', "SYNTAX", 1, 19),
        ("Executable = ;", "SYNTAX", 1, 14),
        ('Executable = "x"; CPUNumber = many;', "WRONG_TYPE", 1, 31),
        ('Executable = "x"; CPUNumber = 0;', "OUT_OF_RANGE", 1, 31),
        ("Executable = strcat(a, b);", "WRONG_TYPE", 1, 14),
        ('StdOutput = "y";', "NO_EXECUTABLE", 1, 1),
        ('Type = "Reservation"; Executable = "x";', "UNKNOWN_TYPE", 1, 8),
        ('Type = "dag"; nodes = [ ];', "NO_NODES", 1, 23),
        ('Type = "dag"; nodes = { 1 };', "WRONG_TYPE", 1, 25),
        ('[ JobType = "Parametric"; Executable = "x"; ]', "NO_PARAMETERS", 1, 3),
        ('Executable = "x"; InputSandbox = { root.y[0] };', "BAD_REFERENCE", 1, 36),
        ('Executable = "x"; InputSandbox = { "task:a/b" };', "BAD_REFERENCE", 1, 36),
        ('Executable = "a\\000b";', "BAD_CHARACTER", 1, 14),
    ],
)
def test_what_is_wrong_is_refused_where_it_stands(
    text: str, code: str, line: int, column: int
) -> None:
    finding = refusal(text)

    assert (finding.code, finding.position.line, finding.position.column) == (code, line, column)


@pytest.mark.parametrize(
    ("dependencies", "code"),
    [
        ("{ { a } }", "BAD_DEPENDENCY"),
        ("{ { a, b, a } }", "BAD_DEPENDENCY"),
        ("{ { a, { } } }", "BAD_DEPENDENCY"),
        ("{ { a, 1 } }", "BAD_DEPENDENCY"),
        ("a", "WRONG_TYPE"),
        ("{ { a, ghost } }", "UNKNOWN_NAME"),
        ("{ { a, a } }", "CYCLE"),
        ("{ { { a, b }, { b } } }", "CYCLE"),
    ],
)
def test_a_dependency_that_cannot_be_is_refused(dependencies: str, code: str) -> None:
    text = a_dag(a_node("a") + a_node("b"), f"dependencies = {dependencies};")

    assert refusal(text).code == code


def test_other_files_are_not_claimed() -> None:
    for name, text in (
        ("a.sub", "executable = /bin/true\nqueue\n"),
        ("a.json", '[ {"Type": "dag"} ]'),
        ("a.dag", "JOB a a.sub\n"),
        ("a", "\x00\xff"),
    ):
        assert not Jdl().claims(Bundle({name: text.encode()}, name))
    for text in ('[\n  Type = "dag";', '# a job\nExecutable = "x";', "[ nodes = { } ]"):
        assert Jdl().claims(Bundle({"a": text.encode()}, "a"))
