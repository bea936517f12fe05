"""The history says whose statuses were reported."""

from __future__ import annotations

from scripted_agent import a_status, an_agent
from wms_stack import Wms, a_task


async def test_a_line_of_statuses_names_five_taskforces_and_counts_the_others(wms: Wms) -> None:
    workflow_id = await wms.submit(*(a_task() for _ in range(7)))
    async with an_agent(wms) as agent:
        runs = [await agent.runs() for _ in range(7)]
        updates = [
            a_status(start.taskforce.taskforce_uuid, cluster_id, 1, RUNNING=1)
            for start, cluster_id in runs
        ]
        await agent.statuses(*updates[:5])
        await agent.statuses(
            *(a_status(u.taskforce_uuid, u.cluster_id, 2, IDLE=1) for u in updates)
        )

    lines = [entry.what for entry in await wms.history(workflow_id) if "statuses" in entry.what]
    named = ", ".join(update.taskforce_uuid for update in updates[:5])
    assert lines == [f"statuses of {named}", f"statuses of {named} and 2 others"]
