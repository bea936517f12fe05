"""Submit descriptions: macros, both syntaxes of arguments and environments, queue statements.

What HTCondor makes of the same text was seen with `condor_submit -dry-run`.
"""

from __future__ import annotations

import pytest
from dagman_bundles import batch, found, read, read_job, returns_the_same, task

from wms_grpc.domain.tasks import BatchWork
from wms_grpc.gateway.dagman.quoting import (
    read_arguments,
    read_environment,
    written_arguments,
    written_environment,
)


def test_each_field_has_its_key() -> None:
    work, translation = read_job(
        "# all of them\n"
        "Executable = bin/run\n"
        "arguments = \"one 'two three'\"\n"
        "ENVIRONMENT = \"A=1 B='x y'\"\n"
        "input = in.txt\noutput = out.$(Process)\nerror = err.$(ProcId)\n"
        "transfer_input_files = a.txt, data/ ,http://x/y, /abs/z\n"
        "transfer_output_files = r1,r2\n"
        "request_cpus = 4\nrequest_memory = 2 GB\nrequest_disk = 1048576\n"
        "allowed_execute_duration = 3600\n"
        'requirements = (OpSys == "LINUX") && \\\n   (Memory > 3)\n'
        "rank = Memory\ncontainer_image = docker://debian:12\n"
        'concurrency_limits = x\n+Project = "p"\nMY.Other = 3\nuniverse = vanilla\n'
        "queue 5\n"
    )

    assert work == BatchWork(
        executable="bin/run",
        image="docker://debian:12",
        arguments=("one", "two three"),
        environment={"A": "1", "B": "x y"},
        stdin="in.txt",
        stdout="out.$(Process)",
        stderr="err.$(Process)",
        inputs=("a.txt", "data/", "http://x/y", "/abs/z"),
        outputs=("r1", "r2"),
        n_procs=5,
        n_cores=4,
        memory="2G",
        disk="1048576K",
        max_runtime=3600,
        requirements='(OpSys == "LINUX") && (Memory > 3)',
        rank="Memory",
        attributes={"concurrency_limits": "x", "+Project": '"p"', "+Other": "3"},
    )
    assert translation.findings == ()
    returns_the_same(translation)


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("", ()),
        ("a b  c", ("a", "b", "c")),
        (r"a \"b\" it's", ("a", '"b"', "it's")),
        ('"a b"', ("a", "b")),
        ("\"a 'b c' 'it''s' \"\"q\"\" d'e f'g ''\"", ("a", "b c", "it's", '"q"', "de fg", "")),
        ('""', ()),
    ],
)
def test_arguments_have_two_syntaxes(said: str, arguments: tuple[str, ...]) -> None:
    assert read_arguments(said) == arguments
    assert read_arguments(written_arguments(arguments)) == arguments


@pytest.mark.parametrize("said", ['a "b"', '"a', '"a" b', '"a \'b"', '"a"b"'])
def test_arguments_with_a_quote_too_many_have_no_meaning(said: str) -> None:
    with pytest.raises(ValueError, match="quote"):
        read_arguments(said)


@pytest.mark.parametrize(
    ("said", "variables"),
    [
        ("A=1;B=x y;", {"A": "1", "B": "x y"}),
        ('"A=1 B=\'x y\' C=""q"" D="', {"A": "1", "B": "x y", "C": '"q"', "D": ""}),
        ("", {}),
    ],
)
def test_environments_have_two_syntaxes(said: str, variables: dict[str, str]) -> None:
    assert read_environment(said) == variables
    assert read_environment(written_environment(variables)) == variables


def test_macros_stand_for_their_last_value_wherever_they_are_used() -> None:
    said = "executable = x\narguments = $(a) $(A:0) $(c:d$(b)) $(none:)\na = $(b)\nb = 1\nb = 2\n"

    assert read_job(said)[0].arguments == ("2", "2", "d2")


def test_an_assignment_that_names_itself_takes_its_value_so_far() -> None:
    said = "executable = x\na = 1\na = $(a)2\na = $(A)3$(a:9)\nz = $(z:5)\narguments = $(a) $(z)\n"

    assert read_job(said)[0].arguments == ("123" + "12", "5")


