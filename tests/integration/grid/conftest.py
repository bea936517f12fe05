"""Every adapter, watched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from grid_adapters import ADAPTERS, Adapter, Place, Watched

from ewms_tms.grid import Grid


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return ADAPTERS[request.param]


@pytest.fixture
def opened_place(adapter: Adapter, tmp_path: Path) -> Iterator[Place]:
    with adapter.place(tmp_path) as opened:
        yield opened


@pytest.fixture
def place(opened_place: Place) -> Path:
    """A folder that workers see, too."""
    return opened_place.folder


@pytest.fixture
async def grid(adapter: Adapter, opened_place: Place) -> AsyncIterator[Grid]:
    async with adapter.open(opened_place) as opened:
        yield opened


@pytest.fixture
async def watched(grid: Grid) -> AsyncIterator[Watched]:
    watched = Watched(grid)
    following = asyncio.create_task(watched.follow())
    yield watched
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
