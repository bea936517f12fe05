"""Chirping to HTCondor without its program: straight to the proxy that the job's starter runs.

In a container there is no `condor_chirp`, but the file that says where the proxy is has been
mounted: one line with host, port and a cookie. The proxy takes lines of words (a blank or backslash
within a word has a backslash before it) and answers each with a number, 0 when it is done. It
is there for jobs with `WantIOProxy`. A connection serves one chirp: pilots chirp rarely and live
long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from ewms_pilot.errors import ChirpRefused

__all__ = ["find_proxy", "proxy_chirps"]

_TIMEOUT = 10.0
_ESCAPED = str.maketrans({character: f"\\{character}" for character in "\\ \t\r\n"})


def find_proxy(environ: Mapping[str, str]) -> Path | None:
    """The file that says where the job's proxy is; None where there is none."""
    told = environ.get("_CONDOR_CHIRP_CONFIG")
    # Where it was before HTCondor had the variable.
    scratch = environ.get("_CONDOR_SCRATCH_DIR")
    candidates = [told, scratch and f"{scratch}/.chirp.config"]
    return next((Path(path) for path in candidates if path and Path(path).is_file()), None)


def proxy_chirps(config: Path) -> Callable[[list[str]], Awaitable[None]]:
    """Sends to the proxy that the file tells of; read anew each time, since jobs are resumed.

    Sending raises OSError when the proxy is away and ChirpRefused when it says no.
    """

    async def send(words: list[str]) -> None:
        host, port, cookie = _read(config)
        async with asyncio.timeout(_TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                await _ask(reader, writer, ["cookie", cookie])
                await _ask(reader, writer, words)
            finally:
                writer.close()

    return send


def _read(config: Path) -> tuple[str, int, str]:
    match config.read_text().split():
        case [host, port, cookie, *_] if port.isdigit():
            return host, int(port), cookie
        case _:
            raise ConnectionError(f"{config} does not say where the chirp proxy is")


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, words: list[str]
) -> None:
    writer.write(" ".join(word.translate(_ESCAPED) for word in words).encode() + b"\n")
    await writer.drain()
    answer = (await reader.readline()).decode(errors="replace").strip()
    if not answer.lstrip("-").isdigit():
        raise ConnectionError("the chirp proxy closed the connection")
    # Negative for a failure; 1 for a delayed attribute whose name the pool does not let through.
    if int(answer) != 0:
        raise ChirpRefused(f"the chirp proxy refuses {words[0]} ({answer})")
