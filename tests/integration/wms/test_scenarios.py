"""A workflow's ways from its submission to its end, over real sockets, with a scripted agent."""

from __future__ import annotations

from scripted_agent import a_status, an_agent
from wms_stack import Phase, State, Wms


async def test_a_regular_run(wms: Wms) -> None:
    workflow_id = await wms.submit()
    async with an_agent(wms) as agent:
        start, cluster_id = await agent.runs()
        uuid = start.taskforce.taskforce_uuid
        assert start.attempt == 1
        assert start.owner == "local"
        assert [queue.alias for queue in start.queues] == ["input", "output"]
        assert all(queue.auth_token for queue in start.queues)
        assert start.pilot_credential

        assert await agent.statuses(a_status(uuid, cluster_id, 1, RUNNING=1)) == [1]
        running = await wms.until(
            workflow_id, lambda view: "RUNNING" in view.taskforce.compound_statuses
        )
        assert running.state == State.WORKFLOW_STATE_ACTIVE
        assert running.taskforce.cluster_id == cluster_id

        finished = await wms.end("Finish", workflow_id, reason="all results are there")
        assert finished.n_taskforces == 1
        assert finished.workflow.state == State.WORKFLOW_STATE_FINISHED
        stop = await agent.stops()
        assert (stop.taskforce_uuid, stop.cluster_id) == (uuid, cluster_id)

    view = await wms.until_settled(workflow_id)
    assert view.phases == [Phase.TASKFORCE_PHASE_CONDOR_COMPLETE]
    assert [
        (entry.target_phase, entry.was_successful) for entry in view.taskforce.phase_change_log
    ] == [(phase, True) for phase in range(1, 8)]
    assert [entry.source_entity for entry in view.taskforce.phase_change_log] == [
        "user local",
        "activation",
        "launch",
        "tms osg",
        "user local",
        "tms osg",
        "tms osg",
    ]
