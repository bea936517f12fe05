"""What gRPC calls for each method: one handler for each of the four shapes of a call.

Guarantees that every call ends with a status of ours, that a stream lets go of its servicer
before it answers, and that a call costs no task of its own. Cancellation (the client went away,
or its deadline has passed) is no error: it ends the servicer at its next await, and that is all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from time import monotonic, perf_counter
from typing import Any

import grpc
from google.protobuf.message import Message

from ewms_rpc.errors import DETAILS_KEY, RpcError, Unavailable
from ewms_rpc.methods import Method
from ewms_rpc.traffic import OpenStream, Traffic

__all__ = ["Handlers", "shutting_down"]

_OK, _CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED
_RETRY_AFTER = timedelta(seconds=1)


def shutting_down() -> Unavailable:
    """What a draining server answers; the client tries again, here or at another server."""
    return Unavailable("the server is shutting down", _RETRY_AFTER)


class Handlers(grpc.GenericRpcHandler):
    """All methods of a server, found by their full name."""

    def __init__(self, methods: list[Method], traffic: Traffic) -> None:
        self._handlers = {method.full_name: _handler(method, traffic) for method in methods}

    def service(self, details: Any) -> Any:
        """The handler of a method; None, for UNIMPLEMENTED, when there is no such method."""
        return self._handlers.get(details.method)


def _handler(method: Method, traffic: Traffic) -> Any:
    # Without serializers gRPC hands over the bytes, and takes bytes.
    if method.streams_responses and method.streams_requests:
        return grpc.stream_stream_rpc_method_handler(_bidirectional(method, traffic))
    if method.streams_responses:
        return grpc.unary_stream_rpc_method_handler(_server_stream(method, traffic))
    if method.streams_requests:
        return grpc.stream_unary_rpc_method_handler(_client_stream(method, traffic))
    return grpc.unary_unary_rpc_method_handler(_unary(method, traffic))


def _unary(method: Method, traffic: Traffic) -> Callable[[bytes, Any], Any]:
    async def handle(payload: bytes, rpc: Any) -> bytes:
        started = perf_counter()
        code = _CANCELLED
        traffic.begin()
        try:
            _admit(traffic)
            call = method.call_of(rpc)
            body = method.bytes_of(await method.serve(method.request_of(payload), call))
            code = _OK
            return body
        except (asyncio.CancelledError, Exception) as exception:
            error = _error_of(method, exception)
            code = error.code
        finally:
            traffic.finish()
            method.metrics.call_ended(code, perf_counter() - started)
        await _abort(rpc, error)
        raise AssertionError("abort raises")

    return handle


def _client_stream(method: Method, traffic: Traffic) -> Callable[[Any, Any], Any]:
    async def handle(_: Any, rpc: Any) -> bytes:
        started = perf_counter()
        code = _CANCELLED
        traffic.begin()
        stream = traffic.open_stream(method.drains_itself)
        try:
            _admit(traffic)
            call = method.call_of(rpc)
            body = method.bytes_of(await method.serve(_requests(method, rpc), call))
            code = _OK
            return body
        except (asyncio.CancelledError, Exception) as exception:
            error = stream.interrupted() or _error_of(method, exception)
            code = error.code
        finally:
            traffic.close_stream(stream)
            traffic.finish()
            method.metrics.call_ended(code, perf_counter() - started)
        await _abort(rpc, error)
        raise AssertionError("abort raises")

    return handle


def _server_stream(method: Method, traffic: Traffic) -> Callable[[bytes, Any], Any]:
    async def handle(payload: bytes, rpc: Any) -> None:
        await _respond(method, traffic, rpc, lambda: method.request_of(payload))

    return handle


def _bidirectional(method: Method, traffic: Traffic) -> Callable[[Any, Any], Any]:
    async def handle(_: Any, rpc: Any) -> None:
        await _respond(method, traffic, rpc, lambda: _requests(method, rpc))

    return handle


async def _respond(
    method: Method, traffic: Traffic, rpc: Any, request_of: Callable[[], Any]
) -> None:
    code = _CANCELLED
    error: RpcError | None = None
    traffic.begin()
    method.metrics.open_streams.inc()
    stream = traffic.open_stream(method.drains_itself)
    try:
        _admit(traffic)
        call = method.call_of(rpc)
        await _write_all(method, stream, rpc, method.serve(request_of(), call))
        error = stream.interrupted()
        code = _OK if error is None else error.code
    except (asyncio.CancelledError, Exception) as exception:
        error = stream.interrupted() or _error_of(method, exception)
        code = error.code
    finally:
        traffic.close_stream(stream)
        traffic.finish()
        method.metrics.open_streams.dec()
        method.metrics.stream_ended(code)
    if error is not None:
        # Waits for a subscriber who takes nothing, until it does or goes away; by then the
        # servicer is released, and gRPC holds no more than its windows.
        await _abort(rpc, error)


async def _write_all(
    method: Method, stream: OpenStream, rpc: Any, responses: AsyncIterator[Message | bytes]
) -> None:
    is_open = False
    try:
        async for response in responses:
            if stream.ending is not None:
                return
            body = method.bytes_of(response)
            stream.writing_since = monotonic()
            if not is_open:
                # Not left to the first write: when that is interrupted, gRPC would send them again.
                await rpc.send_initial_metadata(())
                is_open = True
            await rpc.write(body)
            stream.writing_since = None
    finally:
        stream.writing_since = None
        close = getattr(responses, "aclose", None)
        if close is not None:
            await close()


async def _requests(method: Method, rpc: Any) -> AsyncIterator[Message]:
    while (payload := await rpc.read()) is not grpc.aio.EOF:
        yield method.request_of(payload)


def _admit(traffic: Traffic) -> None:
    if traffic.refuses:
        raise shutting_down()


def _error_of(method: Method, exception: BaseException) -> RpcError:
    """The error to answer with; raises again what ends the call without an answer of ours."""
    if isinstance(exception, grpc.aio.InternalError):
        raise _client_gone() from None
    if isinstance(exception, grpc.aio.AbortError):
        # The servicer used gRPC's own abort; the client has its answer.
        raise exception
    if isinstance(exception, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise exception
        # A cancellation that leaked out of the servicer's own tasks: gRPC would send nothing,
        # and the client would wait for ever.
    return method.error_of(exception)


async def _abort(rpc: Any, error: RpcError) -> None:
    status = error.to_status()
    trailers: tuple[tuple[str, str | bytes], ...] = ((DETAILS_KEY, status.SerializeToString()),)
    if isinstance(error, Unavailable) and error.retry_after is not None:
        # gRPC's own retries know this key alone.
        milliseconds = int(error.retry_after.total_seconds() * 1000)
        trailers += (("grpc-retry-pushback-ms", str(milliseconds)),)
    try:
        await rpc.abort(error.code, status.message, trailers)
    except grpc.aio.InternalError:
        raise _client_gone() from None


def _client_gone() -> asyncio.CancelledError:
    """For a client that went away while gRPC read or wrote, which is no error of anybody's.

    gRPC takes it for the cancellation that it had not come round to; its own exception it would
    log with a trace.
    """
    return asyncio.CancelledError("the client is gone")
