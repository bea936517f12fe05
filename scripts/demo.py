"""`make demo`: the whole system at work on this machine, and a check that what comes out is right.

Starts the stack in a folder of its own, submits the two workflows of `examples/` by the command
line, feeds each 200 files, shows their progress, compares every result with its input, finishes the
first workflow and lets the second one succeed by itself. Ends with 0 only if all of that happened
within two minutes; whatever happens, no process is left behind.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from demo_events import Events, copied, shouted_and_sorted, write_events
from demo_stack import DemoStack, DemoStackFailed

ROOT = Path(__file__).resolve().parent.parent
EWMS = Path(sys.executable).with_name("ewms")
N_EVENTS = 200
LIMIT_SECONDS = 120.0


class DemoFailed(Exception):
    """Something did not happen as it should."""


class Demo:
    """The commands of a user, with what is left of the time as their limit."""

    def __init__(self, wms: str, deadline: float) -> None:
        self._wms = wms
        self._deadline = deadline

    def ewms(self, *arguments: str | Path) -> str:
        """Run a command and return what it prints. Raises DemoFailed unless it ends with 0."""
        command = [str(EWMS), *map(str, arguments), "--wms", self._wms]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=self._left(), check=False
            )
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"`ewms {arguments[0]}` did not end in time") from None
        if done.returncode:
            raise DemoFailed(
                f"`ewms {arguments[0]}` ended with {done.returncode}: {done.stderr.strip()}"
            )
        return done.stdout

    def watch(self, workflow: str) -> subprocess.Popen[bytes]:
        """Show the workflow's progress, live, until it has settled."""
        return subprocess.Popen([str(EWMS), "watch", workflow, "--wms", self._wms])

    def until_settled(self, watching: subprocess.Popen[bytes]) -> None:
        """Wait until the watch ends by itself."""
        try:
            code = watching.wait(self._left())
        except subprocess.TimeoutExpired:
            raise DemoFailed("the workflow did not settle in time") from None
        if code:
            raise DemoFailed(f"`ewms watch` ended with {code}")

    def submit(self, example: str) -> str:
        """Submit one of the examples; return the workflow's id."""
        workflow = self.ewms("submit", ROOT / "examples" / example).splitlines()[-1]
        say(f"submitted {example}: {workflow}")
        return workflow

    def state(self, workflow: str) -> str:
        """The workflow's state, by its short name."""
        shown = json.loads(self.ewms("show", workflow, "--json"))
        return str(shown["workflow"]["state"]).removeprefix("WORKFLOW_STATE_")

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DemoFailed(f"not done within {LIMIT_SECONDS:g} s")
        return left


def say(text: str) -> None:
    """A line for the person who looks on."""
    sys.stdout.write(f"demo: {text}\n")
    sys.stdout.flush()


def run_copy(demo: Demo, workflow: str, events: Events, results: Path, watches: ExitStack) -> None:
    """Every event comes out as it went in; then the user says that it is finished."""
    watching = watches.enter_context(_ended_with_us(demo.watch(workflow)))
    demo.ewms("publish", workflow, "input-queue", *events.paths)
    demo.ewms("consume", workflow, "output-queue", "--count", str(N_EVENTS), "--to", results)
    compare(events, results, copied)
    demo.ewms("finish", workflow)
    demo.until_settled(watching)
    expect_state(demo, workflow, "FINISHED")


def run_chain(demo: Demo, workflow: str, events: Events, results: Path, watches: ExitStack) -> None:
    """The input is closed, and the workflow ends by itself once all is done."""
    watching = watches.enter_context(_ended_with_us(demo.watch(workflow)))
    demo.ewms("publish", workflow, "raw", *events.paths)
    demo.ewms("close", workflow, "raw")
    demo.until_settled(watching)
    expect_state(demo, workflow, "SUCCEEDED")
    demo.ewms("consume", workflow, "sorted", "--count", str(N_EVENTS), "--to", results)
    compare(events, results, shouted_and_sorted)


def compare(events: Events, results: Path, expected: Callable[[bytes], bytes]) -> None:
    """Raise DemoFailed unless there is one right result for each event, and nothing else."""
    found = {path.name: path.read_bytes() for path in results.iterdir()}
    wanted = {name: expected(content) for name, content in events.contents.items()}
    if found.keys() != wanted.keys():
        missing, more = wanted.keys() - found.keys(), found.keys() - wanted.keys()
        raise DemoFailed(f"results missing: {sorted(missing)}; not asked for: {sorted(more)}")
    wrong = sorted(name for name in wanted if wanted[name] != found[name])
    if wrong:
        raise DemoFailed(f"results that are wrong: {wrong}")
    size = sum(map(len, found.values()))
    say(f"{len(found)} results checked against their inputs, {size:,} bytes: all right")


def expect_state(demo: Demo, workflow: str, state: str) -> None:
    """Raise DemoFailed in any other state."""
    found = demo.state(workflow)
    if found != state:
        raise DemoFailed(f"{workflow} is {found}, not {state}")
    say(f"{workflow} is {state}")


@contextmanager
def _ended_with_us(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _terminated(number: int, frame: FrameType | None) -> None:
    raise DemoFailed(f"stopped by signal {number}")


def main(arguments: Sequence[str]) -> int:
    """Run the demo; return the exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="ewms-demo-") as scratch, ExitStack() as watches:
            folder = Path(scratch)
            say("starting PostgreSQL, WMS, MQS and TMS")
            with DemoStack(folder / "data") as stack:
                wms = stack.await_ready(60)
                say(f"ready after {time.monotonic() - began:.1f} s; the WMS is at {wms}")
                demo = Demo(wms, began + LIMIT_SECONDS)
                copy, chain = demo.submit("copy.json"), demo.submit("chain.json")
                events = write_events(folder / "events", N_EVENTS)
                say(f"{N_EVENTS} events, {events.size:,} bytes, into each of them")
                run_copy(demo, copy, events, folder / "copied", watches)
                run_chain(demo, chain, events, folder / "sorted", watches)
                stack.stop()
    except (DemoFailed, DemoStackFailed) as error:
        say(f"FAILED: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    say(f"done in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
