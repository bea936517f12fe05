"""Bad input gets a typed error that names what is wrong, and writes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from scripted_agent import an_agent
from wms_stack import Stack, Wms, a_request, a_task, refused

from ewms.wms.v1 import (
    task_directive_service_pb2,
    task_pb2,
    taskforce_service_pb2,
    tms_service_pb2,
    workflow_service_pb2,
)
from ewms_rpc.errors import InvalidArgument, from_rpc_error

_SUBMIT = "/ewms.wms.v1.WorkflowService/SubmitWorkflow"


# What writes nothing needs no server of its own; what does is marked with `_alone`.
pytestmark = pytest.mark.asyncio(loop_scope="module")
_alone = pytest.mark.asyncio(loop_scope="function")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unwritten(module_database: str) -> AsyncIterator[Wms]:
    """A WMS that no workflow was ever submitted to."""
    stack = Stack(module_database)
    yield await stack.wms()
    await stack.close()


@pytest_asyncio.fixture(loop_scope="module")
async def wms(unwritten: Wms) -> AsyncIterator[Wms]:
    """A WMS whose tables must be empty at the end of the test, too."""
    yield unwritten
    assert not any((await unwritten.rows()).values())


async def _violations(
    wms: Wms, request: workflow_service_pb2.SubmitWorkflowRequest
) -> dict[str, str]:
    async with refused("INVALID_ARGUMENT") as refusal:
        await wms.workflows.SubmitWorkflow(request)
    assert isinstance(refusal.error, InvalidArgument)
    return {violation.path: violation.description for violation in refusal.error.violations}


def _with_worker(**config: Any) -> task_pb2.TaskSpec:
    return a_task(worker_config=task_pb2.WorkerConfig(**config))


def _with_pilot(**config: Any) -> task_pb2.TaskSpec:
    return a_task(pilot_config=task_pb2.PilotConfig(**config))


@pytest.mark.parametrize(
    ("task", "path"),
    [
        (a_task(n_workers=0), "n_workers"),
        (a_task(n_workers=-1), "n_workers"),
        (a_task(n_workers=1_000_001), "n_workers"),
        (a_task(cluster_locations=[]), "cluster_locations"),
        (a_task(cluster_locations=["mars"]), "cluster_locations[0]"),
        (a_task(cluster_locations=["osg", "osg"]), "cluster_locations[1]"),
        (a_task(input_queue_aliases=[]), "input_queue_aliases"),
        (a_task(input_queue_aliases=["input", "nobody"]), "input_queue_aliases[1]"),
        (a_task(input_queue_aliases=["input", "input"]), "input_queue_aliases[1]"),
        (a_task(output_queue_aliases=["output", "no blanks"]), "output_queue_aliases[1]"),
        (a_task(task_image=""), "task_image"),
        (a_task(task_args="x" * 10_000_000), "task_args"),
        (a_task(task_args="a\0b"), "task_args"),
        (a_task(task_env={"NO-DASH": "x"}), 'task_env["NO-DASH"]'),
        (_with_worker(worker_memory="12Q"), "worker_config.worker_memory"),
        (_with_worker(worker_disk="much"), "worker_config.worker_disk"),
        (_with_worker(max_worker_runtime=0), "worker_config.max_worker_runtime"),
        (_with_worker(n_cores=-1), "worker_config.n_cores"),
        (_with_pilot(tag="1.2"), "pilot_config.tag"),
        (_with_pilot(image_source="dockerhub"), "pilot_config.image_source"),
        (
            _with_pilot(environment={"EWMS_PILOT_TASK_ARGS": "x"}),
            'pilot_config.environment["EWMS_PILOT_TASK_ARGS"]',
        ),
        (_with_pilot(input_files=["a", "a"]), "pilot_config.input_files[1]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_wrong_with_a_task_is_named(
    wms: Wms, task: task_pb2.TaskSpec, path: str
) -> None:
    assert set(await _violations(wms, a_request(a_task(name="sound"), task))) == {
        f"tasks[1].{path}"
    }


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (workflow_service_pb2.SubmitWorkflowRequest(), "tasks"),
        (a_request(public="input output input"), "public_queue_aliases[2]"),
        (a_request(public="input output spare"), "public_queue_aliases[2]"),
        (a_request(priority=101), "priority"),
        (a_request(priority=-1), "priority"),
        (a_request(name="x" * 257), "name"),
        (a_request(name="a\0b"), "name"),
        (a_request(labels={"no blanks": "x"}), 'labels["no blanks"]'),
        (a_request(request_id="x" * 129), "request_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_wrong_with_a_submission_is_named(
    wms: Wms, request_: workflow_service_pb2.SubmitWorkflowRequest, path: str
) -> None:
    assert set(await _violations(wms, request_)) == {path}


async def test_what_a_field_shows_and_what_it_cannot_is_said_in_one_answer(wms: Wms) -> None:
    tasks = [a_task(), a_task(n_workers=0), a_task(cluster_locations=["mars"])]

    violations = await _violations(wms, a_request(*tasks))

    assert set(violations) == {"tasks[1].n_workers", "tasks[2].cluster_locations[0]"}


async def test_everything_that_no_single_field_shows_is_said_at_once(wms: Wms) -> None:
    bad = a_task(
        cluster_locations=["mars", "venus"],
        input_queue_aliases=["nobody"],
        pilot_config=task_pb2.PilotConfig(tag="1", environment={"EWMS_PILOT_INIT_IMAGE": "x"}),
    )

    assert set(await _violations(wms, a_request(bad, public="output spare"))) == {
        "public_queue_aliases[1]",
        "tasks[0].cluster_locations[0]",
        "tasks[0].cluster_locations[1]",
        "tasks[0].input_queue_aliases[0]",
        "tasks[0].pilot_config.tag",
        'tasks[0].pilot_config.environment["EWMS_PILOT_INIT_IMAGE"]',
    }


@pytest.mark.parametrize(
    "wrong", [a_task(n_workers=0), a_task(cluster_locations=["mars"])], ids=["field", "meaning"]
)
async def test_one_wrong_task_of_ten_thousand_is_named_by_its_index(
    wms: Wms, wrong: task_pb2.TaskSpec
) -> None:
    tasks = [a_task() for _ in range(10_000)]
    tasks[8_765] = wrong

    (path,) = await _violations(wms, a_request(*tasks))

    assert path.startswith("tasks[8765].")


async def test_ten_thousand_wrong_tasks_fit_an_answer(wms: Wms) -> None:
    violations = await _violations(wms, a_request(*(a_task(n_workers=0) for _ in range(10_000))))

    assert "tasks[0].n_workers" in violations
    assert len(violations) < 10_000


async def test_more_tasks_than_there_may_be_are_refused(wms: Wms) -> None:
    assert set(await _violations(wms, a_request(*(a_task() for _ in range(10_001))))) == {"tasks"}


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xff\xff",
        b"\x12\xff\xff\xff\xff\x0f",
        b"no message at all",
        b"\x22\x03a\xffb",
        a_request().SerializeToString()[:-1],
    ],
    ids=["no tag", "cut length", "text", "not UTF-8", "cut off"],
)
async def test_bytes_that_are_no_message_are_refused(wms: Wms, body: bytes) -> None:
    raw = wms.channel.unary_unary(_SUBMIT)

    async with refused("INVALID_ARGUMENT"):
        await raw(body)


async def test_a_message_over_the_size_limit_is_refused_and_the_connection_lives_on(
    wms: Wms,
) -> None:
    too_large = a_request(*(a_task(task_args="x" * 131_072) for _ in range(140)))
    assert too_large.ByteSize() > 16 * 1024 * 1024
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(wms.server.address, options=options) as channel:
        raw = channel.unary_unary(_SUBMIT)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await raw(too_large.SerializeToString())
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

        with pytest.raises(grpc.aio.AioRpcError) as error:
            await raw(workflow_service_pb2.SubmitWorkflowRequest().SerializeToString())
        assert isinstance(from_rpc_error(error.value), InvalidArgument)


@_alone
async def test_a_large_message_within_the_limit_is_taken(lone_wms: Wms) -> None:
    await lone_wms.submit(*(a_task(task_args="x" * 100_000) for _ in range(100)))


@pytest.mark.parametrize("kind", ["workflow", "task_directive", "taskforce"])
async def test_what_a_list_is_asked_wrongly_is_named(wms: Wms, kind: str) -> None:
    async def listed(**fields: Any) -> Any:
        match kind:
            case "workflow":
                return await wms.workflows.ListWorkflows(
                    workflow_service_pb2.ListWorkflowsRequest(**fields)
                )
            case "task_directive":
                return await wms.tasks.ListTaskDirectives(
                    task_directive_service_pb2.ListTaskDirectivesRequest(**fields)
                )
            case _:
                return await wms.taskforces.ListTaskforces(
                    taskforce_service_pb2.ListTaskforcesRequest(**fields)
                )

    for fields, path in (
        ({"filter": 'name = "unclosed'}, "filter"),
        ({"filter": "colour = red"}, "filter"),
        ({"page_token": "made up"}, "page_token"),
        ({"page_size": -1}, "page_size"),
        ({"order_by": "colour"}, "order_by"),
        ({"read_mask": {"paths": ["colour"]}}, "read_mask"),
    ):
        async with refused("INVALID_ARGUMENT") as refusal:
            await listed(**fields)
        assert {found.partition(".")[0] for found in refusal.paths} == {path}, fields


async def test_a_filters_syntax_error_is_told_with_its_position(wms: Wms) -> None:
    async with refused("INVALID_ARGUMENT") as refusal:
        await wms.workflows.ListWorkflows(
            workflow_service_pb2.ListWorkflowsRequest(filter="state = ACTIVE AND )")
        )

    assert "position 19" in refusal.error.message


@_alone
async def test_a_page_token_of_another_query_is_refused(lone_wms: Wms) -> None:
    for _ in range(2):
        await lone_wms.submit()
    request = workflow_service_pb2.ListWorkflowsRequest(page_size=1, filter="priority = 50")
    first = await lone_wms.workflows.ListWorkflows(request)
    assert first.next_page_token

    request.page_token = first.next_page_token
    assert len((await lone_wms.workflows.ListWorkflows(request)).workflows) == 1
    request.filter = "priority > 10"
    async with refused("INVALID_ARGUMENT") as refusal:
        await lone_wms.workflows.ListWorkflows(request)
    assert refusal.paths == {"page_token"}


async def test_what_does_not_exist_is_not_found(wms: Wms) -> None:
    nowhere = "WF-1-00000000"
    for call in (
        wms.get(nowhere),
        wms.get("no id at all"),
        wms.end("Finish", nowhere),
        wms.end("Abort", nowhere),
        wms.pause(nowhere),
        wms.resume(nowhere),
        wms.update(nowhere, "name", name="x"),
        wms.close(nowhere, "input"),
        wms.public_queues(nowhere),
        wms.history(nowhere),
        wms.add_workers("TK-1-00000000-0"),
        wms.add_workers("no id at all"),
        wms.taskforce("TF-1-00000000-0-0"),
    ):
        async with refused("NOT_FOUND"):
            await call


@_alone
async def test_an_update_is_held_to_the_rules_of_a_submission(lone_wms: Wms) -> None:
    workflow_id = await lone_wms.submit(name="as it was", labels={"team": "ice"})

    for mask, fields, paths in (
        (["state"], {}, {"update_mask"}),
        ([], {"name": "x"}, {"update_mask"}),
        (["priority"], {"priority": 101}, {"workflow.priority"}),
        (["priority"], {}, {"workflow.priority"}),
        (["name"], {"name": "x" * 257}, {"workflow.name"}),
        (["labels"], {"labels": {"no blanks": "x"}}, {'workflow.labels["no blanks"]'}),
        (["labels"], {"labels": {"x": "y" * 257}}, {'workflow.labels["x"]'}),
    ):
        async with refused("INVALID_ARGUMENT") as refusal:
            await lone_wms.update(workflow_id, *mask, **fields)
        assert refusal.paths == paths

    after = await lone_wms.get(workflow_id)
    assert (after.name, after.priority, dict(after.labels)) == ("as it was", 50, {"team": "ice"})


@_alone
async def test_workers_at_an_unknown_location_or_none_at_all_are_refused(lone_wms: Wms) -> None:
    workflow_id = await lone_wms.submit()
    (task_id,) = (await lone_wms.until(workflow_id, lambda view: view.tasks)).tasks

    for n_workers, location, path in (
        (1, "mars", "cluster_location"),
        (0, "osg", "n_workers"),
        (-1, "osg", "n_workers"),
    ):
        async with refused("INVALID_ARGUMENT") as refusal:
            await lone_wms.add_workers(task_id, n_workers, location)
        assert refusal.paths == {path}


async def test_reports_of_what_does_not_exist_are_not_found(wms: Wms) -> None:
    for uuid in ("TF-1-00000000-0-0", "no id at all"):
        report: Any = {"taskforce_uuid": uuid, "attempt": 1, "cluster_id": 1}
        for name, fields in (
            ("ReportCondorSubmit", {"n_workers": 1}),
            ("ReportCondorRm", {}),
            ("ReportCondorRmFailed", {"error": "x"}),
            ("ReportCondorComplete", {}),
        ):
            request = getattr(tms_service_pb2, f"{name}Request")(**report, **fields)
            async with refused("NOT_FOUND"):
                await getattr(wms.tms, name)(request)


async def test_a_schedd_that_is_not_configured_has_no_agent(wms: Wms) -> None:
    async with refused("NOT_FOUND"), an_agent(wms, "mars"):
        pass
    async with refused("NOT_FOUND"):
        await wms.tms.ReportCapacity(tms_service_pb2.ReportCapacityRequest(schedd="mars"))


async def test_a_time_that_no_calendar_has_is_refused(wms: Wms) -> None:
    request = tms_service_pb2.ReportCondorSubmitRequest(
        taskforce_uuid="TF-1-00000000-0-0", attempt=1, cluster_id=1, n_workers=1
    )
    request.submit_time.seconds = 10**15

    async with refused("INVALID_ARGUMENT") as refusal:
        await wms.tms.ReportCondorSubmit(request)
    assert refusal.paths == {"submit_time"}
