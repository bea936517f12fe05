"""How a server lets go: of its calls when it drains, of subscribers who take nothing."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import grpc
import pytest
from grpc_health.v1 import health_pb2
from probe import Answer, Probe, ProbeClient, Question, error_of, read_all
from structlog.testing import capture_logs

from ewms_rpc.channel import open_channel
from ewms_rpc.errors import ResourceExhausted, Unavailable

# More than a connection takes that nobody reads from, less than a message may have.
TOO_LARGE = 15 * 1024 * 1024


async def quiet(request, context):
    yield Answer(number=1)
    await asyncio.Event().wait()


async def test_a_call_in_flight_ends_and_a_new_one_is_refused_with_a_time_to_try_again(serve):
    may_end = asyncio.Event()

    async def slow(request, context):
        await may_end.wait()
        return Answer(text="done")

    async with serve(Probe(ask=slow)) as served, asyncio.TaskGroup() as tasks:
        in_flight = served.client.ask(Question())
        await served.probe.entered.wait()
        draining = tasks.create_task(served.server.drain())
        await asyncio.sleep(0)
        refused = await error_of(served.client.ask(Question()))
        assert not draining.done()
        may_end.set()
        assert (await in_flight).text == "done"
        await draining

    assert isinstance(refused, Unavailable)
    assert refused.retry_after == timedelta(seconds=1)


async def test_streams_are_told_to_end_and_nothing_is_waited_for(serve):
    async def endless(requests, context):
        async for _ in requests:
            yield Answer()

    async def collect_for_ever(requests, context):
        async for _ in requests:
            served.probe.entered.set()

    async with serve(Probe(count=quiet, chat=endless, collect=collect_for_ever)) as served:
        watch = served.client.count(Question())
        await watch.read()
        chat = served.client.chat()
        await chat.write(Question())
        await chat.read()
        served.probe.entered.clear()
        collected = served.client.collect()
        await collected.write(Question())
        await served.probe.entered.wait()
        started = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(served.server.drain())
            ends = [await error_of(call) for call in (watch.read(), chat.read(), collected)]
        took = time.monotonic() - started

    assert [type(end) for end in ends] == [Unavailable] * 3
    assert [end.retry_after for end in ends] == [timedelta(seconds=1)] * 3
    assert took < 4


async def test_a_servicer_that_does_not_end_is_cut_off_after_the_grace(serve):
    async def stubborn(request, context):
        await asyncio.Event().wait()

    async with serve(Probe(ask=stubborn), drain_grace=0.2) as served:
        call = served.client.ask(Question())
        await served.probe.entered.wait()
        started = time.monotonic()
        await served.server.drain()
        took = time.monotonic() - started
        await served.probe.released.wait()
        with pytest.raises(grpc.aio.AioRpcError):
            await call

    assert took < 4


async def test_serve_ends_once_it_is_told_to_stop(serve):
    stop = asyncio.Event()
    async with serve(Probe(count=quiet)) as served, asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(served.server.serve(stop))
        watch = served.client.count(Question())
        await watch.read()
        stop.set()
        assert isinstance(await error_of(watch.read()), Unavailable)
        await serving


async def test_health_says_so_first_and_its_watches_end(serve):
    async with serve(Probe()) as served:
        watch = served.client.channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )(health_pb2.HealthCheckRequest())
        seen = [(await watch.read()).status]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(served.server.drain())
            while (response := await watch.read()) is not grpc.aio.EOF:
                seen.append(response.status)

    status = health_pb2.HealthCheckResponse
    assert seen == [status.SERVING, status.NOT_SERVING]


async def test_a_subscriber_who_takes_nothing_is_ended_and_told_when_it_looks_again(serve):
    sent = 0

    async def pour(request, context):
        nonlocal sent
        while True:
            yield Answer(padding=bytes(10_000))
            sent += 1

    async with serve(Probe(count=pour), write_timeout=0.5) as served:
        call = served.client.count(Question())
        await asyncio.wait_for(served.probe.released.wait(), 20)
        assert sent * 10_000 < 8 * 1024 * 1024
        taken: list[Answer] = []
        ended = await error_of(read_all(call, taken))

    assert isinstance(ended, ResourceExhausted)
    assert ended.message == "the subscriber took nothing for 0.5 s"
    # Nothing that was handed to gRPC is lost: the one whose write was interrupted comes, too.
    assert len(taken) == sent + 1


async def test_a_quiet_stream_is_not_taken_for_a_stuck_one(serve):
    go_on = asyncio.Event()

    async def wait_between(request, context):
        yield Answer(number=1)
        await go_on.wait()
        yield Answer(number=2)

    async with serve(Probe(count=wait_between), write_timeout=0.05) as served:
        call = served.client.count(Question())
        assert (await call.read()).number == 1
        # Several sweeps go by: another stream that is stuck is ended by one of them.
        await end_a_stuck_stream(serve)
        go_on.set()
        assert (await call.read()).number == 2


async def end_a_stuck_stream(serve):
    async def pour(request, context):
        while True:
            yield Answer(padding=bytes(100_000))

    async with serve(Probe(count=pour), write_timeout=0.3) as other:
        call = other.client.count(Question())
        await other.probe.released.wait()
        call.cancel()


async def test_subscribers_who_take_nothing_do_not_hold_up_the_draining(serve):
    async def pour(request, context):
        while True:
            yield Answer(padding=bytes(100_000))

    async with serve(Probe(count=pour)) as served:
        call = served.client.count(Question())
        await call.read()
        started = time.monotonic()
        await served.server.drain()
        took = time.monotonic() - started
        call.cancel()

    assert took < 4


async def test_one_who_never_takes_even_the_first_message_is_told_as_well(serve):
    async def one_too_large_for_every_window(request, context):
        yield Answer(padding=bytes(TOO_LARGE))

    async with serve(Probe(count=one_too_large_for_every_window), write_timeout=0.3) as served:
        call = served.client.count(Question())
        await asyncio.wait_for(served.probe.released.wait(), 20)
        taken: list[Answer] = []
        ended = await error_of(read_all(call, taken))

    assert isinstance(ended, ResourceExhausted)
    assert len(taken) == 1


@pytest.mark.parametrize("goes_away", ["cancels the call", "cuts the connection"])
@pytest.mark.parametrize("write_timeout", [60.0, 0.2], ids=["while written to", "once given up"])
async def test_a_subscriber_who_goes_away_while_something_waits_for_it_is_no_error(
    serve, caplog, goes_away, write_timeout
):
    is_waiting = asyncio.Event()

    async def one_small_one_large(request, context):
        yield Answer()
        is_waiting.set()
        yield Answer(padding=bytes(TOO_LARGE))

    with capture_logs() as lines:
        async with serve(Probe(count=one_small_one_large), write_timeout=write_timeout) as served:
            channel = open_channel(served.server.address)
            call = ProbeClient(channel).count(Question())
            await call.read()
            await is_waiting.wait()
            if write_timeout < 60:
                await served.probe.released.wait()
            if goes_away == "cancels the call":
                call.cancel()
            await channel.close()
            await asyncio.wait_for(served.probe.released.wait(), 20)
            await served.server.drain()

    of_grpc = [record.message for record in caplog.records if record.levelname == "ERROR"]
    of_ours = [line for line in lines if line["log_level"] == "error"]
    assert (of_grpc, of_ours) == ([], [])
