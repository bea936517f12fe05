"""The command `ewms watch`: live bars on a terminal, a line for each change without one, JSON when
asked for. It goes on over restarts of the server, says when it had to begin anew, and ends when the
workflow has settled, with a code that tells how it ended.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import typer

from ewms.wms.v1 import watch_pb2, workflow_pb2
from ewms.wms.v1.workflow_service_pb2 import WatchWorkflowResponse
from ewms_client.async_client import AsyncClient
from ewms_client.exit_codes import ExitCode
from ewms_client.terminal import (
    WMS_DEFAULT,
    Json,
    Wms,
    WorkflowId,
    print_json,
    print_text,
    run,
    say,
)
from ewms_client.view import WorkflowView
from ewms_client.watch_lines import ChangeLines
from ewms_client.watching import Restarted, WatchEvent

__all__ = ["watch"]

_FRAME = 0.2
_BAD_ENDS = (workflow_pb2.WORKFLOW_STATE_FAILED, workflow_pb2.WORKFLOW_STATE_ABORTED)


def watch(
    workflow: WorkflowId,
    from_revision: Annotated[
        int | None, typer.Option(help="With --json: the last revision seen.")
    ] = None,
    wms: Wms = WMS_DEFAULT,
    as_json: Json = False,
) -> None:
    """Watch a workflow until it has settled. Code 8: it failed or was aborted."""
    if from_revision is not None and not as_json:
        raise typer.BadParameter("needs --json", param_hint="--from-revision")

    async def command(client: AsyncClient) -> None:
        # Fails at once, where a watch would wait for the server to come back.
        await client.get_workflow(workflow, read_mask=["workflow_id"])
        async with aclosing(client.watch(workflow, from_revision=from_revision)) as events:
            if as_json:
                state = await _print_events(events)
            elif sys.stdout.isatty():
                state = await _draw(events)
            else:
                state = await _print_changes(events)
        if state in _BAD_ENDS:
            raise typer.Exit(ExitCode.WORKFLOW_FAILED)

    run(wms, as_json, command)


async def _print_events(
    events: AsyncGenerator[WatchEvent, None],
) -> workflow_pb2.WorkflowState.ValueType:
    state = workflow_pb2.WORKFLOW_STATE_UNSPECIFIED
    async for event in events:
        match event:
            case Restarted(reason):
                say(f"ewms: begins anew: {reason}")
            case watch_pb2.WorkflowSnapshot():
                state = event.workflow.state
                print_json(WatchWorkflowResponse(snapshot=event))
            case watch_pb2.WorkflowRevision():
                for change in event.changes:
                    if change.HasField("workflow"):
                        state = change.workflow.state
                print_json(WatchWorkflowResponse(revision=event))
            case watch_pb2.Checkpoint():
                print_json(WatchWorkflowResponse(checkpoint=event))
            case watch_pb2.QueueStatsSample():
                print_json(WatchWorkflowResponse(queue_stats=event))
    return state


async def _print_changes(
    events: AsyncGenerator[WatchEvent, None],
) -> workflow_pb2.WorkflowState.ValueType:
    view = WorkflowView()
    lines = ChangeLines()
    async for event in events:
        view.apply(event)
        for line in lines.after(event, view):
            print_text(line)
    return view.state


async def _draw(
    events: AsyncGenerator[WatchEvent, None],
) -> workflow_pb2.WorkflowState.ValueType:
    # Imported here, so that commands for scripts start sooner.
    from rich.live import Live

    from ewms_client.progress import progress_of

    view = WorkflowView()

    async def redraw() -> None:
        while True:
            live.update(progress_of(view), refresh=True)
            await asyncio.sleep(_FRAME)

    with Live(auto_refresh=False) as live:
        drawing = asyncio.create_task(redraw())
        try:
            async for event in events:
                view.apply(event)
                if isinstance(event, Restarted):
                    live.console.print(f"begins anew: {event.reason}")
        finally:
            drawing.cancel()
            live.update(progress_of(view), refresh=True)
    return view.state
