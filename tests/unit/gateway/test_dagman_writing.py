"""Workflows of any language, written for DAGMan: what a node becomes, and what is reported."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wms_grpc.domain.nets import Dependency, net_of_dependencies
from wms_grpc.domain.tasks import (
    AbortRule,
    BatchWork,
    ContainerWork,
    CustomWork,
    NoopWork,
    Recovery,
    Script,
    SubWorkflowWork,
    SuccessRule,
    Task,
    Transfer,
    TransferWork,
    WaitWork,
    Work,
)
from wms_grpc.gateway.dagman import Dagman
from wms_grpc.gateway.dagman.names import read_name, written_name
from wms_grpc.gateway.equality import differences
from wms_grpc.gateway.model import Refused, Workflow, Written

_RUN = BatchWork("/bin/true")


def _written(*tasks: Task, **more: object) -> Written:
    return Dagman().write(Workflow("flow", tasks, **more))  # type: ignore[arg-type]


def _text(written: Written) -> str:
    return written.bundle.files[written.bundle.main].decode()


def _reported(written: Written) -> list[tuple[str, str]]:
    return [(finding.subject, finding.severity) for finding in written.findings]


@pytest.mark.parametrize(
    "name",
    ["A+B", "a.b", "a b", "50%", "%41", "Parent", "ALL_nodes", '"', "\\", "ü", "日本 1", "a\nb"],
)
def test_any_name_is_written_and_read_again(name: str) -> None:
    workflow = Workflow("flow", (Task(name, _RUN), Task("B", _RUN)), (Dependency((name,), ("B",)),))
    written = Dagman().write(workflow)

    assert written.findings == ()
    assert differences(workflow, Dagman().read(written.bundle).workflow) == []


def test_names_that_need_no_escape_have_none() -> None:
    assert written_name("ID0000001-merge_2") == "ID0000001-merge_2"
    assert (written_name("S+A"), written_name("a.b")) == ("S%2BA", "a%2Eb")
    assert read_name("50%-done") == "50%-done"


@given(st.text(min_size=1))
def test_reading_a_name_undoes_writing_it(name: str) -> None:
    word = written_name(name)

    assert read_name(word) == name
    assert not set(word) & set(" \t\n+.\"'\\")


def test_one_job_stands_in_the_dag_and_many_in_a_file_beside_it() -> None:
    written = _written(Task("A", _RUN), Task("B", BatchWork("/bin/true", n_procs=3)))

    assert "JOB A {\n    executable = /bin/true\n}\n" in _text(written)
    assert "JOB B B.sub\n" in _text(written)
    assert written.bundle.files["B.sub"] == b"executable = /bin/true\nqueue 3\n"


def test_a_limit_of_running_tasks_is_a_configuration() -> None:
    written = _written(Task("A", _RUN), max_running=5, max_idle=2)

    assert "CONFIG flow.config\n" in _text(written)
    config = b"DAGMAN_MAX_JOBS_SUBMITTED = 5\nDAGMAN_MAX_JOBS_IDLE = 2\n"
    assert written.bundle.files["flow.config"] == config


def test_a_net_that_was_given_as_a_net_is_refused() -> None:
    net = net_of_dependencies(["A"], [])

    with pytest.raises(Refused) as caught:
        _written(Task("A", _RUN), given_net=net)
    assert caught.value.finding.code == "NOT_A_DAG"


def test_two_final_tasks_are_refused() -> None:
    with pytest.raises(Refused):
        _written(Task("A", _RUN, role="final"), Task("B", _RUN, role="final"))


@pytest.mark.parametrize(
    ("work", "severity"),
    [
        (ContainerWork(("here",), ("in",), ("out",), "image"), "error"),
        (TransferWork((Transfer("a", "b"),)), "error"),
        (CustomWork("mine"), "error"),
        (WaitWork(signal="go"), "error"),
        (WaitWork(seconds=5), "info"),
        (SubWorkflowWork("jdl", "x.jdl"), "error"),
        (SubWorkflowWork("dagman", "x.dag", "dagman"), "warning"),
        (BatchWork("/x", cluster_locations=("here",)), "warning"),
        (BatchWork("/x", inputs=("task:B/out.txt",)), "info"),
        (BatchWork("/x", inputs=("a,b",)), "error"),
        (BatchWork("/x", arguments=("a\nb",)), "error"),
        (BatchWork("/x", environment={"a=b": "c"}), "error"),
        (BatchWork("/x", attributes={"no key": "c"}), "error"),
        (BatchWork("/x", attributes={"executable": "c"}), "error"),
        (BatchWork("/x", attributes={"a": "c\\"}), "error"),
        (BatchWork("/x", success=SuccessRule(at_least=3)), "error"),
        (BatchWork("/x", n_procs=3, success=SuccessRule(share=0.333)), "warning"),
    ],
)
def test_work_without_a_counterpart_is_reported(work: Work, severity: str) -> None:
    written = _written(Task("A", work), Task("B", _RUN))

    assert _reported(written) == [("A", severity)]
    assert {t.name for t in Dagman().read(written.bundle).workflow.tasks} == {"A", "B"}


@pytest.mark.parametrize(
    ("recovery", "severities"),
    [
        (Recovery(max_tries=3, never_on=(2,)), []),
        (Recovery(max_tries=3, never_on=(2, 3)), ["warning"]),
        (Recovery(max_tries=3, backoff=10.0), ["warning"]),
        (Recovery(max_tries=3, retry_on=("exit:3",)), ["warning"]),
        (Recovery(then="skip"), ["info"]),
        (Recovery(then="fallback", task="B"), ["error"]),
        (Recovery(then="compensate", task="B"), ["error"]),
    ],
)
def test_recovery_without_a_counterpart_is_reported(
    recovery: Recovery, severities: list[str]
) -> None:
    written = _written(Task("A", _RUN, recovery=recovery), Task("B", _RUN))

    assert [severity for _, severity in _reported(written)] == severities


def test_what_a_dag_cannot_say_of_itself_is_reported() -> None:
    written = _written(
        Task("A", _RUN, role="final", priority=3, category="c", recovery=Recovery(max_tries=2),
             pre=Script("x", ("a b",)), annotations={"jdl": {"x": 1}}),
        priority=1, labels={"a": "b"}, public_aliases=("q",), annotations={"pnml": {}},
    )  # fmt: skip

    reported = [finding.message for finding in written.findings]
    assert len(reported) == len(set(reported)) == 9
    assert Dagman().read(written.bundle).workflow.tasks[0].role == "final"


_names = st.sampled_from(["A", "B1", "S+T", "c.d", "e f", "Child", "é%2B"])
_words = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\0", exclude_categories=("Cs",))
)
_plain = st.text(st.sampled_from("abcXYZ019_-$()%"), min_size=1, max_size=8)
_paths = st.builds("{}/{}".format, _plain, _plain) | _plain
_batch = st.builds(
    BatchWork,
    executable=_plain,
    image=st.sampled_from(["", "docker://debian", "image.sif"]),
    arguments=st.lists(_words, max_size=4).map(tuple),
    environment=st.dictionaries(st.sampled_from(["A", "PATH", "x_1"]), _words, max_size=2),
    stdin=st.sampled_from(["", "in.txt"]),
    stdout=st.sampled_from(["", "out.$(Process)"]),
    inputs=st.lists(_paths, max_size=3).map(tuple),
    outputs=st.lists(_plain, max_size=3).map(tuple),
    n_procs=st.integers(0, 5),
    n_cores=st.none() | st.integers(0, 99),
    memory=st.sampled_from(["", "512M", "3G"]),
    disk=st.sampled_from(["", "10K", "1T"]),
    max_runtime=st.none() | st.integers(1, 10**6),
    requirements=st.sampled_from(["", '(OpSys == "LINUX") && true']),
    attributes=st.dictionaries(st.sampled_from(["log", "+My", "max_retries"]), _plain, max_size=2),
)
_works = _batch | st.just(NoopWork()) | st.builds(SubWorkflowWork, st.just("dagman"), _plain)
_scripts = st.none() | st.builds(
    Script, _plain, st.lists(_plain, max_size=2).map(tuple), st.just(3), st.integers(0, 60)
)
_tasks = st.builds(
    Task,
    name=_names,
    work=_works,
    recovery=st.builds(
        Recovery,
        max_tries=st.integers(1, 4),
        never_on=st.lists(st.integers(-9, 255), max_size=1).map(tuple),
    ),
    pre=_scripts,
    post=_scripts,
    pre_skip=st.none() | st.integers(1, 255),
    abort=st.none() | st.builds(AbortRule, st.integers(0, 255), st.none() | st.integers(0, 255)),
    priority=st.integers(-5, 5),
    category=st.sampled_from(["", "big", "+all", "a b"]),
    is_done=st.booleans(),
)


@st.composite
def _workflows(draw: st.DrawFn) -> Workflow:
    tasks = draw(st.lists(_tasks, min_size=1, max_size=5, unique_by=lambda task: task.name))
    names = [task.name for task in tasks]
    ends = st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True).map(tuple)
    dependencies = draw(st.lists(st.builds(Dependency, ends, ends), max_size=4, unique=True))
    limits = draw(st.dictionaries(st.sampled_from(["big", "+all", "a b"]), st.integers(0, 9)))
    limit = draw(st.none() | st.integers(1, 99))
    return Workflow("flow", tuple(tasks), tuple(dependencies), None, limit, None, limits)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(_workflows())
def test_a_workflow_comes_back_the_same_or_what_is_lost_is_reported(workflow: Workflow) -> None:
    written = Dagman().write(workflow)
    again = Dagman().read(written.bundle)

    if not written.findings:
        assert differences(workflow, again.workflow) == []
    twice = Dagman().read(Dagman().write(again.workflow).bundle)
    assert differences(again.workflow, twice.workflow) == []
