"""One method of a service: from bytes to a request that is sound, from a response to bytes.

Guarantees that code of a service sees only requests that parse and keep their field rules, made
by a known caller, and that a client sees only typed errors: never the parser's words, never a
stack trace.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from ewms_rpc.context import CallContext, current_call
from ewms_rpc.errors import (
    FieldViolation,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    RpcError,
)
from ewms_rpc.identity import Authenticator
from ewms_rpc.metrics import MethodMetrics
from ewms_rpc.rules import validator_for

__all__ = ["ErrorTable", "FurtherCheck", "Method", "Service", "ServicerIncomplete", "methods_of"]

_log = structlog.get_logger(__name__)

# What an exception of the service's own means on the wire; None when the table does not know it.
ErrorTable = Callable[[Exception], RpcError | None]

# What the service finds wrong with a request beyond its field rules.
FurtherCheck = Callable[[Any], Iterable[FieldViolation]]


@dataclass(frozen=True)
class Service:
    """A service and who serves it.

    Parameters
    ----------
    descriptor
        The service as the contract has it: `x_pb2.DESCRIPTOR.services_by_name["XService"]`.
    servicer
        Has for each method of the contract one of the same name, which takes the request and a
        `CallContext`: a coroutine function that returns the response; for a stream of responses
        an async generator (or a function that returns an async iterator) of messages, or of
        bytes that are a message already. A stream of requests is an async iterator.
    authenticator
        Who may call; None for the server's own.
    drains_itself
        Its streams end by themselves when the server drains.
    further_checks
        By method: what is wrong with a request that breaks field rules already, so that one
        answer names everything. A request that keeps them is the servicer's to check.
    """

    descriptor: ServiceDescriptor
    servicer: object
    authenticator: Authenticator | None = None
    drains_itself: bool = False
    further_checks: Mapping[str, FurtherCheck] = field(default_factory=dict)


class ServicerIncomplete(TypeError):
    """A servicer lacks methods of its contract, or has them in the wrong shape."""


class Method:
    """One method: `serve` is the servicer's own, everything else what stands around it."""

    def __init__(
        self,
        descriptor: MethodDescriptor,
        service: Service,
        authenticator: Authenticator,
        error_table: ErrorTable,
        max_message_bytes: int,
    ) -> None:
        self.full_name = f"/{service.descriptor.full_name}/{descriptor.name}"
        self.serve: Callable[[Any, CallContext], Any] = getattr(service.servicer, descriptor.name)
        self.streams_requests = descriptor.client_streaming
        self.streams_responses = descriptor.server_streaming
        self.drains_itself = service.drains_itself
        self.metrics = MethodMetrics(self.full_name)
        self._authenticate = (service.authenticator or authenticator).authenticate
        self._error_table = error_table
        self._max_message_bytes = max_message_bytes
        self._request_name = descriptor.input_type.full_name
        self._parse = GetMessageClass(descriptor.input_type).FromString
        self._violations_of = validator_for(descriptor.input_type)
        self._further_check = service.further_checks.get(descriptor.name)

    def call_of(self, rpc: Any) -> CallContext:
        """The call's context, which log lines find as well. Raises what the authenticator does."""
        metadata = rpc.invocation_metadata()
        call = CallContext(self.full_name, self._authenticate(metadata), metadata, rpc)
        current_call.set(call)
        return call

    def request_of(self, payload: bytes) -> Message:
        """The request that the bytes hold. Raises `InvalidArgument`."""
        try:
            request: Message = self._parse(payload)
        except DecodeError:
            words = f"is no {self._request_name}: bytes that do not parse, or text that is no UTF-8"
            # The parser's own words go nowhere: they quote the request.
            raise InvalidArgument([FieldViolation("", f"the message {words}")]) from None
        violations = self._violations_of(request)
        if violations:
            raise InvalidArgument([*violations, *self._further(request, violations)])
        return request

    def _further(
        self, request: Message, violations: Sequence[FieldViolation]
    ) -> Iterator[FieldViolation]:
        if self._further_check is not None:
            named = {violation.path for violation in violations}
            yield from (v for v in self._further_check(request) if v.path not in named)

    def bytes_of(self, response: Message | bytes) -> bytes:
        """The response as it is sent. Raises `ResourceExhausted` when it is too large for it."""
        body = response if isinstance(response, bytes) else response.SerializeToString()
        if len(body) > self._max_message_bytes:
            words = (
                f"the response has {len(body)} bytes, more than the {self._max_message_bytes}"
                " that a message may have: ask for less at once"
            )
            raise ResourceExhausted("response", words)
        return body

    def error_of(self, exception: BaseException) -> RpcError:
        """What the client is told; an exception that nobody knows is logged with its trace."""
        cause = exception
        while isinstance(cause, BaseExceptionGroup) and len(cause.exceptions) == 1:
            cause = cause.exceptions[0]
        if isinstance(cause, RpcError):
            return cause
        known = self._error_table(cause) if isinstance(cause, Exception) else None
        if known is not None:
            return known
        correlation_id = uuid4().hex
        _log.error(
            "call failed",
            method=self.full_name,
            correlation_id=correlation_id,
            exc_info=exception,
        )
        return Internal(correlation_id)


def methods_of(
    service: Service,
    authenticator: Authenticator,
    error_table: ErrorTable,
    max_message_bytes: int,
) -> list[Method]:
    """Every method of the service's contract.

    Raises
    ------
    ServicerIncomplete
        Naming all the methods that the servicer lacks or has in the wrong shape.
    """
    faults = [
        f"{method.name} {fault}"
        for method in service.descriptor.methods
        if (fault := _fault_of(method, getattr(service.servicer, method.name, None)))
    ]
    if faults:
        raise ServicerIncomplete(
            f"{type(service.servicer).__name__} does not serve {service.descriptor.full_name}: "
            + "; ".join(faults)
        )
    return [
        Method(method, service, authenticator, error_table, max_message_bytes)
        for method in service.descriptor.methods
    ]


def _fault_of(method: MethodDescriptor, served_by: object) -> str | None:
    if served_by is None:
        return "is missing"
    if not callable(served_by):
        return "is no method"
    if method.server_streaming and inspect.iscoroutinefunction(served_by):
        return "must be an async generator, since it answers with a stream"
    if not method.server_streaming and not inspect.iscoroutinefunction(served_by):
        return "must be a coroutine function (`async def` that returns the response)"
    return None