def test_vars_come_before_the_file_or_after_it() -> None:
    said = (
        "executable = x\nb = file\nif defined a\n w = a\nelse\n w = none\nendif\n"
        "arguments = $(w) $(b) $(c)\n"
    )

    assert read_job(said, "a=1 b=vars c=3")[0].arguments == ("a", "file", "3")
    assert read_job(said, "APPEND a=1 b=vars c=3")[0].arguments == ("none", "vars", "3")
    assert read_job(said, 'PREPEND a="1" c="it\'s \\\\ \\"q\\""')[0].arguments == ()


def test_vars_are_appended_where_the_configuration_says_so() -> None:
    files = {
        "a.sub": "executable = x\nb = file\narguments = $(b)\n",
        "c.config": "DAGMAN_DEFAULT_APPEND_VARS = True\n",
    }

    said = "CONFIG c.config\nJOB A a.sub\nVARS A b=vars\n"
    assert batch(read(said, files), "A").arguments == ("vars",)


def test_vars_of_the_manual_arrive_as_the_manual_says() -> None:
    submit = (
        "executable = x\narguments = \"'$(first)' '$(second)' '$(third)' '$(fourth)' '$(misc)'\"\n"
    )
    variables = (
        'first="Alberto Contador" second="\\"\\"Andy Schleck\\"\\"" third="Lance\\\\ Armstrong" '
        "fourth=\"Vincenzo ''The Shark'' Nibali\" misc=\"!@#$%^&*()_-=+=[]{}?/\""
    )

    assert read_job(submit, variables)[0].arguments == (
        "Alberto Contador",
        '"Andy Schleck"',
        "Lance\\ Armstrong",
        "Vincenzo 'The Shark' Nibali",
        "!@#$%^&*()_-=+=[]{}?/",
    )


def test_a_variable_may_be_a_submit_command_or_an_attribute() -> None:
    variables = 'request_memory="3GB" My.Kind="\\"k\\"" +Other="1" concurrency_limits=c'
    work, translation = read_job("executable = x\n", variables)

    assert work.memory == "3G"
    assert work.attributes == {"+Kind": '"k"', "+Other": "1", "concurrency_limits": "c"}
    returns_the_same(translation)


def test_a_variable_that_nothing_uses_is_kept_and_no_attribute_of_the_job() -> None:
    variables = 'nodename="$(JOB) \\"x\\"" used=1'
    work, translation = read_job("executable = x\nlog = l.$(used)\n", variables)

    assert work.attributes == {"log": "l.1"}
    assert task(translation, "A").annotations == {"dagman": {"vars": {"nodename": 'A "x"'}}}
    assert translation.findings == ()
    returns_the_same(translation)


def test_a_variable_that_the_description_sets_itself_is_reported() -> None:
    work, translation = read_job("executable = x\nn = 1\narguments = $(n)\n", "n=2")

    assert work.arguments == ("1",)
    (finding,) = translation.findings
    assert (finding.code, finding.position.line, finding.subject) == ("OVERRIDDEN", 2, "n")


def test_a_macro_is_no_attribute_wherever_it_is_used() -> None:
    said = "executable = x\nn = 1\nm = $(n)\nlog = l.$(m)\nfree = 3\n"

    assert read_job(said)[0].attributes == {"log": "l.1", "free": "3"}


def test_what_only_the_submission_knows_stays_as_it_is() -> None:
    work, translation = read_job(
        "executable = x\narguments = $(Cluster).$(PROCID) $(JOB) $$(OpSys) $ENV(HOME) $INT(n) "
        "$(DOLLAR)(x) $(date +%s)\nn = 3\n"
    )

    assert work.arguments == (
        "$(Cluster).$(Process)", "A", "$$(OpSys)", "$ENV(HOME)", "$INT(n)", "$(x)",
        "$(date", "+%s)",
    )  # fmt: skip
    codes = [(f.code, f.severity) for f in translation.findings]
    assert codes == [
        ("RUNTIME_MACRO", "info"),
        ("NEEDS_ACCESS_POINT", "warning"),
        ("NO_COUNTERPART", "warning"),
    ]
    returns_the_same(translation)


def test_a_macro_without_a_value_is_reported_where_it_is_used() -> None:
    work, translation = read_job("executable = x\n\narguments = a$(none)b\n")

    assert work.arguments == ("ab",)
    (finding,) = found(translation, "UNDEFINED_MACRO")
    assert (finding.position.file, finding.position.line, finding.subject) == ("a.sub", 3, "none")


