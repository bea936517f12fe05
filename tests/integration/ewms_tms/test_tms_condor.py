"""A TMS on a real HTCondor pool: what its taskforces become, and what kills and refusals do."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from condor_pool import RealPool, real_pool
from tms_fake_wms import FakeWms
from tms_process import TmsProcess, kill

from ewms.wms.v1 import tms_service_pb2 as tms
from ewms_tms.follower import LogObserver
from ewms_tms.grid.condor_calls import CondorCalls
from ewms_tms.grid.condor_messages import Act
from ewms_tms.job_events import ClusterId, EventKind, JobEvent
from ewms_tms.log_file import LogFile, log_paths
from ewms_tms.process_tree import read_text
from ewms_tms.submission_notes import SubmissionNotes

pytestmark = pytest.mark.timeout(600)

TmsMaker = Callable[..., TmsProcess]
StartMaker = Callable[..., tms.StartAssignment]

# A pool starts a worker some seconds after its submission.
PATIENCE = 90.0
CHIRP = "/usr/libexec/condor/condor_chirp"

# Right before one step is right after the one above it.
STEPS = [
    "after ewms_tms.journal:Journal.intend",
    "after ewms_tms.grid.condor:CondorDispatcher._prepare",
    "during SubmitCluster 0",
    "during SubmitCluster 0.002",
    "during SubmitCluster 0.004",
    "during SubmitCluster 0.006",
    "during SubmitCluster 0.01",
    "after ewms_tms.grid.condor:CondorDispatcher.submit",
    "after ewms_tms.journal:Journal.settle",
    "after ewms_tms.reports:Reports.submitted",
    "after ewms_tms.journal:Journal.announce",
]


@pytest.fixture
def pool() -> Iterator[RealPool]:
    with real_pool() as opened:
        yield opened


@pytest.fixture
async def new_condor_tms(pool: RealPool, wms: FakeWms) -> AsyncIterator[TmsMaker]:
    """TMS processes on one data folder, as the pool's account, whose pilot is a shell script."""
    made: list[TmsProcess] = []

    def make(script: str, *options: str, **grid: str) -> TmsProcess:
        pilot = pool.script("pilot", script)
        schedd = grid.get("schedd", pool.schedd)
        settings = (
            "--grid", "condor", "--schedd", "local", "--condor-schedds", f"local={schedd}",
            "--condor-config", str(pool.config),
            "--condor-tokens", grid.get("tokens", str(pool.tokens)),
            "--condor-interval", "1", *options,
        )  # fmt: skip
        process = TmsProcess(
            pool.place / "data", wms.address, str(pilot), options=settings,
            prefix=pool.command_prefix,
        )  # fmt: skip
        made.append(process)
        return process

    yield make
    for process in made:
        if process.process is not None:
            await process.end(signal.SIGKILL)
    await nothing_is_left_in_the_queue(pool)


async def nothing_is_left_in_the_queue(pool: RealPool) -> None:
    living = {each for each in clusters(pool) if EventKind.CLUSTER_REMOVE not in kinds(pool, each)}
    if not living:
        return
    calls = CondorCalls(pool.environment)
    for cluster in living:
        await calls.do(Act(pool.schedd, cluster, "remove", "the test is over"))
    await calls.close()
    async with asyncio.timeout(PATIENCE), aclosing(LogObserver(logs(pool)).follow()) as told:
        async for observation in told:
            ended = {
                each.cluster for each in observation.events if each.kind is EventKind.CLUSTER_REMOVE
            }
            living -= ended
            if not living:
                return


def logs(pool: RealPool) -> Path:
    return pool.place / "data" / "schedds" / "local" / "logs"


def logged(pool: RealPool) -> list[JobEvent]:
    paths = log_paths(logs(pool)) if logs(pool).exists() else []
    return [event for path in paths for event in LogFile(path).read()]


def clusters(pool: RealPool) -> set[ClusterId]:
    """The clusters that the log has."""
    return {event.cluster for event in logged(pool) if event.kind is EventKind.CLUSTER_SUBMIT}


def kinds(pool: RealPool, cluster: ClusterId) -> list[EventKind]:
    return [event.kind for event in logged(pool) if event.cluster == cluster]


