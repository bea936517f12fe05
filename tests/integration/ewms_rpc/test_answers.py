"""What a client is told, for everything that can go wrong with a call."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import grpc
import pytest
from probe import Answer, Probe, Question, error_of, read_all
from structlog.testing import capture_logs

from ewms_rpc.errors import (
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    PreconditionViolation,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unclassified,
)
from ewms_rpc.identity import Identity

ERRORS = [
    InvalidArgument([FieldViolation("tasks[0].n_workers", "must be at least 1")]),
    NotFound("workflow", "WF-1"),
    AlreadyExists("workflow", "WF-1", "the request id was used for another workflow"),
    FailedPrecondition([PreconditionViolation("WORKFLOW_STATE", "WF-1", "WF-1 is aborted")]),
    ResourceExhausted("user:ada", "too many workflows", timedelta(seconds=2.5)),
    ResourceExhausted("user:ada", "too many workflows"),
    Unavailable("the database is away", timedelta(milliseconds=20)),
    Unauthenticated("the token has expired"),
    PermissionDenied("only the owner may do this"),
    OutOfRange("revision 7 is compacted away"),
]


@pytest.mark.parametrize("sent", ERRORS, ids=lambda error: error.code.name)
async def test_every_error_comes_back_as_it_was_raised(serve, sent):
    async def refuse(request, context):
        raise sent

    async with serve(Probe(ask=refuse)) as served:
        received = await error_of(served.client.ask(Question()))

    assert type(received) is type(sent)
    assert vars(received) == vars(sent)
    assert received.retry_after == sent.retry_after


async def test_streams_answer_with_details_too_after_what_was_sent(serve):
    async def two_then_fail(request, context):
        yield Answer(number=1)
        yield Answer(number=2)
        raise NotFound("workflow", "WF-1")

    seen: list[Answer] = []
    async with serve(Probe(count=two_then_fail)) as served:
        received = await error_of(read_all(served.client.count(Question()), seen))

    assert [answer.number for answer in seen] == [1, 2]
    assert vars(received) == vars(NotFound("workflow", "WF-1"))


async def test_every_violation_of_a_request_is_named(serve):
    async with serve(Probe()) as served:
        received = await error_of(served.client.ask(Question(text="x" * 101, count=-1)))
        assert not served.probe.entered.is_set()

    assert isinstance(received, InvalidArgument)
    assert [violation.path for violation in received.violations] == ["text", "count"]


async def test_a_thousand_violations_are_cut_to_what_fits_and_counted(serve):
    sent = [FieldViolation(f"tasks[{n}].task_image", "must be set") for n in range(1_000)]

    async def refuse(request, context):
        raise InvalidArgument(sent)

    async with serve(Probe(ask=refuse)) as served:
        received = await error_of(served.client.ask(Question()))

    assert isinstance(received, InvalidArgument)
    *listed, rest = received.violations
    assert listed == sent[: len(listed)]
    assert len(listed) > 50
    assert rest.description == f"and {1_000 - len(listed)} more"


@pytest.mark.parametrize(
    "payload",
    [b"\xff\xff\xff", b"\x0a\x02\xc3\x28", b"\x0a\x7fshort"],
    ids=["no message", "invalid UTF-8", "cut short"],
)
@pytest.mark.parametrize("method", ["ask", "count"])
async def test_bytes_that_do_not_parse_are_an_invalid_argument_in_our_words(serve, method, payload):
    async with serve(Probe()) as served:
        call = getattr(served.client, method)(payload)
        received = await error_of(call if method == "ask" else call.read())

    assert isinstance(received, InvalidArgument)
    assert received.violations[0].path == ""
    assert "ewms_rpc_tests.probe.Question" in received.message
    assert "wire" not in received.message.lower()


async def test_a_bad_message_in_a_stream_of_requests_ends_the_call(serve):
    async def total(requests, context):
        return Answer(number=sum([request.count async for request in requests]))

    async with serve(Probe(collect=total)) as served:
        good = await served.client.collect(iter([Question(count=2), Question(count=3)]))
        received = await error_of(served.client.collect(iter([Question(), Question(count=-1)])))

    assert good.number == 5
    assert isinstance(received, InvalidArgument)
    assert received.violations[0].path == "count"


async def test_a_fault_of_ours_tells_the_client_an_id_and_the_log_the_rest(serve):
    async def fail(request, context):
        raise RuntimeError("SELECT secret FROM tokens")

    async with serve(Probe(ask=fail)) as served:
        with capture_logs() as lines:
            received = await error_of(served.client.ask(Question()))

    assert isinstance(received, Internal)
    assert "secret" not in received.message
    (line,) = [line for line in lines if line["event"] == "call failed"]
    assert line["correlation_id"] == received.correlation_id
    assert isinstance(line["exc_info"], RuntimeError)


async def test_the_error_table_knows_the_services_own_exceptions_even_from_a_task_group(serve):
    async def fail(request, context):
        async with asyncio.TaskGroup() as group:
            group.create_task(raise_lookup_error())

    async def raise_lookup_error():
        raise LookupError("WF-9")

    def table(error):
        return NotFound("workflow", str(error)) if isinstance(error, LookupError) else None

    async with serve(Probe(ask=fail), error_table=table) as served:
        received = await error_of(served.client.ask(Question()))

    assert isinstance(received, NotFound)


async def test_a_cancellation_that_leaks_out_of_the_servicer_is_answered(serve):
    async def leak(request, context):
        raise asyncio.CancelledError

    async with serve(Probe(ask=leak)) as served:
        received = await error_of(served.client.ask(Question(), timeout=20))

    assert isinstance(received, Internal)


async def test_a_client_that_goes_away_ends_the_servicer_and_is_no_error(serve):
    async def wait_for_ever(request, context):
        await asyncio.Event().wait()

    async with serve(Probe(ask=wait_for_ever)) as served:
        with capture_logs() as lines:
            call = served.client.ask(Question())
            await served.probe.entered.wait()
            call.cancel()
            await served.probe.released.wait()

    assert [line for line in lines if line["log_level"] == "error"] == []


async def test_a_deadline_reaches_the_servicer(serve):
    async def wait_for_ever(request, context):
        assert 0 < context.remaining < 0.5
        await asyncio.Event().wait()

    async with serve(Probe(ask=wait_for_ever)) as served:
        received = await error_of(served.client.ask(Question(), timeout=0.3))
        await served.probe.released.wait()

    assert isinstance(received, Unclassified)
    assert received.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_messages_above_the_limit_are_refused_both_ways(serve):
    async def large(request, context):
        return Answer(padding=bytes(200_000))

    async with serve(Probe(ask=large), max_message_bytes=100_000) as served:
        too_large_in = await error_of(served.client.ask(Question(padding=bytes(200_000))))
        assert not served.probe.entered.is_set()
        too_large_out = await error_of(served.client.ask(Question()))

    assert isinstance(too_large_in, ResourceExhausted)
    assert "larger than max" in too_large_in.message
    assert isinstance(too_large_out, ResourceExhausted)
    assert "200004 bytes" in too_large_out.message


async def test_the_servicer_knows_who_calls_and_under_which_id(serve):
    class ByHeader:
        def authenticate(self, metadata):
            name = dict(metadata).get("user")
            if name is None:
                raise Unauthenticated("who are you?")
            return Identity(name)

    async def introduce(request, context):
        return Answer(text=f"{context.identity.name} {context.request_id} {context.method}")

    async with serve(Probe(ask=introduce), authenticator=ByHeader()) as served:
        metadata = (("user", "ada"), ("x-request-id", "r-1"))
        answer = await served.client.ask(Question(), metadata=metadata)
        nobody = await error_of(served.client.ask(Question()))

    assert answer.text == "ada r-1 /ewms_rpc_tests.probe.ProbeService/Ask"
    assert isinstance(nobody, Unauthenticated)


async def test_bytes_of_a_stream_are_sent_as_they_are(serve):
    async def encoded(request, context):
        yield Answer(text="encoded once").SerializeToString()

    async with serve(Probe(count=encoded)) as served:
        answers = [answer.text async for answer in served.client.count(Question())]

    assert answers == ["encoded once"]


async def test_a_conversation_goes_both_ways(serve):
    async def echo(requests, context):
        async for request in requests:
            yield Answer(text=request.text)

    async with serve(Probe(chat=echo)) as served:
        call = served.client.chat()
        for word in ("one", "two"):
            await call.write(Question(text=word))
            assert (await call.read()).text == word
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
