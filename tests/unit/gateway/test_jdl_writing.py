"""What is written as a job description, what is named as lost, and what is refused."""

from __future__ import annotations

import pytest

from wms_grpc.domain.nets import Dependency, Net
from wms_grpc.domain.tasks import BatchWork, NoopWork, Recovery, Task, WaitWork
from wms_grpc.gateway.jdl import Jdl
from wms_grpc.gateway.model import Refused, Workflow, Written

JOB = BatchWork(executable="/bin/true")


def written(workflow: Workflow) -> str:
    result = Jdl().write(workflow)
    return result.bundle.files[result.bundle.main].decode()


def losses(result: Written) -> list[tuple[str, str]]:
    return [(finding.subject, finding.message.split(":")[0]) for finding in result.findings]


def test_a_single_job_is_written_as_one() -> None:
    text = written(Workflow("one", (Task("one", JOB, recovery=Recovery(max_tries=3)),)))

    assert text == '[\n  Executable = "/bin/true";\n  RetryCount = 2;\n]\n'


def test_sets_stay_sets() -> None:
    tasks = tuple(Task(name, JOB) for name in "abcd")
    text = written(Workflow("w", tasks, (Dependency(("a", "b"), ("c", "d")),)))

    assert "{ { a, b }, { c, d } }" in text


def test_an_output_handed_on_is_a_path() -> None:
    maker = Task("make it", BatchWork(executable="m", stdout="log", outputs=("x", "y")))
    user = Task("use", BatchWork(executable="u", inputs=("task:make it/y", "task:make it/log")))
    text = written(Workflow("w", (maker, user), (Dependency(("make it",), ("use",)),)))

    assert "root.nodes.'make it'.description.OutputSandbox[1]" in text
    assert "root.nodes.'make it'.description.StdOutput" in text


def test_names_that_differ_by_case_alone_are_told_apart() -> None:
    workflow = Workflow("w", (Task("a", JOB), Task("A", JOB)), (Dependency(("a",), ("A",)),))
    read = Jdl().read(Jdl().write(workflow).bundle).workflow

    assert [task.name for task in read.tasks] == ["a", "A"]
    assert read.dependencies == workflow.dependencies


def test_what_the_language_lacks_is_named() -> None:
    task = Task(
        "t",
        BatchWork(executable="x", memory="2G", n_procs=3, inputs=("task:nobody/x",)),
        recovery=Recovery(max_tries=2, backoff=5, never_on=(3,)),
        priority=4,
        annotations={"dagman": {"x": 1}},
    )
    result = Jdl().write(Workflow("w", (task,), labels={"a": "b"}, max_idle=3))

    assert sorted(losses(result)) == [
        ("t", "dagman"),
        ("t", "inputs"),
        ("t", "memory"),
        ("t", "n_procs"),
        ("t", "priority"),
        ("t", "recovery.backoff"),
        ("t", "recovery.never_on"),
        ("w", "labels"),
        ("w", "max_idle"),
    ]


def test_a_task_that_does_nothing_is_a_job_that_does_nothing() -> None:
    result = Jdl().write(Workflow("w", (Task("n", NoopWork()),)))

    assert losses(result) == [("n", "noop")]
    assert b'Executable = "/bin/true"' in result.bundle.files[result.bundle.main]


def test_annotations_that_are_no_job_description_are_left_out_and_named() -> None:
    attributes = {"a": '"fine"', "b": "1; c = 2", "d": 5, "StdOutput": '"other"'}
    task = Task("t", JOB, annotations={"jdl": {"attributes": attributes}})
    result = Jdl().write(Workflow("t", (task,)))

    assert losses(result) == [("t", "b"), ("t", "d"), ("t", "StdOutput")]
    assert b'a = "fine"' in result.bundle.files[result.bundle.main]


@pytest.mark.parametrize(
    "workflow",
    [
        Workflow("w", (Task("t", WaitWork(seconds=1)),)),
        Workflow("w", (Task("t", JOB, role="final"),)),
        Workflow("w", (Task("t", JOB, recovery=Recovery(then="fallback", task="t")),)),
        Workflow("w", (Task("t", JOB),), given_net=Net((), (), ())),
        Workflow("w", (Task("t", BatchWork(image="docker://x")),)),
        Workflow("w", (Task("t", BatchWork(executable="a\0b")),)),
        Workflow("w", (Task("t", BatchWork(executable="\ud800")),)),
        Workflow("w", ()),
    ],
)
def test_what_would_run_otherwise_than_it_should_is_refused(workflow: Workflow) -> None:
    with pytest.raises(Refused):
        Jdl().write(workflow)
