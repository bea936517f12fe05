"""The channel of our peers: it repeats what may be repeated, and finds a server that is back."""

from __future__ import annotations

import time
from datetime import timedelta

from probe import SERVICE, Answer, Probe, ProbeClient, Question, error_of

from ewms_rpc.channel import DEADLINE, open_channel
from ewms_rpc.errors import InvalidArgument, Unavailable
from ewms_rpc.serving import RpcServer, ServerSettings, Service


async def test_unary_calls_of_the_named_services_are_repeated_while_the_server_is_away(serve):
    calls = 0

    async def third_time_lucky(request, context):
        nonlocal calls
        calls += 1
        if calls < 3:
            raise Unavailable("the database is away")
        return Answer(number=calls)

    async with (
        serve(Probe(ask=third_time_lucky)) as served,
        open_channel(served.server.address, retried=[SERVICE]) as channel,
    ):
        answer = await ProbeClient(channel).ask(Question(), timeout=DEADLINE)

    assert answer.number == 3


async def test_a_repeat_waits_as_long_as_the_server_says(serve):
    times = []

    async def away_once(request, context):
        times.append(time.monotonic())
        if len(times) == 1:
            raise Unavailable("busy", timedelta(seconds=0.6))
        return Answer()

    async with (
        serve(Probe(ask=away_once)) as served,
        open_channel(served.server.address, retried=[SERVICE]) as channel,
    ):
        await ProbeClient(channel).ask(Question(), timeout=DEADLINE)

    assert times[1] - times[0] > 0.5


async def test_what_is_wrong_is_not_repeated(serve):
    async with (
        serve(Probe()) as served,
        open_channel(served.server.address, retried=[SERVICE]) as channel,
    ):
        error = await error_of(ProbeClient(channel).ask(Question(count=-1), timeout=DEADLINE))

    assert isinstance(error, InvalidArgument)


async def test_a_server_that_comes_back_is_found_again():
    async def ask(request, context):
        return Answer(text=request.text)

    service = Service(SERVICE, Probe(ask=ask))
    async with RpcServer(ServerSettings(), [service]) as first:
        address = first.address
        channel = open_channel(address, retried=[SERVICE])
        client = ProbeClient(channel)
        assert (await client.ask(Question(text="one"), timeout=DEADLINE)).text == "one"

    async with channel, RpcServer(ServerSettings(listen=address), [service]):
        answer = await client.ask(Question(text="two"), timeout=DEADLINE, wait_for_ready=True)

    assert answer.text == "two"
