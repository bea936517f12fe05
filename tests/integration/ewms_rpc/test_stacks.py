"""The parts of one stack take the servers of another for not there."""

from __future__ import annotations

import pytest
from probe import Answer, Probe, ProbeClient, Question, error_of, read_all

from ewms_rpc.channel import DEADLINE, open_channel
from ewms_rpc.errors import Unavailable
from ewms_rpc.stacks import StackMembers


async def _answer(request, context):
    return Answer(number=1)


async def _count(request, context):
    yield Answer(number=1)


@pytest.mark.parametrize("caller", ["ours", ""])
async def test_members_and_those_of_no_stack_are_served(serve, caller):
    async with (
        serve(Probe(ask=_answer), authenticator=StackMembers("ours")) as served,
        open_channel(served.server.address, stack=caller) as channel,
    ):
        answer = await ProbeClient(channel).ask(Question(), timeout=DEADLINE)

    assert answer.number == 1


@pytest.mark.parametrize("server", ["ours", ""])
async def test_for_members_of_another_stack_nobody_is_there(serve, server):
    probe = Probe(ask=_answer, count=_count)
    async with (
        serve(probe, authenticator=StackMembers(server)) as served,
        open_channel(served.server.address, stack="theirs") as channel,
    ):
        client = ProbeClient(channel)
        errors = [
            await error_of(client.ask(Question(), timeout=DEADLINE)),
            await error_of(read_all(client.count(Question(), timeout=DEADLINE), [])),
        ]

    assert [type(error) for error in errors] == [Unavailable, Unavailable]
    assert "another stack" in errors[0].message
    assert not probe.entered.is_set()