def submitted(pool: RealPool) -> Counter[str]:
    """How many clusters each taskforce has had."""
    notes = [
        SubmissionNotes.parse(event.text)
        for event in logged(pool)
        if event.kind is EventKind.CLUSTER_SUBMIT
    ]
    return Counter(str(note.taskforce) for note in notes if note is not None)


def runs(pool: RealPool) -> int:
    path = pool.place / "runs"
    return len(path.read_text().split()) if path.exists() else 0


async def test_a_taskforce_runs_on_the_pool_and_what_its_pilots_chirp_is_told(
    wms: FakeWms, new_condor_tms: TmsMaker, new_start: StartMaker, pool: RealPool
) -> None:
    status = f"{CHIRP} ulog 'HTChirpEWMSPilotStatus: \"Tasking\"'"
    # In the job's ad, whose changes the log tells of.
    error = f"{CHIRP} set_job_attr HTChirpEWMSPilotError '\"no luck\"'"
    script = (
        f"test -s $EWMS_PILOT_ENV_FILE || exit 9; grep -q C-secret $EWMS_PILOT_ENV_FILE || exit 8;"
        f" {status}; {error}; while ! test -e {pool.place}/go; do sleep 0.2; done; exit 4"
    )
    process = new_condor_tms(script)
    await process.begin()
    assert await process.watching()
    uuid = pool.taskforce()
    await wms.start(new_start(uuid, n_workers=2))
    await wms.until(lambda: wms.statuses.get(uuid) == {"RUNNING": {"Tasking": 2}}, PATIENCE)
    # Each is a chirp of its own, after the status's.
    await wms.until(lambda: wms.errors.get(uuid) == {"no luck": 2}, PATIENCE)
    await wms.until(lambda: wms.capacity["local"].n_running_workers == 2)
    assert wms.capacity["local"].total_slots > 2
    (report,) = wms.of_kind(tms.ReportCondorSubmitRequest)
    assert "C-secret" not in str(report)
    (pool.place / "go").touch()
    await wms.until(lambda: wms.is_done(uuid), PATIENCE)
    (outcome,) = wms.completed[uuid].outcomes
    assert (outcome.exit_code, outcome.count) == (4, 2)
    data = pool.place / "data"
    assert not [path for path in data.rglob("*env.json*") if path.is_file()]
    log = data / "schedds" / "local" / "logs"
    assert "C-secret" not in "".join(path.read_text() for path in log.iterdir())


async def test_a_tms_that_dies_at_any_step_submits_once_and_runs_each_worker_once(
    wms: FakeWms, new_condor_tms: TmsMaker, new_start: StartMaker, pool: RealPool
) -> None:
    process = new_condor_tms(f"echo run >> {pool.place}/runs")
    uuids = [pool.taskforce(number) for number in range(len(STEPS))]
    await die_at_each_step(wms, process, new_start, uuids)
    await process.begin()
    assert await process.watching()
    for uuid in uuids:
        if uuid not in wms.clusters:
            await wms.start(new_start(uuid, n_workers=2))
    await wms.until(lambda: wms.is_done(*uuids), PATIENCE)
    assert submitted(pool) == Counter(dict.fromkeys(uuids, 1))
    starts = Counter(
        (event.cluster, event.proc) for event in logged(pool) if event.kind is EventKind.EXECUTE
    )
    assert set(starts.values()) == {1}
    assert len(starts) == runs(pool) == 2 * len(uuids)


async def test_a_workflow_that_ends_at_any_step_leaves_nothing_in_the_queue(
    wms: FakeWms, new_condor_tms: TmsMaker, new_start: StartMaker, pool: RealPool
) -> None:
    process = new_condor_tms("sleep 600")
    uuids = [pool.taskforce(number) for number in range(len(STEPS))]
    await die_at_each_step(wms, process, new_start, uuids)
    await process.begin()
    assert await process.watching()
    for uuid in uuids:
        await wms.stop(uuid)
    answered = tms.ReportCondorRmRequest
    await wms.until(
        lambda: {each.taskforce_uuid for each in wms.of_kind(answered)} == set(uuids), PATIENCE
    )
    await wms.until(lambda: wms.is_done(*wms.clusters), PATIENCE)
    assert max(submitted(pool).values()) == 1
    for cluster in clusters(pool):
        assert kinds(pool, cluster).count(EventKind.CLUSTER_REMOVE) == 1


