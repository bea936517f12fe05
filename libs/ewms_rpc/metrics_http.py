"""The metrics over HTTP, for Prometheus: what is counted, and what is read when asked.

prometheus-client's own server answers, in threads, so that a slow scrape never holds the event
loop up. What is read is read on the loop, by `MetricSource`s; one that fails costs its own values
and no others. There are no names, ids or contents of users in any of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Metric, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ewms_rpc.addresses import optional_tcp_address

__all__ = ["MetricSource", "Sampled", "gauge", "serve_metrics"]

_log = structlog.get_logger(__name__)

# Prometheus gives a scrape ten seconds by default.
_SCRAPE_SECONDS = 8.0
_SAMPLE_SECONDS = 3.0
_SAMPLE_LIMIT_SECONDS = 5.0

MetricSource = Callable[[], Awaitable[Iterable[Metric]]]
"""Reads metrics on the event loop when somebody scrapes."""


def gauge(
    name: str,
    meaning: str,
    values: Iterable[tuple[Sequence[str], float]],
    labels: Sequence[str] = (),
) -> Metric:
    """A gauge of values by the values of its labels."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


class Sampled:
    """A `MetricSource` that reads what costs something, and not more often than every few seconds.

    Whether the last reading worked is a gauge of its own; the values of one that did not are left
    out, since old ones would be taken for new.

    Parameters
    ----------
    up, meaning
        The name of that gauge, and what it says.
    read
        The reading.
    """

    def __init__(self, up: str, meaning: str, read: MetricSource) -> None:
        self._up, self._meaning, self._read = up, meaning, read
        self._reading = asyncio.Lock()
        self._metrics: list[Metric] = []
        self._read_at = float("-inf")

    async def __call__(self) -> Iterable[Metric]:
        """The reading, at most a few seconds old."""
        async with self._reading:
            if time.monotonic() - self._read_at >= _SAMPLE_SECONDS:
                self._metrics = await self._sample()
                self._read_at = time.monotonic()
            return self._metrics

    async def _sample(self) -> list[Metric]:
        try:
            async with asyncio.timeout(_SAMPLE_LIMIT_SECONDS):
                metrics = list(await self._read())
        except Exception as error:
            _log.warning("metrics not read", source=self._up, reason=str(error) or repr(error))
            return [gauge(self._up, self._meaning, [((), 0)])]
        return [gauge(self._up, self._meaning, [((), 1)]), *metrics]


class _OnLoop(Collector):
    """Has the sources read on their event loop, for a thread that waits."""

    def __init__(self, sources: Sequence[MetricSource]) -> None:
        self._sources = sources
        self._loop = asyncio.get_running_loop()
        self.is_closed = False

    def collect(self) -> Iterable[Metric]:
        if self.is_closed:
            return
        reading = asyncio.run_coroutine_threadsafe(self._read(), self._loop)
        try:
            yield from reading.result(_SCRAPE_SECONDS)
        except (TimeoutError, CancelledError):
            reading.cancel()
            _log.warning("metrics not read in time")

    async def _read(self) -> list[Metric]:
        return [metric for source in self._sources for metric in await source()]


@asynccontextmanager
async def serve_metrics(address: str, sources: Sequence[MetricSource] = ()) -> AsyncIterator[str]:
    """Serve `/metrics` for as long as the block runs; gives HOST:PORT with the real port.

    Parameters
    ----------
    address
        HOST:PORT; empty for not at all. Whoever can reach it may read.
    sources
        What is read at a scrape, beside what is counted.

    Raises NotAnAddress, and OSError when the address cannot be had.
    """
    if not optional_tcp_address(address):
        yield ""
        return
    collector = _OnLoop(sources)
    registry = CollectorRegistry()
    registry.register(REGISTRY)
    registry.register(collector)
    host, _, port = address.rpartition(":")
    server, thread = start_http_server(int(port), host.strip("[]"), registry)
    _log.info("metrics", address=f"{host}:{server.server_port}")
    try:
        yield f"{host}:{server.server_port}"
    finally:
        collector.is_closed = True
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()
