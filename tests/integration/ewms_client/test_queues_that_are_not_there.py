"""Queues that are gone with their workflow, and queues that are not granted yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from client_fakes import MemoryBroker, ScriptedWms, Step, revision, serving, snapshot
from command_runs import COPY, ended, start

from ewms.wms.v1 import watch_pb2, workflow_pb2, workflow_service_pb2
from ewms_client import AsyncClient, QueueGone, Unavailable
from ewms_mqs.config import MqsSettings
from ewms_mqs.server import mqs_server
from ewms_postgres.migrations import upgrade
from wms_grpc.config import WmsSettings
from wms_grpc.server import MIGRATIONS, SCHEMA, wms_server


@pytest.fixture
async def forgetful(database_url: str) -> AsyncIterator[str]:
    """Address of a WMS whose MQS keeps no queue for those who still read it."""
    keeping_nothing = MqsSettings(
        database=database_url, listen="127.0.0.1:0", queue_retention=timedelta(0)
    )
    async with mqs_server(keeping_nothing) as mqs:
        await upgrade(database_url, script_location=MIGRATIONS, schema=SCHEMA)
        settings = WmsSettings(database=database_url, listen="127.0.0.1:0", mqs=mqs.address)
        async with wms_server(settings, database_url) as server:
            yield server.address


async def _released(client: AsyncClient) -> str:
    """Id of a workflow that was granted, has settled, and whose queues are released."""
    workflow_id = (await client.submit(COPY)).workflow.workflow_id
    await client.publish(workflow_id, "input", [b"1"])
    await client.finish(workflow_id)
    async for event in client.watch(workflow_id, keep_open=True):
        if isinstance(event, watch_pb2.WorkflowRevision):
            lines = [line.what async for line in client.history(workflow_id)]
            if "released" in lines:
                break
    return workflow_id


async def test_a_queue_that_is_gone_is_called_gone_with_its_workflow(
    forgetful: str, tmp_path: Path
) -> None:
    (tmp_path / "event").write_bytes(b"1")
    async with AsyncClient(forgetful) as client:
        workflow_id = await _released(client)
        with pytest.raises(QueueGone) as gone:
            await client.publish(workflow_id, "input", [b"2"])
    words = f"queue input of workflow {workflow_id} is gone: the workflow is FINISHED and"

    assert str(gone.value).startswith(words)
    for use in (
        ("publish", workflow_id, "input", tmp_path / "event"),
        ("consume", workflow_id, "input", "--to", tmp_path / "out"),
    ):
        end = await ended(await start(forgetful, *use))
        assert (end.code, end.out, end.err) == (5, "", f"ewms: {gone.value}\n")


@pytest.mark.parametrize("how", ["publish", "consume"])
async def test_a_queue_that_goes_while_its_token_holds_is_called_gone_too(how: str) -> None:
    wms, broker = ScriptedWms(), MemoryBroker()
    broker.faults.is_gone = True
    async with serving(broker, wms) as address, AsyncClient(address) as client:
        with_token = workflow_service_pb2.PublicQueue(
            alias="input",
            is_activated=True,
            broker_type="postgres",
            broker_address=address,
            auth_token="token",
        )
        without = workflow_service_pb2.PublicQueue(alias="input", is_activated=True)
        wms.listings += [[with_token], [without]]
        with pytest.raises(QueueGone, match="queue input of workflow WF-1 is gone"):
            await _use(client, how)


async def _use(client: AsyncClient, how: str) -> None:
    if how == "publish":
        await client.publish("WF-1", "input", [b"1"])
        return
    async with client.consume("WF-1", "input") as deliveries:
        async for _ in deliveries:
            pass


def _pending(
    number: int, reason: str, retry: int = 0
) -> workflow_service_pb2.WatchWorkflowResponse:
    message = revision(number, state=workflow_pb2.WORKFLOW_STATE_PENDING)
    workflow = message.revision.changes[0].workflow
    workflow.pending_reason = reason
    if retry:
        workflow.retry_time.FromSeconds(retry)
    return message


async def test_what_a_publisher_waits_for_is_said_once_and_again_as_it_changes(
    tmp_path: Path,
) -> None:
    (tmp_path / "event").write_bytes(b"1")
    wms = ScriptedWms()
    queue = workflow_service_pb2.PublicQueue(
        alias="input", mqid="q" * 32, broker_type="postgres", auth_token="token"
    )

    def script() -> Iterator[Step]:
        first = snapshot(
            1,
            state=workflow_pb2.WORKFLOW_STATE_PENDING,
            aliases=["input"],
            is_activated=False,
        )
        first.snapshot.workflow.pending_reason = "the MQS is away"
        yield first
        yield _pending(2, "the MQS is away")
        yield _pending(3, "there is no room", retry=1_700_000_000)
        yield _pending(4, "there is no room", retry=1_700_000_030)
        queue.is_activated = True
        granted = revision(5)
        granted.revision.changes.add(queue=workflow_pb2.Queue(alias="input", is_activated=True))
        yield granted

    wms.queues = [queue]
    async with serving(MemoryBroker(), wms) as address:
        queue.broker_address = address
        ends = []
        for options in ((), ("--json",)):
            queue.is_activated = False
            wms.play(script())
            use = ("publish", "WF-1", "input", tmp_path / "event", *options)
            ends.append(await ended(await start(address, *use)))

    told, as_json = ends
    assert (told.code, told.out) == (0, "1 events published\n"), told.err
    away, full = told.err.splitlines()
    assert away == "ewms: queue input is not granted yet: the MQS is away"
    assert full.startswith(
        "ewms: queue input is not granted yet: there is no room (asks again at 2"
    )
    assert (as_json.code, as_json.out, as_json.err) == (0, '{"n_events": 1}\n', "")


# More than the channel itself repeats a call.
_AWAY = [grpc.StatusCode.UNAVAILABLE] * 12


@pytest.mark.parametrize("how", ["publish", "consume"])
async def test_a_wms_that_is_away_is_asked_again_for_the_queue(how: str) -> None:
    wms, broker = ScriptedWms(), MemoryBroker()
    broker.add(b"1")
    async with serving(broker, wms) as address, AsyncClient(address) as client:
        wms.queues.append(
            workflow_service_pb2.PublicQueue(
                alias="input",
                is_activated=True,
                broker_type="postgres",
                broker_address=address,
                auth_token="token",
            )
        )
        wms.listing_failures += _AWAY
        if how == "publish":
            assert await client.publish("WF-1", "input", [b"1"]) == 1
        else:
            async with client.consume("WF-1", "input", count=1) as deliveries:
                await (await anext(deliveries)).ack()
    assert not wms.listing_failures


async def test_a_wms_that_stays_away_is_given_up_after_the_patience() -> None:
    wms = ScriptedWms()
    wms.listing_failures += _AWAY * 10
    async with serving(wms) as address, AsyncClient(address, patience=0.5) as client:
        with pytest.raises(Unavailable):
            await client.publish("WF-1", "input", [b"1"])
    assert wms.listing_failures
