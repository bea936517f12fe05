"""Every adapter, watched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from grid_adapters import ADAPTERS, Watched

from ewms_tms.grid import Grid


@pytest.fixture(params=sorted(ADAPTERS))
async def grid(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Grid]:
    async with ADAPTERS[request.param](tmp_path / "grid") as opened:
        yield opened


@pytest.fixture
async def watched(grid: Grid) -> AsyncIterator[Watched]:
    watched = Watched(grid)
    following = asyncio.create_task(watched.follow())
    yield watched
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
