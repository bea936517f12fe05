"""The commands that steer a workflow: close a queue, finish, abort, update, pause, resume, signal
a task, add workers.
"""

from __future__ import annotations

from typing import Annotated

import typer
from google.protobuf.message import Message

from ewms.wms.v1 import workflow_pb2
from ewms_client.async_client import AsyncClient
from ewms_client.resource_tables import workflow as workflow_table
from ewms_client.terminal import (
    WMS_DEFAULT,
    Alias,
    Json,
    Wms,
    WorkflowId,
    labels_of,
    print_json,
    print_table,
    print_text,
    run,
)
from ewms_client.view import state_name

__all__ = ["abort", "add_workers", "close_queue", "finish", "pause", "resume", "signal", "update"]

Reason = Annotated[str, typer.Option(help="Why, for the history.")]


def close_queue(
    workflow: WorkflowId,
    alias: Alias,
    wms: Wms = WMS_DEFAULT,
    as_json: Json = False,
) -> None:
    """Say that no more events are sent to a public queue."""

    async def command(client: AsyncClient) -> None:
        queue = await client.close_queue(workflow, alias)
        if as_json:
            print_json(queue)
        else:
            print_text(f"{workflow} {queue.alias}: closing")

    run(wms, as_json, command)


def finish(
    workflow: WorkflowId, reason: Reason = "", wms: Wms = WMS_DEFAULT, as_json: Json = False
) -> None:
    """End a workflow whose results are there."""

    async def command(client: AsyncClient) -> None:
        response = await client.finish(workflow, reason=reason)
        _print_steered(response, response.workflow, as_json, response.n_taskforces)

    run(wms, as_json, command)


def abort(
    workflow: WorkflowId, reason: Reason = "", wms: Wms = WMS_DEFAULT, as_json: Json = False
) -> None:
    """End a workflow that went wrong."""

    async def command(client: AsyncClient) -> None:
        response = await client.abort(workflow, reason=reason)
        _print_steered(response, response.workflow, as_json, response.n_taskforces)

    run(wms, as_json, command)


def update(
    workflow: WorkflowId,
    priority: Annotated[int | None, typer.Option(help="0 to 100, high first.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label to add or to change.")
    ] = None,
    remove_label: Annotated[
        list[str] | None, typer.Option("--remove-label", metavar="KEY", help="A label to remove.")
    ] = None,
    wms: Wms = WMS_DEFAULT,
    as_json: Json = False,
) -> None:
    """Change priority, name or labels of a workflow that lives; what is not given stays."""
    added, removed = labels_of(label), set(remove_label or ())
    if priority is None and name is None and not added and not removed:
        raise typer.BadParameter("give --priority, --name, --label or --remove-label")
    if both := sorted(removed & added.keys()):
        raise typer.BadParameter(f"{both[0]!r} is also removed", param_hint="--label")

    async def command(client: AsyncClient) -> None:
        labels = None
        if added or removed:
            now = (await client.get_workflow(workflow, read_mask=["labels"])).labels
            labels = {key: value for key, value in now.items() if key not in removed} | added
        updated = await client.update(workflow, priority=priority, name=name, labels=labels)
        if as_json:
            print_json(updated)
        else:
            print_table(*workflow_table(updated))

    run(wms, as_json, command)


def pause(
    workflow: WorkflowId,
    hold_running: Annotated[
        bool, typer.Option("--hold-running", help="Also hold what runs.")
    ] = False,
    wms: Wms = WMS_DEFAULT,
    as_json: Json = False,
) -> None:
    """Launch nothing more of a workflow until it is resumed."""

    async def command(client: AsyncClient) -> None:
        paused = await client.pause(workflow, hold_running=hold_running)
        _print_steered(paused, paused, as_json)

    run(wms, as_json, command)


def resume(workflow: WorkflowId, wms: Wms = WMS_DEFAULT, as_json: Json = False) -> None:
    """Go on with a paused workflow."""

    async def command(client: AsyncClient) -> None:
        resumed = await client.resume(workflow)
        _print_steered(resumed, resumed, as_json)

    run(wms, as_json, command)


def signal(
    workflow: WorkflowId,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")],
    name: Annotated[str, typer.Argument(metavar="SIGNAL", help="What it waits for.")],
    wms: Wms = WMS_DEFAULT,
) -> None:
    """Tell a task that the signal which it waits for has come."""

    async def command(client: AsyncClient) -> None:
        await client.signal(workflow, task, name)

    run(wms, False, command)


def add_workers(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task directive's id.")],
    location: Annotated[str, typer.Argument(metavar="LOCATION", help="A cluster location.")],
    n_workers: Annotated[int, typer.Argument(metavar="N", help="How many workers.")],
    wms: Wms = WMS_DEFAULT,
    as_json: Json = False,
) -> None:
    """Add workers to a task; print the new taskforce's id."""

    async def command(client: AsyncClient) -> None:
        taskforce = await client.add_workers(task, location, n_workers)
        if as_json:
            print_json(taskforce)
        else:
            print_text(taskforce.taskforce_uuid)

    run(wms, as_json, command)


def _print_steered(
    answer: Message, workflow: workflow_pb2.Workflow, as_json: bool, n_taskforces: int | None = None
) -> None:
    if as_json:
        print_json(answer)
        return
    stopping = "" if n_taskforces is None else f"; {n_taskforces} taskforces are being stopped"
    print_text(f"{workflow.workflow_id} is {state_name(workflow.state)}{stopping}")
