"""One workflow of thousands of taskforces."""

from __future__ import annotations

import asyncio

from wms_stack import Phase, State, Wms, a_task

N_TASKFORCES = 2_000


async def test_an_abort_ends_every_taskforce_while_others_are_answered(wms: Wms) -> None:
    other = await wms.submit()
    many = await wms.submit(*(a_task() for _ in range(N_TASKFORCES)))

    aborting = asyncio.ensure_future(wms.end("Abort", many, reason="wrong"))
    n_answered = 0
    while not aborting.done():
        await wms.get(other)
        n_answered += not aborting.done()

    aborted = await aborting
    assert n_answered > 2
    assert aborted.n_taskforces == N_TASKFORCES
    assert aborted.workflow.state == State.WORKFLOW_STATE_ABORTED
    view = await wms.until_settled(many)
    assert view.phases == [Phase.TASKFORCE_PHASE_CONDOR_COMPLETE] * N_TASKFORCES
