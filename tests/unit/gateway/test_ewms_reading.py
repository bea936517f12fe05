"""What requests say, and where they are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import json_format

from ewms.wms.v1 import workflow_service_pb2
from wms_grpc.domain.model import WorkerConfig
from wms_grpc.domain.nets import Arc, Dependency, Place, Token
from wms_grpc.domain.tasks import BatchWork, ContainerWork, NoopWork, Recovery, Task, WaitWork
from wms_grpc.gateway.ewms import Ewms
from wms_grpc.gateway.model import Bundle, Finding, Refused, Workflow

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
CONTAINER = {
    "cluster_locations": ["local"],
    "input_queue_aliases": ["in"],
    "task_image": "docker://x",
    "n_workers": 2,
}


def read(request: object) -> Workflow:
    text = request if isinstance(request, str) else json.dumps(request)
    return Ewms().read(Bundle({"r.json": text.encode()}, "r.json")).workflow


def refusal(request: object) -> Finding:
    with pytest.raises(Refused) as refused:
        read(request)
    return refused.value.finding


def the_task(**fields: object) -> Task:
    (task,) = read({"tasks": [fields]}).tasks
    return task


def test_a_task_is_a_container_on_queues_unless_it_says_otherwise() -> None:
    task = the_task(**CONTAINER)

    assert task.name == "task-0"
    assert task.work == ContainerWork(("local",), ("in",), (), "docker://x", n_workers=2)


def test_names_and_integers_may_be_as_protobuf_writes_them() -> None:
    task = the_task(
        **CONTAINER, workerConfig={"maxWorkerRuntime": "600", "workerDisk": ""}, pilotConfig=None
    )

    assert isinstance(task.work, ContainerWork)
    assert task.work.worker_config == WorkerConfig(max_worker_runtime=600)


def test_tasks_that_wait_for_the_same_ones_are_one_dependency() -> None:
    tasks = [{"name": name, "noop": {}} for name in "ab"] + [
        {"name": name, "noop": {}, "depends_on": ["a", "b"]} for name in "cd"
    ]

    assert read({"tasks": tasks}).dependencies == (Dependency(("a", "b"), ("c", "d")),)


def test_each_kind_is_an_object_of_its_name() -> None:
    assert the_task(noop={}).work == NoopWork()
    assert the_task(wait={"signal": "go"}).work == WaitWork(signal="go")
    batch = the_task(batch={"executable": "x", "n_cores": 2})
    assert batch.work == BatchWork(executable="x", n_cores=2)


def test_a_recovery_may_name_the_task_that_takes_over() -> None:
    recovery = {"max_tries": 2, "backoff": 1.5, "then": "fallback", "task": "b"}
    workflow = read(
        {"tasks": [{"name": "a", "noop": {}, "recovery": recovery}, {"name": "b", "noop": {}}]}
    )

    assert workflow.tasks[0].recovery == Recovery(2, 1.5, then="fallback", task="b")


def test_a_net_has_its_tokens_and_conditions_beside_its_places_and_transitions() -> None:
    workflow = read(
        {
            "tasks": [{"name": "a", "noop": {}}],
            "net": {
                "places": [{"id": "p", "capacity": 2}],
                "tokens": [{"place": "p"}, {"place": "p", "value": "<x/>"}],
                "transitions": [{"id": "t", "task": "a"}],
                "arcs": [{"place": "p", "transition": "t", "mode": "take", "weight": 2}],
                "conditions": [{"transition": "t", "expression": "$x"}],
            },
        }
    )

    net = workflow.given_net
    assert net is not None
    assert net.places == (Place("p", capacity=2, tokens=(Token(), Token("<x/>"))),)
    assert net.transitions[0].conditions == ("$x",)
    assert net.arcs == (Arc("p", "t", "take", 2),)


def test_what_belongs_to_the_request_alone_is_kept_and_written_again() -> None:
    reserve = {"cluster_location": "osg", "n_workers": 5, "time_to_live": 60.0}
    request = {"tasks": [{"noop": {}}], "request_id": "r", "reserve": reserve}
    workflow = read(request)
    written = Ewms().write(workflow).bundle

    assert workflow.annotations == {"ewms": {"request_id": "r", "reserve": reserve}}
    assert json.loads(written.files[written.main]) == {
        "request_id": "r",
        "reserve": reserve,
        "tasks": [{"name": "task-0", "noop": {}}],
    }


def test_a_name_that_the_contract_does_not_allow_is_kept_beside_one_that_it_allows() -> None:
    user = BatchWork(executable="u", inputs=("task:it's a/x",))
    tasks = (Task("it's a", BatchWork(executable="m", outputs=("x",))), Task("it_s_a", user))
    workflow = Workflow("w", tasks, (Dependency(("it's a",), ("it_s_a",)),))
    written = Ewms().write(workflow).bundle
    first, second = json.loads(written.files[written.main])["tasks"]

    assert (first["name"], second["name"]) == ("it_s_a-2", "it_s_a")
    assert second["depends_on"] == ["it_s_a-2"]
    assert second["batch"]["inputs"] == ["task:it_s_a-2/x"]
    again = Ewms().read(written).workflow
    assert again.tasks == workflow.tasks
    assert again.dependencies == workflow.dependencies


@pytest.mark.parametrize("name", ["chain.json", "copy.json"])
def test_what_is_written_of_queues_alone_is_what_the_contract_takes(name: str) -> None:
    workflow = read((EXAMPLES / name).read_text())
    written = Ewms().write(workflow).bundle
    request = workflow_service_pb2.SubmitWorkflowRequest()
    json_format.Parse(written.files[written.main], request)

    assert len(request.tasks) == len(workflow.tasks)
    assert [task.n_workers for task in request.tasks] == [
        task.work.n_workers for task in workflow.tasks if isinstance(task.work, ContainerWork)
    ]


@pytest.mark.parametrize(
    ("request_text", "code", "line", "column"),
    [
        ('{"tasks": [\n  {"noop": {}, "nmae": "a"}]}', "UNKNOWN_FIELD", 2, 16),
        ('{"tasks": [\n  {"noop": {"x": 1}}]}', "UNKNOWN_FIELD", 2, 13),
        ('{"tasks": [{"noop": {}}],\n "priority": 101}', "OUT_OF_RANGE", 2, 14),
        ('{"tasks": [{"noop": {}}],\n "priority": 1.5}', "WRONG_TYPE", 2, 14),
        ('{"tasks": [{"noop": {}}],\n "labels": {"a": 1}}', "WRONG_TYPE", 2, 18),
        ('{"tasks": [{"noop": {}, "name": "a b"}]}', "BAD_NAME", 1, 25),
        ('{"tasks": [{"wait": {"seconds": 1, "signal": "x"}}]}', "CONFLICT", 1, 13),
        ('{"tasks": [{"noop": {}, "recovery": {"then": "skip", "task": "x"}}]}', "CONFLICT", 1, 25),
        (
            '{"tasks": [{"noop": {}, "recovery": {"then": "fallback", "task": "x"}}]}',
            "UNKNOWN_NAME",
            1,
            25,
        ),
        ('{"tasks": [{"noop": {}, "recovery": {"then": "pray"}}]}', "OUT_OF_RANGE", 1, 46),
        ('{"tasks": [{"noop": {}, "recovery": {"max_tries": 0}}]}', "OUT_OF_RANGE", 1, 51),
        ('{"tasks": [{"noop": {}, "depends_on": "a"}]}', "WRONG_TYPE", 1, 39),
        ('{"tasks": {}}', "WRONG_TYPE", 1, 11),
        ("[]", "WRONG_TYPE", 1, 1),
        ("{}", "MISSING_FIELD", 1, 1),
        ('{"tasks": [{"noop": {}}]} x', "SYNTAX", 1, 27),
        ('{"tasks": [{"noop": {}}]', "SYNTAX", 1, 25),
        ('{"tasks": [{"noop": {}}], "name": "a\\ud800"}', "BAD_CHARACTER", 1, 35),
        ('{"tasks": [{"noop": {}}], "name": "a', "SYNTAX", 1, 35),
        ('{"tasks": [{"noop": {}}], "name": NaN}', "SYNTAX", 1, 35),
        ('{"tasks": [{"noop": {}}], "maxRunning": 1, "max_running": 1}', "DUPLICATE_FIELD", 1, 44),
    ],
)
def test_what_is_wrong_is_refused_where_it_stands(
    request_text: str, code: str, line: int, column: int
) -> None:
    finding = refusal(request_text)

    assert (finding.code, finding.position.line, finding.position.column) == (code, line, column)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cluster_locations": []}, "MISSING_FIELD"),
        ({"cluster_locations": ["a", "a"]}, "DUPLICATE_NAME"),
        ({"input_queue_aliases": ["-"]}, "BAD_NAME"),
        ({"task_image": ""}, "MISSING_FIELD"),
        ({"n_workers": 0}, "OUT_OF_RANGE"),
        ({"n_workers": None}, "MISSING_FIELD"),
        ({"worker_config": {"n_cores": 0}}, "OUT_OF_RANGE"),
        ({"worker_config": {"cores": 1}}, "UNKNOWN_FIELD"),
    ],
)
def test_a_container_that_the_contract_would_not_take_is_refused(
    changes: dict[str, object], code: str
) -> None:
    assert refusal({"tasks": [{**CONTAINER, **changes}]}).code == code


def test_other_json_is_not_claimed() -> None:
    instance = '{"name": "x", "schemaVersion": "1.5", "workflow": {"specification": {"tasks": []}}}'
    for text in (instance, '{"a": 1}', "[]", '[{"tasks": 1}]', "tasks"):
        assert not Ewms().claims(Bundle({"x.json": text.encode()}, "x.json"))
