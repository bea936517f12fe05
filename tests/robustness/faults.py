"""Faults, drawn from a seed: SIGKILL and restart, SIGSTOP for longer than a lease, connections cut
or stalled. Each is recorded from its beginning until it is mended; after each the system must make
progress again before the next one comes.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import psutil
from history import FaultInjected, History
from stack import LEASE_SECONDS, Stack

__all__ = ["Fault", "Kind", "NoProgress", "inject_all", "plan_faults"]

Kind = Literal["kill", "stop", "cut", "stall"]

_LONGEST_REST = 1.0
_PROGRESS_SECONDS = 90.0
_LOOK_SECONDS = 0.05
_RESTART_SECONDS = 60.0


class NoProgress(Exception):
    """Nothing was consumed any more after a fault was mended."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to which part, and for how many seconds; `delay`: how long after progress."""

    kind: Kind
    part: str
    seconds: float
    delay: float


def plan_faults(
    parts: Sequence[str], kinds: Sequence[Kind], n: int, rng: random.Random
) -> list[Fault]:
    """So many faults. Leases run out during about every stop and stall."""
    faults = []
    for _ in range(n):
        kind = rng.choice(kinds)
        long = kind in ("stop", "stall")
        seconds = LEASE_SECONDS * rng.uniform(0.5, 2.0) if long else rng.uniform(0.0, 1.5)
        faults.append(Fault(kind, rng.choice(parts), seconds, rng.uniform(0.0, _LONGEST_REST)))
    return faults


async def inject_all(
    stack: Stack, history: History, faults: Sequence[Fault], rng: random.Random
) -> None:
    """One after the other. NoProgress if the system does not recover from one."""
    await _await_progress(history, 0, "the beginning")
    for fault in faults:
        await asyncio.sleep(fault.delay)
        began = time.monotonic()
        target = await _inject(stack, fault, rng)
        history.add(
            FaultInjected(
                client="faults", kind=fault.kind, target=f"{fault.part} {target}", began=began
            )
        )
        await _await_progress(history, history.n_consumed, f"{fault} on {target}")


async def _await_progress(history: History, before: int, after_what: str) -> None:
    try:
        async with asyncio.timeout(_PROGRESS_SECONDS):
            while history.n_consumed <= before:
                await history.next_record()
    except TimeoutError:
        raise NoProgress(f"nothing consumed for {_PROGRESS_SECONDS} s after {after_what}") from None


async def _inject(stack: Stack, fault: Fault, rng: random.Random) -> str:
    match fault.kind:
        case "cut":
            return await _cut(stack, rng)
        case "stall":
            return await _stall(stack, fault.seconds, rng)
    match fault.part:
        case "worker":
            return await _hit_worker(stack, fault, rng)
        case "postgres":
            return await _hit_postgres(stack, fault)
    return await _hit_program(stack, fault, rng)


async def _hit_program(stack: Stack, fault: Fault, rng: random.Random) -> str:
    name = stack.any_of(fault.part, rng)
    program = stack.programs[name]
    pid = program.pid
    if fault.kind == "stop":
        program.signal(signal.SIGSTOP)
        await asyncio.sleep(fault.seconds)
        program.signal(signal.SIGCONT)
    else:
        await program.kill()
        await asyncio.sleep(fault.seconds)
        await program.start()
        await stack.until_serving()
    return f"{name} {pid}"


async def _hit_worker(stack: Stack, fault: Fault, rng: random.Random) -> str:
    """Any living process of any worker: its starter, its pilot, its task."""
    deadline = time.monotonic() + _RESTART_SECONDS
    while not (workers := stack.workers()):
        if time.monotonic() > deadline:
            return "none"
        await asyncio.sleep(_LOOK_SECONDS)
    worker = rng.choice(workers)
    command = "gone"
    with suppress(psutil.NoSuchProcess):
        command = " ".join(worker.cmdline())[-160:]
        if fault.kind == "stop":
            worker.suspend()
            await asyncio.sleep(fault.seconds)
            worker.resume()
        else:
            worker.kill()
    return f"{worker.pid}: {command}"


async def _hit_postgres(stack: Stack, fault: Fault) -> str:
    """SIGKILL of the postmaster, whose children end by themselves. It is never stopped."""
    pid = stack.postmaster()
    os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(fault.seconds)
    await stack.start_postgres()
    return str(pid)


async def _cut(stack: Stack, rng: random.Random) -> str:
    link = rng.choice(stack.links)
    n_connections = link.n_connections
    link.cut()
    return f"{n_connections} connections to {link.address}"


async def _stall(stack: Stack, seconds: float, rng: random.Random) -> str:
    link = rng.choice(stack.links)
    link.stall()
    await asyncio.sleep(seconds)
    link.flow()
    return f"{link.n_connections} connections to {link.address}"