def test_macros_in_a_circle_are_an_error() -> None:
    _, translation = read_job("executable = x\na = $(b)\nb = $(a)\narguments = $(a)\n")

    assert [f.severity for f in found(translation, "MACRO_CYCLE")] == ["error"]


@pytest.mark.parametrize("levels", [20, 400])
def test_macros_that_double_at_each_level_end_at_a_bound(levels: int) -> None:
    lines = [f"m{n} = $(m{n + 1})$(m{n + 1})" for n in range(levels)]
    text = "\n".join(["executable = x", *lines, f"m{levels} = long", "arguments = $(m0)"])
    _, translation = read_job(text)

    assert {f.code for f in translation.findings} <= {"TOO_LARGE", "MACRO_CYCLE"}
    assert translation.findings


def test_an_assignment_that_doubles_itself_ends_at_a_bound() -> None:
    _, translation = read_job(
        "executable = x\na = 1\n" + "a = $(a)$(a)\n" * 40 + "arguments=$(a)\n"
    )

    assert found(translation, "TOO_LARGE")


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("true", True),
        ("No", False),
        ("1", True),
        ("0.0", False),
        ("! false", True),
        ("defined x", True),
        ("! defined x", False),
        ("defined nothing", False),
        ("$(x)", True),
        ("version >= 8.9", True),
        ("version < 25", False),
    ],
)
def test_conditions(condition: str, holds: bool) -> None:
    said = (
        f"executable = x\nx = 1\nif {condition}\n  arguments = yes\nelse\n  arguments = no\nendif\n"
    )

    assert read_job(said)[0].arguments == (("yes",) if holds else ("no",))


def test_conditions_nest_and_the_first_that_holds_is_taken() -> None:
    said = (
        "executable = x\nif false\n if true\n a = 1\n endif\nelif true\n a = 2\n"
        " if false\n  a = 3\n elif 1\n  b = 4\n endif\n"
        "elif true\n a = 5\nelse\n a = 6\nendif\narguments = $(a) $(b)\n"
    )

    assert read_job(said)[0].arguments == ("2", "4")


@pytest.mark.parametrize(
    ("said", "code", "line"),
    [
        ("executable = x\nif a && b\nendif\n", "CONDITION", 2),
        ("executable = x\nif true\n", "SUBMIT_SYNTAX", 1),
        ("executable = x\nelse\n", "SUBMIT_SYNTAX", 2),
        ("executable = x\nif 1\nelse\nelif 1\nendif\n", "SUBMIT_SYNTAX", 4),
        ("executable = x\nsomething else\n", "SUBMIT_SYNTAX", 2),
        ("executable = x\nqueue\nqueue\n", "SECOND_QUEUE", 3),
        ("executable = x\nqueue 1+1\n", "QUEUE_ITEMS", 2),
        ("executable = x\nqueue 2 f matching *.txt\n", "QUEUE_ITEMS", 2),
        ("executable = x\nqueue from list.txt\n", "QUEUE_ITEMS", 2),
        ('executable = x\narguments = a "b"\n', "SUBMIT_SYNTAX", 2),
        ("executable = x\nenvironment = A\n", "SUBMIT_SYNTAX", 2),
        ("executable = x\ninclude : other.sub\n", "NEEDS_ACCESS_POINT", 2),
        ("executable = x\nuse feature : GPUs\n", "NEEDS_ACCESS_POINT", 2),
        ("executable = x\nerror : stop\n", "SUBMIT_MESSAGE", 2),
        ("executable = x\narguments @=end\na b\n", "SUBMIT_SYNTAX", 2),
        ("executable = x\nrequirements = " + "x" * 5000 + "\n", "TOO_LARGE", 2),
    ],
)
def test_what_a_submission_could_not_do_is_an_error_at_its_line(
    said: str, code: str, line: int
) -> None:
    _, translation = read_job(said)

    (finding,) = translation.findings
    assert (finding.code, finding.severity) == (code, "error")
    assert finding.position.line == line
    assert finding.position.file == ("a.sub" if line > 1 else "main.dag")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("getenv = true\n", "NEEDS_ACCESS_POINT"),
        ("universe = local\n", "NEEDS_ACCESS_POINT"),
        ("universe = grid\n", "NO_COUNTERPART"),
    ],
)
def test_what_is_not_here_is_kept_and_reported(said: str, code: str) -> None:
    work, translation = read_job("executable = x\n" + said)

    assert [(f.code, f.position.line) for f in translation.findings] == [(code, 2)]
    key, _, value = said.strip().partition(" = ")
    assert work.attributes == {key: value}


