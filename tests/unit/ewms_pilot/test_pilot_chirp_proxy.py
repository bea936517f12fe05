"""Chirps go to the proxy of HTCondor's job, in its words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ewms_pilot.chirp_proxy import find_proxy, proxy_chirps
from ewms_pilot.errors import ChirpRefused


def _tell(config: Path, text: str) -> None:
    config.write_text(text)


@asynccontextmanager
async def a_proxy(config: Path, answers: list[bytes]) -> AsyncIterator[list[bytes]]:
    """A proxy that answers like that, and the lines that it was sent."""
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            lines.append(await reader.readline())
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _tell(config, f"127.0.0.1 {port} secret\n")
    async with server:
        yield lines


async def test_a_chirp_shows_the_cookie_and_escapes_its_words(tmp_path: Path) -> None:
    config = tmp_path / "config"
    async with a_proxy(config, [b"0\n", b"0\n"]) as lines:
        await proxy_chirps(config)(["ulog", 'Status: "a\\b"'])
    assert lines == [b"cookie secret\n", b'ulog Status:\\ "a\\\\b"\n']


@pytest.mark.parametrize("answers", [[b"-1\n"], [b"0\n", b"-3\n"]], ids=["cookie", "chirp"])
async def test_a_chirp_that_is_refused_says_so(tmp_path: Path, answers: list[bytes]) -> None:
    config = tmp_path / "config"
    async with a_proxy(config, answers):
        with pytest.raises(ChirpRefused):
            await proxy_chirps(config)(["ulog", "text"])


async def test_a_proxy_that_is_away_or_hangs_up_is_an_error_of_the_connection(
    tmp_path: Path,
) -> None:
    config = tmp_path / "config"
    send = proxy_chirps(config)
    with pytest.raises(OSError):  # noqa: PT011 (there is no file yet)
        await send(["ulog", "text"])
    _tell(config, "nonsense")
    with pytest.raises(ConnectionError):
        await send(["ulog", "text"])
    async with a_proxy(config, [b"0\n"]):
        with pytest.raises(ConnectionError):
            await send(["ulog", "text"])


def test_the_proxy_is_found_by_the_variable_or_in_the_jobs_folder(tmp_path: Path) -> None:
    assert find_proxy({"_CONDOR_SCRATCH_DIR": str(tmp_path)}) is None
    beside = tmp_path / ".chirp.config"
    beside.touch()
    assert find_proxy({"_CONDOR_SCRATCH_DIR": str(tmp_path)}) == beside
    named = tmp_path / "named"
    named.touch()
    both = {"_CONDOR_CHIRP_CONFIG": str(named), "_CONDOR_SCRATCH_DIR": str(tmp_path)}
    assert find_proxy(both) == named
    assert find_proxy({}) is None
