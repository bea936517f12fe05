"""A gRPC server of ours: any services, with health, reflection, typed errors and draining.

Guarantees that it listens on loopback alone unless told otherwise, and that it is gone within ten
seconds of being told to stop: health says so first, new calls are refused with a time to try
again, calls in flight end, streams are told to end. Leaves no task behind.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import grpc
import structlog

from ewms_rpc.addresses import NotLoopback, is_loopback, require_address
from ewms_rpc.handlers import Handlers, shutting_down
from ewms_rpc.health import HealthServicer, health_service
from ewms_rpc.identity import Authenticator, LoopbackUser
from ewms_rpc.methods import ErrorTable, Service, methods_of
from ewms_rpc.reflection import reflection_services
from ewms_rpc.server_tls import ServerTls
from ewms_rpc.traffic import Traffic

__all__ = [
    "CannotListen",
    "RpcServer",
    "ServerSettings",
    "ServerTls",
    "Service",
    "require_listenable",
]

_log = structlog.get_logger(__name__)

# For what is written already: gRPC sends the last statuses within it.
_FLUSH_SECONDS = 1.0


@dataclass(frozen=True)
class ServerSettings:
    """How a server listens and lets go.

    Parameters
    ----------
    listen
        `host:port`; port 0 takes a free one.
    insecure
        Plain text to other machines is wanted. Without it only loopback is served unencrypted.
    tls
        The certificate; None for plain text.
    max_message_bytes
        Greatest message, in and out.
    drain_grace
        Seconds that calls in flight have once the server is told to stop.
    write_timeout
        Seconds for which a subscriber may take nothing while something waits for it.
    min_ping_interval
        Seconds between a client's pings, with or without a stream; who pings more often is sent
        away.
    """

    listen: str = "127.0.0.1:0"
    insecure: bool = False
    tls: ServerTls | None = None
    max_message_bytes: int = 16 * 1024 * 1024
    drain_grace: float = 8.0
    write_timeout: float = 60.0
    min_ping_interval: float = 5.0


class CannotListen(OSError):
    """The address is taken, or not this machine's."""


class RpcServer:
    """A server, up for as long as its `async with` block.

    Parameters
    ----------
    settings
        How to listen and let go.
    services
        What to serve; health and reflection come by themselves.
    error_table
        What the services' own exceptions mean on the wire.
    authenticator
        Who may call, for services that do not bring their own.

    Raises
    ------
    NotAnAddress, NotLoopback, CannotListen, ServicerIncomplete
        On entering the block.
    """

    def __init__(
        self,
        settings: ServerSettings,
        services: Sequence[Service],
        *,
        error_table: ErrorTable = lambda _: None,
        authenticator: Authenticator | None = None,
    ) -> None:
        self._settings = settings
        self._services = services
        self._error_table = error_table
        self._authenticator = authenticator or LoopbackUser()
        self._names = tuple(service.descriptor.full_name for service in services)
        self._health = HealthServicer(self._names)
        self._address = ""
        self._drained: asyncio.Future[None] | None = None

    @property
    def address(self) -> str:
        """Where the server listens, `host:port`."""
        return self._address

    async def __aenter__(self) -> RpcServer:
        settings = self._settings
        require_listenable(settings)
        served = [*self._services, health_service(self._health), *reflection_services(self._names)]
        methods = [
            method
            for service in served
            for method in methods_of(
                service,
                self._authenticator_of(service),
                self._error_table,
                settings.max_message_bytes,
            )
        ]
        self._traffic = Traffic(settings.write_timeout)
        self._server = grpc.aio.server(
            handlers=[Handlers(methods, self._traffic)], options=_options(settings)
        )
        self._address = _listen(self._server, settings)
        await self._server.start()
        _log.info("serving", address=self._address, services=self._names)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.drain()

    def set_serving(self, service: str, is_serving: bool) -> None:
        """What health says of a service (full name), until the server drains.

        Raises `KeyError` when the server has no such service.
        """
        self._health.set_serving(service, is_serving)

    async def serve(self, stop: asyncio.Event) -> None:
        """Serves until `stop` is set, then drains.

        Raises what gRPC's own loop died of, should it die.
        """
        stopped = asyncio.ensure_future(stop.wait())
        terminated = asyncio.ensure_future(self._server.wait_for_termination())
        try:
            await asyncio.wait((stopped, terminated), return_when=asyncio.FIRST_COMPLETED)
            await self.drain()
            await terminated
        finally:
            stopped.cancel()
            terminated.cancel()

    async def drain(self) -> None:
        """Stops serving as the module says; who calls it a second time waits for the first."""
        if self._drained is not None:
            await asyncio.shield(self._drained)
            return
        self._drained = asyncio.get_running_loop().create_future()
        try:
            await self._let_go()
        finally:
            self._drained.set_result(None)

    async def _let_go(self) -> None:
        _log.info("draining", address=self._address)
        self._health.close()
        self._traffic.refuse()
        self._traffic.end_streams(shutting_down())
        try:
            async with asyncio.timeout(self._settings.drain_grace):
                await self._traffic.idle()
        except TimeoutError:
            _log.warning("calls cut off", address=self._address, calls=self._traffic.in_flight)
        finally:
            self._traffic.close()
            await self._server.stop(_FLUSH_SECONDS)
        _log.info("stopped", address=self._address)

    def _authenticator_of(self, service: Service) -> Authenticator:
        is_ours = service in self._services
        return self._authenticator if is_ours else LoopbackUser()


def require_listenable(settings: ServerSettings) -> None:
    """What can be said of the address before anything is begun.

    Raises `NotAnAddress` for one that has not the form of an address, `NotLoopback` for one that
    would be served in plain text to other machines without a word on it, OSError for a certificate
    that cannot be read.
    """
    require_address(settings.listen)
    if settings.tls is not None:
        settings.tls.credentials()
    elif not settings.insecure and not is_loopback(settings.listen):
        raise NotLoopback(
            f"{settings.listen} can be reached from other machines, and would be served in plain"
            " text: listen on 127.0.0.1, give it a certificate (tls_cert, tls_key), or say that the"
            " network is trusted (insecure)"
        )


def _listen(server: grpc.aio.Server, settings: ServerSettings) -> str:
    try:
        if settings.tls is None:
            port = server.add_insecure_port(settings.listen)
        else:
            port = server.add_secure_port(settings.listen, settings.tls.credentials())
    except RuntimeError as error:
        raise CannotListen(
            f"cannot listen on {settings.listen}: {_reason(settings, error)}"
        ) from error
    if settings.listen.startswith("unix"):
        return settings.listen
    return f"{settings.listen.rpartition(':')[0]}:{port}"


def _reason(settings: ServerSettings, error: RuntimeError) -> str:
    """Why the address cannot be had, asked of the system, since gRPC does not say."""
    if settings.listen.startswith("unix"):
        return str(error)
    host, _, port = settings.listen.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), int(port)))
            # Linux lets two sockets of SO_REUSEADDR bind one port, as long as neither listens.
            probe.listen(1)
    except OSError as refused:
        return (refused.strerror or str(refused)).lower()
    return str(error)


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Two servers on one port would share its connections by chance.
        ("grpc.so_reuseport", 0),
        # Without these a client that pings is sent away after two minutes.
        ("grpc.keepalive_permit_without_calls", 1),
        (
            "grpc.http2.min_ping_interval_without_data_ms",
            int(settings.min_ping_interval * 1000),
        ),
        # We ping too, so that a subscriber whose machine is gone does not stay for ever.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]
