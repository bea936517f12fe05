"""What an operator's Prometheus sees of a TMS."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from scraping import scrape
from tms_fake_wms import FakeWms
from tms_process import TmsProcess

from ewms.wms.v1 import tms_service_pb2 as tms


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def test_workers_by_status_leases_and_reports_are_shown(
    wms: FakeWms,
    new_tms: Callable[..., TmsProcess],
    new_start: Callable[..., tms.StartAssignment],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = free_address()
    monkeypatch.setenv("EWMS_TMS_METRICS", address)
    process = new_tms("sleep 600", slots=2)
    await process.begin()
    assert (await process.watching()).startswith("watching")
    await wms.start(new_start("TF-1", n_workers=3))
    await wms.until(lambda: wms.statuses.get("TF-1") == {"RUNNING": {"": 2}, "IDLE": {"": 1}})
    found = await scrape(address)
    assert found["ewms_tms_workers,local,RUNNING"] == 2
    assert found["ewms_tms_workers,local,IDLE"] == 1
    assert found["ewms_tms_clusters,local"] == 1
    assert found["ewms_tms_clusters,osg"] == 0
    assert found["ewms_tms_lease_seconds,osg"] > 0
    assert found["ewms_tms_report_lag_seconds,local"] < 20
    assert found["ewms_tms_reports_total,OK,ReportCondorSubmit"] >= 1


async def test_an_address_that_is_taken_ends_the_tms_with_a_word(
    new_tms: Callable[..., TmsProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("EWMS_TMS_METRICS", f"127.0.0.1:{taken.getsockname()[1]}")
        process = new_tms("true")
        await process.begin()
        assert await process.death() == 1
