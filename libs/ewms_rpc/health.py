"""`grpc.health.v1`, served for each service and overall, and asked by who waits for a server.

Overall (the empty name) a server is SERVING when all of its services are. Once closed it says
NOT_SERVING to everyone, and its watches end. Must never do work to find out: who knows better
calls `set_serving`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
from grpc_health.v1 import health_pb2

from ewms_rpc.backoff import Backoff
from ewms_rpc.channel import open_channel
from ewms_rpc.context import CallContext
from ewms_rpc.errors import NotFound
from ewms_rpc.methods import Service
from ewms_rpc.tls import ClientTls

__all__ = ["HealthServicer", "NotServing", "await_serving", "health_service"]

_Status = health_pb2.HealthCheckResponse
_ATTEMPT_SECONDS = 2.0


class HealthServicer:
    """The health of the services with these full names, all of them SERVING at first."""

    def __init__(self, services: Iterable[str]) -> None:
        self._is_serving = dict.fromkeys(services, True)
        self._closed = False
        self._changed = asyncio.Event()

    def set_serving(self, service: str, is_serving: bool) -> None:
        """Sets what is said of a service. Raises `KeyError` for one that is not served."""
        if self._is_serving[service] != is_serving:
            self._is_serving[service] = is_serving
            self._wake()

    def close(self) -> None:
        """From now on NOT_SERVING, whatever is set."""
        self._closed = True
        self._wake()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: CallContext
    ) -> health_pb2.HealthCheckResponse:
        """The status now. NOT_FOUND for a service that is not served."""
        status = self._status(request.service)
        if status == _Status.SERVICE_UNKNOWN:
            raise NotFound("service", request.service)
        return _Status(status=status)

    async def List(
        self, request: health_pb2.HealthListRequest, context: CallContext
    ) -> health_pb2.HealthListResponse:
        """The status of each service now, and overall."""
        names = ("", *self._is_serving)
        return health_pb2.HealthListResponse(
            statuses={name: _Status(status=self._status(name)) for name in names}
        )

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: CallContext
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The status now and whenever it changes; what comes and goes between is skipped."""
        last = None
        while True:
            changed, status = self._changed, self._status(request.service)
            if status != last:
                last = status
                yield _Status(status=status)
            elif self._closed:
                return
            else:
                await changed.wait()

    def _status(self, service: str) -> int:
        if service and service not in self._is_serving:
            return int(_Status.SERVICE_UNKNOWN)
        is_serving = self._is_serving[service] if service else all(self._is_serving.values())
        return int(_Status.SERVING if is_serving and not self._closed else _Status.NOT_SERVING)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def health_service(servicer: HealthServicer) -> Service:
    """Health as a service; its watches end by themselves, after a last NOT_SERVING."""
    descriptor = health_pb2.DESCRIPTOR.services_by_name["Health"]
    return Service(descriptor, servicer, drains_itself=True)


class NotServing(TimeoutError):
    """A server did not say SERVING in time."""


async def await_serving(
    address: str,
    service: str = "",
    *,
    deadline: float = 30.0,
    insecure: bool = False,
    tls: ClientTls | None = None,
) -> None:
    """Returns as soon as the server says that it serves the service.

    Parameters
    ----------
    address
        `host:port`.
    service
        The full name; empty for all that the server has.
    deadline
        Seconds to wait for it.
    insecure, tls
        As in `open_channel`.

    Raises
    ------
    NotServing
        When the deadline has passed, with what the server last said.
    """
    request = health_pb2.HealthCheckRequest(service=service)
    last = "no answer"
    async with open_channel(address, insecure=insecure, tls=tls) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=_Status.FromString,
        )
        try:
            async with asyncio.timeout(deadline):
                async for _ in Backoff(first=0.02, limit=0.5):
                    try:
                        response = await check(request, timeout=_ATTEMPT_SECONDS)
                    except grpc.aio.AioRpcError as error:
                        last = f"{error.code().name}: {error.details()}"
                        continue
                    if response.status == _Status.SERVING:
                        return
                    last = _Status.ServingStatus.Name(response.status)
        except TimeoutError as error:
            what = service or "the server"
            raise NotServing(f"{what} at {address} does not serve: {last}") from error
