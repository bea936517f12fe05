"""What a Prometheus gets from a server of ours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

import pytest
from prometheus_client import Metric
from scraping import scrape

from ewms_rpc.addresses import NotAnAddress
from ewms_rpc.metrics import loop_failed
from ewms_rpc.metrics_http import Sampled, gauge, serve_metrics


async def test_what_is_counted_and_what_is_read_stand_on_one_page() -> None:
    async def read() -> Iterable[Metric]:
        return [gauge("test_rooms", "Rooms.", [(("big",), 2), (("small",), 3)], ("size",))]

    loop_failed("tested", is_outage=False)
    async with serve_metrics("127.0.0.1:0", [read]) as address:
        found = await scrape(address)
    assert (found["test_rooms,big"], found["test_rooms,small"]) == (2, 3)
    assert found["ewms_loop_failures_total,fault,tested"] >= 1


async def test_readings_are_shared_by_scrapes_that_come_together() -> None:
    n_readings = 0

    async def read() -> Iterable[Metric]:
        nonlocal n_readings
        n_readings += 1
        return [gauge("test_readings", "Readings.", [((), n_readings)])]

    async with serve_metrics("127.0.0.1:0", [Sampled("test_up", "Up.", read)]) as address:
        scrapes = await asyncio.gather(*(scrape(address) for _ in range(5)))
    assert [found["test_readings"] for found in scrapes] == [1] * 5


async def test_a_reading_that_fails_costs_its_own_values_alone() -> None:
    async def fail() -> Iterable[Metric]:
        raise OSError("no database")

    async def read() -> Iterable[Metric]:
        return [gauge("test_there", "There.", [((), 1)])]

    sources = [Sampled("test_up", "Up.", fail), read]
    async with serve_metrics("127.0.0.1:0", sources) as address:
        found = await scrape(address)
    assert (found["test_up"], found["test_there"]) == (0, 1)


async def test_the_event_loop_goes_on_while_a_scrape_waits() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def read() -> Iterable[Metric]:
        begun.set()
        await may_end.wait()
        return [gauge("test_slow", "Slow.", [((), 1)])]

    async with serve_metrics("127.0.0.1:0", [read]) as address:
        scraping = asyncio.create_task(scrape(address))
        await begun.wait()
        may_end.set()
        assert (await scraping)["test_slow"] == 1


async def test_a_taken_address_and_one_that_is_none_are_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            async with serve_metrics(f"127.0.0.1:{taken.getsockname()[1]}"):
                pass
    with pytest.raises(NotAnAddress):
        async with serve_metrics("somewhere"):
            pass


async def test_without_an_address_nothing_is_served() -> None:
    async with serve_metrics("") as address:
        assert address == ""
