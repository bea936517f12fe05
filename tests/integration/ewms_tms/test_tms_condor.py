"""A TMS on a real HTCondor pool: what its taskforces become, and what kills and refusals do."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import Callable

import pytest
from condor_pool import RealPool
from condor_runs import CHIRP, PATIENCE, clusters, kinds, logged, runs, submitted
from tms_fake_wms import FakeWms
from tms_process import TmsProcess, kill

from ewms.wms.v1 import tms_service_pb2 as tms
from ewms_tms.job_events import EventKind
from ewms_tms.process_tree import read_text

pytestmark = pytest.mark.timeout(600)

TmsMaker = Callable[..., TmsProcess]
StartMaker = Callable[..., tms.StartAssignment]

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
        # Its submission is the next helper's work.
        await submit_as_a_wms_does(wms, new_start, uuid)
    await wms.until(lambda: wms.is_done(*uuids), PATIENCE)
    assert submitted(pool) == Counter(dict.fromkeys(uuids, 1))
    assert runs(pool) == 3


async def submit_as_a_wms_does(wms: FakeWms, new_start: StartMaker, uuid: str) -> None:
    """Until it has a cluster: one that was in doubt, and was not found, is assigned again."""
    failures = tms.ReportCondorSubmitFailedRequest
    while uuid not in wms.clusters:
        n_failed = len(wms.of_kind(failures))
        await wms.start(new_start(uuid))
        await wms.until(
            lambda n=n_failed: uuid in wms.clusters or len(wms.of_kind(failures)) > n,  # type: ignore[misc]
            PATIENCE,
        )
    assert not any(failed.is_refusal for failed in wms.of_kind(failures))


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
