"""Translation: what becomes of a submission, and every violation that no single field shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from wms_values import LOCATIONS, NOW, a_spec, a_submission

from wms_grpc.domain.errors import InvalidSubmission
from wms_grpc.domain.model import Phase, PilotConfig, WorkerConfig, WorkflowState
from wms_grpc.domain.submission import Submission, TaskSpec
from wms_grpc.domain.translation import translate


def _violations(submission: Submission) -> dict[str, str]:
    with pytest.raises(InvalidSubmission) as refused:
        translate(submission, LOCATIONS, NOW)
    return {v.path: v.description for v in refused.value.violations}


def test_a_submission_becomes_a_pending_workflow_with_all_that_belongs_to_it() -> None:
    plan = translate(a_submission(), LOCATIONS, NOW)

    assert plan.workflow.state is WorkflowState.PENDING
    assert plan.workflow.activation_due == NOW
    assert (plan.workflow.n_tasks, plan.workflow.n_taskforces, plan.workflow.n_unended) == (1, 1, 1)
    (directive,) = plan.directives
    (taskforce,) = plan.taskforces
    mqids = {queue.alias: queue.mqid for queue in plan.queues}
    assert directive.name == "task-0"
    assert directive.input_queues == (mqids["input"],)
    assert directive.output_queues == (mqids["output"],)
    assert taskforce.phase is Phase.PRE_MQ_ACTIVATION
    assert taskforce.task_id == directive.task_id
    assert taskforce.workflow_id == plan.workflow.workflow_id


def test_each_cluster_location_has_its_taskforce_and_two_names_of_one_count_once() -> None:
    spec = a_spec(cluster_locations=("sub-2", "local", "osg"))

    plan = translate(a_submission(spec), LOCATIONS, NOW)

    assert plan.directives[0].cluster_locations == ("osg", "local")
    assert [t.cluster_location for t in plan.taskforces] == ["osg", "local"]
    assert len({t.taskforce_uuid for t in plan.taskforces}) == 2


def test_an_alias_is_one_queue_for_all_tasks_and_public_where_the_user_says_so() -> None:
    first = a_spec(output_aliases=("middle",))
    second = a_spec(input_aliases=("middle",), output_aliases=("output", "middle"))

    plan = translate(a_submission(first, second), LOCATIONS, NOW)

    assert [(q.alias, q.is_public) for q in plan.queues] == [
        ("input", True),
        ("output", True),
        ("middle", False),
    ]
    (middle,) = (q.mqid for q in plan.queues if q.alias == "middle")
    assert plan.directives[0].output_queues == (middle,)
    assert plan.directives[1].input_queues == (middle,)
    assert middle in plan.directives[1].output_queues


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (a_spec(cluster_locations=("osg", "mars")), "cluster_locations[1]"),
        (a_spec(worker_config=WorkerConfig(worker_memory="12Q")), "worker_config.worker_memory"),
        (a_spec(worker_config=WorkerConfig(worker_memory="0")), "worker_config.worker_memory"),
        (a_spec(worker_config=WorkerConfig(worker_disk="0G")), "worker_config.worker_disk"),
        (a_spec(pilot_config=PilotConfig(tag="1.2")), "pilot_config.tag"),
        (a_spec(pilot_config=PilotConfig(tag="1")), "pilot_config.tag"),
        (a_spec(task_image="a\nb"), "task_image"),
        (a_spec(init_image="a\x00b"), "init_image"),
        (
            a_spec(worker_config=WorkerConfig(condor_requirements="true\nqueue 1000")),
            "worker_config.condor_requirements",
        ),
        (a_spec(input_aliases=("input", "nobody")), "input_queue_aliases[1]"),
    ],
)
def test_what_is_wrong_with_a_task_is_named_by_its_path(spec: TaskSpec, path: str) -> None:
    assert set(_violations(a_submission(spec))) == {f"tasks[0].{path}"}


@pytest.mark.parametrize(
    "name",
    [
        "EWMS_PILOT_TASK_IMAGE",
        "EWMS_PILOT_TASK_ARGS",
        "EWMS_PILOT_TASK_ENV_JSON",
        "EWMS_PILOT_INIT_IMAGE",
        "EWMS_PILOT_INIT_ARGS",
        "EWMS_PILOT_INIT_ENV_JSON",
        "EWMS_PILOT_QUEUE_INCOMING_AUTH_TOKEN",
    ],
)
def test_what_the_system_sets_is_no_name_for_the_pilots_environment(name: str) -> None:
    environment = {"EWMS_PILOT_PREFETCH": "2", name: "x"}
    spec = a_spec(pilot_config=PilotConfig(environment=environment))

    assert set(_violations(a_submission(spec))) == {f'tasks[0].pilot_config.environment["{name}"]'}


@pytest.mark.parametrize("tag", ["latest", "1.2.3", "v1.2.3", "fix-memory", "12-branch"])
def test_an_exact_tag_or_a_branch_is_taken(tag: str) -> None:
    translate(a_submission(a_spec(pilot_config=PilotConfig(tag=tag))), LOCATIONS, NOW)


def test_a_public_alias_that_no_task_uses_is_refused() -> None:
    submission = a_submission(public="input spare output")

    assert set(_violations(submission)) == {"public_queue_aliases[1]"}


def test_a_private_queue_that_nobody_writes_to_is_refused() -> None:
    assert set(_violations(a_submission(public="output"))) == {"tasks[0].input_queue_aliases[0]"}


def test_a_loop_is_legal() -> None:
    translate(a_submission(a_spec(output_aliases=("input",)), public=""), LOCATIONS, NOW)


def test_two_tasks_of_one_name_are_both_named() -> None:
    submission = a_submission(a_spec(name="task-1"), a_spec(), a_spec(name="other"))

    assert set(_violations(submission)) == {"tasks[0].name", "tasks[1].name"}


def test_everything_wrong_is_said_in_one_answer() -> None:
    bad = a_spec(
        cluster_locations=("mars", "venus"),
        input_aliases=("nobody",),
        worker_config=WorkerConfig(worker_memory="12Q", worker_disk="-1"),
        pilot_config=PilotConfig(tag="1.2", environment={"EWMS_PILOT_INIT_ARGS": "x"}),
    )

    violations = _violations(a_submission(a_spec(), bad, public="input output spare"))

    assert set(violations) == {
        "public_queue_aliases[2]",
        "tasks[1].input_queue_aliases[0]",
        "tasks[1].cluster_locations[0]",
        "tasks[1].cluster_locations[1]",
        "tasks[1].worker_config.worker_memory",
        "tasks[1].worker_config.worker_disk",
        "tasks[1].pilot_config.tag",
        'tasks[1].pilot_config.environment["EWMS_PILOT_INIT_ARGS"]',
    }
    assert "local, osg, sub-2" in violations["tasks[1].cluster_locations[0]"]


def test_one_wrong_task_of_ten_thousand_is_named_by_its_index() -> None:
    tasks = [a_spec() for _ in range(10_000)]
    tasks[7_654] = replace(tasks[0], cluster_locations=("mars",))

    assert set(_violations(a_submission(*tasks))) == {"tasks[7654].cluster_locations[0]"}


def test_more_taskforces_than_a_workflow_may_have_are_refused() -> None:
    many = LOCATIONS.names[:2] * 6  # a task may ask for more locations than there are
    tasks = [a_spec(cluster_locations=many) for _ in range(9_000)]

    assert set(_violations(a_submission(*tasks))) == {"tasks"}