async def die_at_each_step(
    wms: FakeWms, process: TmsProcess, new_start: StartMaker, uuids: list[str]
) -> None:
    for uuid, step in zip(uuids, STEPS, strict=True):
        await wms.until(lambda: not wms.is_watched("local"))
        await process.begin(die_at=step)
        # It may as well die while it recovers from the death before, and not take it.
        pushing = asyncio.create_task(wms.start(new_start(uuid, n_workers=2)))
        assert await process.death() == -signal.SIGKILL
        pushing.cancel()


async def test_what_htcondor_refuses_is_a_refusal_in_its_words(
    wms: FakeWms, new_condor_tms: TmsMaker, new_start: StartMaker, pool: RealPool
) -> None:
    process = new_condor_tms("exit 0")
    await process.begin()
    start = new_start(pool.taskforce())
    start.taskforce.worker_config.condor_requirements = "HasGpu =! ="
    await wms.start(start)
    failed = await the_failure(wms)
    assert failed.is_refusal
    assert "condor_requirements" in failed.error
    assert not submitted(pool)


async def test_a_token_that_the_pool_does_not_know_is_a_refusal_in_its_words(
    wms: FakeWms, new_condor_tms: TmsMaker, new_start: StartMaker, pool: RealPool
) -> None:
    tokens = pool.place / "others"
    shutil.copytree(pool.tokens, tokens)
    for token in tokens.iterdir():
        token.write_text(token.read_text().rstrip()[:-4] + "AAAA")
    for path in (tokens, *tokens.iterdir()):
        shutil.chown(path, pool.account)
    process = new_condor_tms("exit 0", tokens=str(tokens))
    await process.begin()
    await wms.start(new_start(pool.taskforce()))
    failed = await the_failure(wms)
    assert failed.is_refusal
    assert "AUTHENTICATE" in failed.error


async def test_a_schedd_that_is_away_is_said_and_does_not_count(
    wms: FakeWms, new_condor_tms: TmsMaker, new_start: StartMaker, pool: RealPool
) -> None:
    process = new_condor_tms("exit 0", schedd="nowhere@localhost")
    await process.begin()
    await wms.start(new_start(pool.taskforce()))
    failed = await the_failure(wms)
    assert not failed.is_refusal
    assert "nowhere@localhost" in failed.error


async def test_a_tms_that_is_not_the_account_of_its_token_does_not_start(
    wms: FakeWms, new_condor_tms: TmsMaker, pool: RealPool
) -> None:
    if not pool.command_prefix:
        pytest.skip("only root can be somebody else")
    tokens = pool.place / "roots"
    shutil.copytree(pool.tokens, tokens)
    for path in (tokens, *tokens.iterdir()):
        shutil.chown(path, "root")
    process = new_condor_tms("exit 0", tokens=str(tokens))
    process.prefix = ()
    await process.begin()
    assert await process.death() == 1


async def test_a_helper_that_is_killed_is_replaced(
    wms: FakeWms, new_condor_tms: TmsMaker, new_start: StartMaker, pool: RealPool
) -> None:
    process = new_condor_tms(f"echo run >> {pool.place}/runs")
    await process.begin()
    assert await process.watching()
    uuids = [pool.taskforce(number) for number in range(3)]
    for uuid in uuids:
        assert helpers(process)
        for child in helpers(process):
            kill(child)
        await wms.start(new_start(uuid))
        # Its submission is the next helper's work.
        await wms.until(lambda uuid=uuid: uuid in wms.clusters, PATIENCE)  # type: ignore[misc]
    await wms.until(lambda: wms.is_done(*uuids), PATIENCE)
    assert submitted(pool) == Counter(dict.fromkeys(uuids, 1))
    assert runs(pool) == 3


def helpers(process: TmsProcess) -> list[int]:
    assert process.process is not None
    pid = process.process.pid
    children = (read_text(f"/proc/{pid}/task/{pid}/children") or "").split()
    return [
        int(child)
        for child in children
        if "condor_helper" in (read_text(f"/proc/{child}/cmdline") or "")
    ]


async def the_failure(wms: FakeWms) -> tms.ReportCondorSubmitFailedRequest:
    await wms.until(lambda: wms.of_kind(tms.ReportCondorSubmitFailedRequest), PATIENCE)
    failed: tms.ReportCondorSubmitFailedRequest = wms.of_kind(tms.ReportCondorSubmitFailedRequest)[
        0
    ]
    return failed
