"""Derived ids, okay errors, chirps and what a pilot loads."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from ewms_pilot.chirps import Chirps, PilotStatus
from ewms_pilot.environment import ChirpConfig, Mqid
from ewms_pilot.errors import ChirpRefused, CommandError, CommandFailed, CommandTimedOut
from ewms_pilot.outgoing import derived_event_id
from ewms_pilot.tasks import is_okay


def test_an_outputs_id_follows_from_both_queues_and_the_input() -> None:
    same = [derived_event_id(Mqid("in"), "e1", Mqid("out")) for _ in range(2)]
    others = {
        derived_event_id(Mqid("in"), "e2", Mqid("out")),
        derived_event_id(Mqid("in2"), "e1", Mqid("out")),
        derived_event_id(Mqid("in"), "e1", Mqid("out2")),
    }
    assert len({*same, *others}) == 4
    assert len(same[0]) == 32


@pytest.mark.parametrize(
    ("error", "is_fine"),
    [
        (CommandFailed(3), True),
        (CommandFailed(33), False),
        (CommandFailed(1, "ERROR: no hits in frame"), True),
        (CommandFailed(1, "ERROR: 3 hits in frame"), False),
        (CommandFailed(-11), True),
        (CommandTimedOut(5.0), False),
    ],
)
def test_an_error_is_okay_by_its_exit_code_or_a_text_in_it(
    error: CommandError, is_fine: bool
) -> None:
    assert is_okay(error, ("3", "no hits", "SIGSEGV")) is is_fine


class _Wire:
    """Takes chirps, in order; `fails` so many times before; never those that it `refuses`."""

    def __init__(self, fails: int = 0, refuses: str = "") -> None:
        self.sent: list[str] = []
        self.fails, self.refuses, self.n_refused = fails, refuses, 0
        self.changed = asyncio.Event()

    async def send(self, words: list[str]) -> None:
        self.changed.set()
        if self.fails:
            self.fails -= 1
            raise ConnectionRefusedError
        if words[0] == self.refuses:
            self.n_refused += 1
            raise ChirpRefused("not taken")
        self.sent.append(" ".join(words))

    async def until(self, text: str) -> None:
        async with asyncio.timeout(5):
            while text not in self.sent:
                self.changed.clear()
                await self.changed.wait()


async def test_counts_of_one_second_are_told_once_and_the_last_ones_always() -> None:
    wire = _Wire()
    chirps = Chirps(ChirpConfig(is_enabled=True), wire.send)
    chirping = asyncio.create_task(chirps.run())
    chirps.counts(1, 0, 1)
    await wire.until("ulog HTChirpEWMSPilotTasksSuccess: 1")
    for n in range(2, 500):
        chirps.counts(n, 0, n)
        await asyncio.sleep(0)
    chirps.status(PilotStatus.DONE)
    await wire.until('ulog HTChirpEWMSPilotStatus: "Done"')
    chirping.cancel()
    await asyncio.wait([chirping])
    await chirps.flush(1.0)
    totals = [text for text in wire.sent if "TasksTotal" in text]
    assert totals == ["ulog HTChirpEWMSPilotTasksTotal: 1", "ulog HTChirpEWMSPilotTasksTotal: 499"]


async def test_statuses_arrive_in_order_when_the_other_end_comes_late() -> None:
    wire = _Wire(fails=1)
    chirps = Chirps(ChirpConfig(is_enabled=True), wire.send)
    chirping = asyncio.create_task(chirps.run())
    chirps.status(PilotStatus.STARTED)
    chirps.status(PilotStatus.TASKING)
    await wire.until('ulog HTChirpEWMSPilotStatus: "Tasking"')
    chirping.cancel()
    told = [text.split('"')[1] for text in wire.sent if text.startswith("ulog")]
    assert told == ["Started", "Tasking"]


async def test_a_chirp_is_one_line_of_bounded_length_with_its_quotes_escaped() -> None:
    wire = _Wire()
    chirps = Chirps(ChirpConfig(is_enabled=True, destination="JOB_ATTR"), wire.send)
    chirps.error('say "no"\nand\\or ' + "x" * 9_000)
    await chirps.flush(1.0)
    (text,) = wire.sent
    assert text.startswith('set_job_attr HTChirpEWMSPilotError "say \\"no\\" and\\\\or xxx')
    assert len(text) < 600


async def test_in_the_ad_alone_statuses_are_set_at_once_so_that_the_log_tells_of_them() -> None:
    wire = _Wire()
    chirps = Chirps(ChirpConfig(is_enabled=True, destination="JOB_ATTR"), wire.send)
    chirps.status(PilotStatus.STARTED)
    chirps.counts(1, 0, 1)
    chirps.error("bad")
    await chirps.flush(1.0)
    assert sorted(wire.sent) == [
        'set_job_attr HTChirpEWMSPilotError "bad"',
        'set_job_attr HTChirpEWMSPilotStatus "Started"',
        "set_job_attr_delayed HTChirpEWMSPilotTasksFailed 0",
        "set_job_attr_delayed HTChirpEWMSPilotTasksSuccess 1",
        "set_job_attr_delayed HTChirpEWMSPilotTasksTotal 1",
    ]


async def test_counts_are_set_at_once_where_the_pool_takes_no_delayed_attributes() -> None:
    wire = _Wire(refuses="set_job_attr_delayed")
    chirps = Chirps(ChirpConfig(is_enabled=True, destination="JOB_ATTR"), wire.send)
    chirps.counts(1, 0, 1)
    await chirps.flush(1.0)
    assert {text.split()[0] for text in wire.sent} == {"set_job_attr"}
    assert (len(wire.sent), wire.n_refused) == (3, 1)


async def test_what_the_log_is_told_goes_to_the_ad_as_well_where_the_pool_takes_it() -> None:
    wire = _Wire()
    chirps = Chirps(ChirpConfig(is_enabled=True), wire.send)
    chirps.status(PilotStatus.DONE)
    chirps.counts(1, 0, 1)
    await chirps.flush(1.0)
    assert [text for text in wire.sent if "Tasks" not in text] == [
        'ulog HTChirpEWMSPilotStatus: "Done"',
        'set_job_attr_delayed HTChirpEWMSPilotStatus "Done"',
    ]
    assert {text.split()[0] for text in wire.sent if "Tasks" in text} == {"ulog"}


async def test_a_pool_that_takes_no_delayed_attributes_is_asked_once_and_nothing_is_repeated() -> (
    None
):
    wire = _Wire(refuses="set_job_attr_delayed")
    chirps = Chirps(ChirpConfig(is_enabled=True), wire.send)
    for status in (PilotStatus.STARTED, PilotStatus.DONE):
        chirps.status(status)
    await chirps.flush(1.0)
    assert [text.split('"')[1] for text in wire.sent] == ["Started", "Done"]
    assert wire.n_refused == 1


async def test_without_a_way_out_or_without_being_asked_nothing_is_told() -> None:
    wire = _Wire()
    for chirps in (Chirps(ChirpConfig(), wire.send), Chirps(ChirpConfig(is_enabled=True), None)):
        chirps.status(PilotStatus.STARTED)
        await chirps.run()
        await chirps.flush(1.0)
    assert wire.sent == []


def test_a_pilot_loads_nothing_but_grpc_protobuf_and_the_stubs() -> None:
    code = (
        "import sys, ewms_pilot.main, ewms_pilot.pilot\n"
        "print(*{name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    # What the installation's .pth files load is not the pilot's doing; grpc looks for its
    # companions (`grpc_tools` and the like) itself.
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(*{n.split('.')[0] for n in sys.modules})"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    allowed = ("grpc", "google", "ewms", "typing_extensions", "_cython", "cython_runtime")
    assert [name for name in set(loaded) - set(bare) if not name.startswith(allowed)] == []
    assert {name for name in loaded if name.startswith("ewms")} <= {"ewms", "ewms_pilot"}


def test_the_spawner_is_forked_before_grpc_is_loaded() -> None:
    code = "import sys, ewms_pilot.main; sys.exit('grpc' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