def test_a_list_of_items_is_kept_with_the_macros_that_it_fills() -> None:
    said = "executable = x\narguments = $(a) $(b) $(Item)\nqueue 2 a, b from (\n  1, 2\n  3, 4\n)\n"
    work, translation = read_job(said)

    assert (work.n_procs, work.arguments) == (2, ("$(a)", "$(b)", "$(Item)"))
    queue = {"queue": "2 a, b from (\n1, 2\n3, 4\n)"}
    assert task(translation, "A").annotations == {"dagman": queue}
    assert [f.position.line for f in found(translation, "QUEUE_ITEMS")] == [3]
    returns_the_same(translation)


@pytest.mark.parametrize(
    ("said", "memory", "attributes"),
    [
        ("512", "512M", {}),
        ("2GB", "2G", {}),
        ("1.5 G", "1536M", {}),
        ("64k", "64K", {}),
        ("2 GiB", "", {"request_memory": "2 GiB"}),
        ("2b", "", {"request_memory": "2b"}),
        ("MY.Size * 2", "", {"request_memory": "MY.Size * 2"}),
    ],
)
def test_sizes(said: str, memory: str, attributes: dict[str, str]) -> None:
    work, translation = read_job(f"executable = x\nrequest_memory = {said}\n")

    assert (work.memory, work.attributes) == (memory, attributes)
    returns_the_same(translation)


def test_files_are_where_the_node_and_its_description_say() -> None:
    files = {
        "sub/a.sub": "executable = ./run\ninitialdir = deep\ninput = i\n"
        "transfer_input_files = ../x, y/, $(Process).in\noutput = o\n"
    }
    translation = read("JOB A a.sub DIR ./sub/\n", files)

    work = batch(translation, "A")
    assert (work.executable, work.stdin, work.stdout) == ("sub/run", "sub/deep/i", "o")
    assert work.inputs == ("sub/x", "sub/deep/y/", "$(Process).in")
    assert task(translation, "A").annotations == {"dagman": {"dir": "sub", "initialdir": "deep"}}
    returns_the_same(translation)


def test_a_program_that_is_at_the_worker_is_no_file_of_the_bundle() -> None:
    files = {"sub/a.sub": "executable = python3\ntransfer_executable = False\n"}

    assert batch(read("JOB A a.sub DIR sub\n", files), "A").executable == "python3"


def test_a_docker_image_is_an_image() -> None:
    work, translation = read_job("universe = docker\ndocker_image = debian\nexecutable = x\n")

    assert (work.image, work.attributes) == ("docker://debian", {"universe": "docker"})
    returns_the_same(translation)


def test_a_key_counts_before_its_other_names() -> None:
    work, translation = read_job("executable = x\narguments = a\nargs = b\nstdout = o\n")

    assert (work.arguments, work.stdout, work.attributes) == (("a",), "o", {})
    assert [f.position.line for f in found(translation, "OVERRIDDEN")] == [3]


def test_a_list_of_files_may_stand_in_quotes() -> None:
    work, _ = read_job('executable = x\ntransfer_input_files = "a.txt, b.txt"\n')

    assert work.inputs == ("a.txt", "b.txt")


def test_a_value_of_several_lines() -> None:
    work, _ = read_job("executable = x\narguments @=end\na\nb\n@end\nqueue\n")

    assert work.arguments == ("a", "b")


def test_a_submit_file_of_many_nodes_has_its_findings_once() -> None:
    nodes = "".join(f"JOB N{n} a.sub\n" for n in range(50))
    translation = read(nodes, {"a.sub": "executable = x\ngetenv = true\n"})

    assert len(translation.findings) == 1


def test_a_queue_in_a_description_of_the_dag_is_reported() -> None:
    translation = read("JOB A {\n  executable = x\n  queue 3\n}\n")

    assert [f.position.line for f in found(translation, "INLINE_QUEUE")] == [1]
