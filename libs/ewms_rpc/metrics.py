"""Counts and times of calls, and of loops that fail, for Prometheus.

Labels are bound once for each method and code, so that a call costs two increments. The label
values are the contract's methods and gRPC's codes, never anything that a client chose.
"""

from __future__ import annotations

import grpc
from prometheus_client import Counter, Gauge, Histogram

__all__ = ["MethodMetrics", "loop_failed"]

_CALLS = Counter("ewms_rpc_calls", "Calls that have ended.", ["method", "code"])
_SECONDS = Histogram(
    "ewms_rpc_seconds",
    "From the parsed metadata to the answer, of calls without a response stream.",
    ["method", "code"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_OPEN_STREAMS = Gauge("ewms_rpc_open_streams", "Streams that are open.", ["method"])
_LOOP_FAILURES = Counter(
    "ewms_loop_failures",
    "Rounds of a background loop that failed and were put off; kind: outage or fault.",
    ["loop", "kind"],
)


def loop_failed(loop: str, *, is_outage: bool = True) -> None:
    """A background loop has to try again; when it is no outage, it is a fault of ours."""
    _LOOP_FAILURES.labels(loop, "outage" if is_outage else "fault").inc()


class MethodMetrics:
    """The metrics of one method."""

    def __init__(self, method: str) -> None:
        self.open_streams = _OPEN_STREAMS.labels(method)
        self._method = method
        self._bound: dict[grpc.StatusCode, tuple[Counter, Histogram]] = {}

    def call_ended(self, code: grpc.StatusCode, seconds: float) -> None:
        """A call with one response has ended after so many seconds."""
        counter, timer = self._bound.get(code) or self._bind(code)
        counter.inc()
        timer.observe(seconds)

    def stream_ended(self, code: grpc.StatusCode) -> None:
        """A response stream has ended; how long it was open says nothing about us."""
        _CALLS.labels(self._method, code.name).inc()

    def _bind(self, code: grpc.StatusCode) -> tuple[Counter, Histogram]:
        bound = _CALLS.labels(self._method, code.name), _SECONDS.labels(self._method, code.name)
        self._bound[code] = bound
        return bound
