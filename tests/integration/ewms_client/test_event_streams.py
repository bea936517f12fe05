"""Publishing and consuming lose nothing and repeat nothing when streams break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from client_fakes import MemoryBroker, ScriptedWms, serving, snapshot

from ewms.wms.v1 import workflow_service_pb2
from ewms_client import (
    AsyncClient,
    Client,
    DeliveryLost,
    Event,
    NotFound,
    Unauthenticated,
    UnsupportedBroker,
)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def wms() -> ScriptedWms:
    return ScriptedWms()


@pytest.fixture
async def address(broker: MemoryBroker, wms: ScriptedWms) -> AsyncIterator[str]:
    async with serving(broker, wms) as address:
        wms.queues = [public_queue(address, "token-1")]
        yield address


@pytest.fixture
async def client(address: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(address) as client:
        yield client


def public_queue(
    address: str, token: str, *, broker_type: str = "postgres", life: float = 3600.0
) -> workflow_service_pb2.PublicQueue:
    queue = workflow_service_pb2.PublicQueue(
        alias="input",
        mqid="q" * 32,
        is_activated=True,
        broker_type=broker_type,
        broker_address=address,
        auth_token=token,
    )
    queue.token_expire_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=life))
    return queue


async def test_events_are_published_with_ids_and_counted(
    client: AsyncClient, broker: MemoryBroker
) -> None:
    counts: list[int] = []

    n_events = await client.publish(
        "WF-1",
        "input",
        [b"bytes", Event(b"event", {"filename": "a"}, event_id="mine")],
        on_confirmed=counts.append,
    )

    assert n_events == counts[-1] == 2
    assert [event.payload for event in broker.stored.values()] == [b"bytes", b"event"]
    assert broker.stored["mine"].headers == {"filename": "a"}
    assert broker.tokens == ["Bearer token-1"]


async def test_what_was_stored_but_not_confirmed_is_sent_again_with_the_same_ids(
    client: AsyncClient, broker: MemoryBroker
) -> None:
    broker.faults.break_before_confirming = True

    n_events = await client.publish("WF-1", "input", [b"%d" % i for i in range(3000)])

    assert n_events == 3000
    assert [event.payload for event in broker.stored.values()] == [b"%d" % i for i in range(3000)]


async def test_an_error_of_the_callers_own_events_reaches_the_caller(client: AsyncClient) -> None:
    async def events() -> AsyncIterator[bytes]:
        yield b"one"
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        await client.publish("WF-1", "input", events())


async def test_an_event_is_on_its_way_before_the_next_one_is_there(
    client: AsyncClient, broker: MemoryBroker
) -> None:
    first_confirmed = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        yield b"one"
        await first_confirmed.wait()
        yield b"two"

    await client.publish("WF-1", "input", events(), on_confirmed=lambda _: first_confirmed.set())

    assert len(broker.stored) == 2


async def test_a_refused_token_is_fetched_anew_once(
    client: AsyncClient, broker: MemoryBroker, wms: ScriptedWms, address: str
) -> None:
    broker.faults.refused_tokens = {"Bearer token-1"}

    class Fresh(list[workflow_service_pb2.PublicQueue]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield public_queue(address, f"token-{wms.n_listings}")

    wms.queues = Fresh()
    assert await client.publish("WF-1", "input", [b"one"]) == 1
    assert broker.tokens == ["Bearer token-1", "Bearer token-2"]

    broker.faults.refused_tokens = {f"Bearer token-{n}" for n in range(9)}
    with pytest.raises(Unauthenticated):
        await client.publish("WF-1", "input", [b"one"])


async def test_a_stream_that_outlives_half_of_its_token_is_opened_anew_with_another(
    client: AsyncClient, broker: MemoryBroker, wms: ScriptedWms, address: str
) -> None:
    wms.queues = [public_queue(address, "token-1", life=2.0)]

    async def events() -> AsyncIterator[bytes]:
        yield b"one"
        wms.queues = [public_queue(address, "token-2")]
        await broker.has_token["Bearer token-2"].wait()
        yield b"two"

    assert await client.publish("WF-1", "input", events()) == 2
    assert [event.payload for event in broker.stored.values()] == [b"one", b"two"]


async def test_a_queue_that_is_not_granted_yet_is_waited_for(broker: MemoryBroker) -> None:
    granted = asyncio.Event()
    wms = ScriptedWms(
        [
            snapshot(1, aliases=["input"], is_activated=False),
            granted,
            snapshot(2, aliases=["input"]),
        ]
    )
    async with serving(broker, wms) as address, AsyncClient(address) as client:
        wms.queues = [workflow_service_pb2.PublicQueue(alias="input")]
        publishing = asyncio.create_task(client.publish("WF-1", "input", [b"one"]))
        await wms.is_watched.wait()
        assert not broker.stored

        wms.queues = [public_queue(address, "token")]
        granted.set()

        assert await publishing == 1


async def test_an_alias_that_is_not_public_is_not_found(client: AsyncClient) -> None:
    with pytest.raises(NotFound, match="WF-1 has no public queue 'other'"):
        await client.publish("WF-1", "other", [b"one"])


async def test_a_broker_of_another_type_is_named(
    client: AsyncClient, wms: ScriptedWms, address: str
) -> None:
    wms.queues = [public_queue("mq.example.org:5671", "t", broker_type="pulsar")]

    with pytest.raises(UnsupportedBroker, match=r"pulsar.*mq\.example\.org"):
        await client.publish("WF-1", "input", [b"one"])


async def taken(client: AsyncClient, **options: int) -> list[bytes]:
    async with client.consume("WF-1", "input", **options) as deliveries:
        payloads = []
        async for delivery in deliveries:
            payloads.append(delivery.payload)
            await delivery.ack()
        return payloads


async def test_a_consumer_ends_when_the_queue_is_drained(
    client: AsyncClient, broker: MemoryBroker
) -> None:
    broker.add(b"1", b"2", b"3")
    broker.is_drained_when_empty = True

    assert await taken(client) == [b"1", b"2", b"3"]
    assert broker.acknowledged == ["1", "2", "3"]


async def test_a_consumer_that_has_its_count_gives_the_rest_back(
    client: AsyncClient, broker: MemoryBroker
) -> None:
    broker.add(*(b"%d" % i for i in range(10)))

    assert await taken(client, count=3) == [b"0", b"1", b"2"]

    assert broker.acknowledged == ["0", "1", "2"]
    assert set(broker.given_back) <= {"3", "4", "5"}


async def test_no_more_than_the_credit_is_held_at_a_time(
    client: AsyncClient, broker: MemoryBroker
) -> None:
    broker.add(*(b"%d" % i for i in range(10)))
    broker.is_drained_when_empty = True
    most = 0
    async with client.consume("WF-1", "input", credit=4) as deliveries:
        async for delivery in deliveries:
            most = max(most, broker.n_in_flight)
            await delivery.ack()

    assert most == 4
    assert len(broker.acknowledged) == 10


async def test_after_a_break_what_is_held_is_acknowledged_beside_the_new_stream(
    client: AsyncClient, broker: MemoryBroker
) -> None:
    broker.add(b"1", b"2", b"3", b"4")
    broker.faults.break_after_deliveries = 2
    broker.is_drained_when_empty = True

    assert await taken(client, credit=2) == [b"1", b"2", b"3", b"4"]

    assert sorted(broker.acknowledged) == ["1", "2", "3", "4"]
    assert {"1", "2"} >= set(broker.settled_elsewhere) >= {"2"}


async def test_an_acknowledgement_whose_answer_is_lost_is_said_again(
    client: AsyncClient, broker: MemoryBroker
) -> None:
    broker.add(b"1", b"2")
    broker.faults.lose_answer_to_ack = True
    broker.is_drained_when_empty = True

    assert await taken(client) == [b"1", b"2"]

    assert sorted(broker.acknowledged) == ["1", "2"]


async def test_leases_are_extended_while_a_delivery_is_worked_on(
    wms: ScriptedWms,
) -> None:
    broker = MemoryBroker(lease=0.3)
    broker.add(b"1")
    async with serving(broker, wms) as address, AsyncClient(address) as client:
        wms.queues = [public_queue(address, "token")]
        async with client.consume("WF-1", "input", count=1) as deliveries:
            async for delivery in deliveries:
                async with asyncio.timeout(5):
                    await broker.extended.wait()
                await delivery.ack()

    assert broker.acknowledged == ["1"]


async def test_who_acknowledges_too_late_is_told(client: AsyncClient, broker: MemoryBroker) -> None:
    broker.add(b"1")
    broker.lost = {"1"}
    async with client.consume("WF-1", "input") as deliveries:
        delivery = await anext(deliveries)
        with pytest.raises(DeliveryLost):
            await delivery.ack()


async def test_what_is_acknowledged_but_not_awaited_is_settled_when_the_consumer_is_left(
    client: AsyncClient, broker: MemoryBroker
) -> None:
    broker.add(b"1", b"2")
    async with client.consume("WF-1", "input", count=2) as deliveries:
        async for delivery in deliveries:
            delivery.ack()

    assert broker.acknowledged == ["1", "2"]


async def test_what_was_not_settled_goes_back_when_the_consumer_is_left_by_an_error(
    client: AsyncClient, broker: MemoryBroker
) -> None:
    broker.add(b"1", b"2")

    async def fail_on_the_second() -> None:
        async with client.consume("WF-1", "input") as deliveries:
            await (await anext(deliveries)).ack()
            await anext(deliveries)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_on_the_second()

    assert broker.acknowledged == ["1"]
    assert broker.given_back == ["2"]


async def test_the_sync_client_publishes_and_consumes_alike(
    address: str, broker: MemoryBroker
) -> None:
    def work() -> list[bytes]:
        with Client(address) as client:
            client.publish("WF-1", "input", (payload for payload in (b"1", b"2")))
            for event in broker.stored.values():
                broker.add(event.payload)
            with client.consume("WF-1", "input", count=2) as deliveries:
                payloads = []
                for delivery in deliveries:
                    payloads.append(delivery.payload)
                    delivery.ack()
                return payloads

    assert await asyncio.to_thread(work) == [b"1", b"2"]
    assert broker.acknowledged == ["1", "2"]
