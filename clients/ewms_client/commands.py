"""The client's commands, as `ewms` finds them: what submits and shows here, what steers workflows,
moves events and watches in modules of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Annotated, TypeVar

import typer
from google.protobuf.message import Message

from ewms_client import resource_tables as tables
from ewms_client.async_client import AsyncClient
from ewms_client.documents import to_json
from ewms_client.event_commands import consume, dead_letters, publish
from ewms_client.other_languages import request_of_file
from ewms_client.steering_commands import (
    abort,
    add_workers,
    close_queue,
    finish,
    pause,
    resume,
    signal,
    update,
)
from ewms_client.terminal import (
    WMS_DEFAULT,
    Json,
    Wms,
    WorkflowId,
    labels_of,
    print_json,
    print_table,
    print_text,
    run,
)
from ewms_client.view import WorkflowView
from ewms_client.watch_command import watch

__all__ = ["app"]

_STATS_TIMEOUT = 3.0
_T = TypeVar("_T")

app = typer.Typer(no_args_is_help=True)


@app.command()
def submit(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="JSON of EWMS (- is standard input), or a workflow in another language.",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE")] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 100, high first.")] = None,
    request_id: Annotated[
        str | None, typer.Option(help="The same id again submits nothing twice.")
    ] = None,
    validate_only: Annotated[bool, typer.Option("--validate-only")] = False,
    language: Annotated[
        str, typer.Option("--from", help="The file's language. Default: by its content.")
    ] = "",
    location: Annotated[
        str, typer.Option(help="Where jobs of another language run that do not say it.")
    ] = "",
    wms: Wms = WMS_DEFAULT,
    as_json: Json = False,
) -> None:
    """Submit a workflow; print its id alone on the last line."""

    async def command(client: AsyncClient) -> None:
        request = await request_of_file(client, file, language, location)
        if name is not None:
            request.name = name
        if priority is not None:
            request.priority = priority
        request.labels.update(labels_of(label))
        response = await client.submit(request, request_id=request_id, validate_only=validate_only)
        if as_json:
            print_json(response)
        elif validate_only:
            workflow = response.workflow
            print_text(f"valid: {workflow.n_tasks} tasks, {workflow.n_taskforces} taskforces")
        else:
            print_text(response.workflow.workflow_id)

    run(wms, as_json, command)


@app.command("list")
def list_workflows(
    filter: Annotated[  # noqa: A002
        str, typer.Option(help='AIP-160: state = ACTIVE AND priority > 50, labels.team = "x".')
    ] = "",
    order_by: Annotated[str, typer.Option(help="create_time or priority, each with desc.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    wms: Wms = WMS_DEFAULT,
    as_json: Json = False,
) -> None:
    """List workflows, the newest first."""

    async def command(client: AsyncClient) -> None:
        workflows = client.list_workflows(filter, order_by=order_by)
        shown = [workflow async for workflow in _first(workflows, limit)]
        if as_json:
            for workflow in shown:
                print_json(workflow)
        else:
            print_table(*tables.workflows(shown))

    run(wms, as_json, command)


@app.command()
def show(
    resource_id: Annotated[str, typer.Argument(metavar="ID", help="WF-…, TK-… or TF-…")],
    wms: Wms = WMS_DEFAULT,
    as_json: Json = False,
) -> None:
    """Show a workflow with all that belongs to it, a task directive, or a taskforce."""

    async def command(client: AsyncClient) -> None:
        if resource_id.startswith("TK-"):
            message: Message = await client.get_task_directive(resource_id)
        elif resource_id.startswith("TF-"):
            message = await client.get_taskforce(resource_id)
        else:
            view = await _view(client, resource_id, with_stats=not as_json)
            if not as_json:
                _print_workflow(view)
                return
            message = view.snapshot()
        if as_json:
            print_json(message)
        else:
            print_text(to_json(message, indent=2))

    run(wms, as_json, command)


@app.command()
def queues(
    workflow: WorkflowId,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="With --json: public queues with fresh tokens.")
    ] = False,
    wms: Wms = WMS_DEFAULT,
    as_json: Json = False,
) -> None:
    """Show a workflow's queues and how many events are in each.

    With --json each queue's object (`Queue`) is followed by one of its counts (`QueueStats`: alias,
    depth, in_flight, done, dead), unless nobody knows them now.
    """

    async def command(client: AsyncClient) -> None:
        if tokens:
            for public_queue in await client.public_queues(workflow):
                print_json(public_queue)
            return
        view = await _view(client, workflow, with_stats=True)
        if as_json:
            for queue in view.queues.values():
                print_json(queue)
                if stats := view.queue_stats.get(queue.alias):
                    # A count of zero says something.
                    print_text(to_json(stats, with_zeros=True))
        else:
            print_table(*tables.queues(view))

    run(wms, as_json, command)


@app.command()
def history(workflow: WorkflowId, wms: Wms = WMS_DEFAULT, as_json: Json = False) -> None:
    """Show everything that happened to a workflow, oldest first."""

    async def command(client: AsyncClient) -> None:
        entries = client.history(workflow)
        if as_json:
            async for entry in entries:
                print_json(entry)
        else:
            print_table(*tables.history([entry async for entry in entries]))

    run(wms, as_json, command)


app.command("close")(close_queue)
app.command("finish")(finish)
app.command("abort")(abort)
app.command("update")(update)
app.command("pause")(pause)
app.command("resume")(resume)
app.command("signal")(signal)
app.command("add-workers")(add_workers)
app.command("publish")(publish)
app.command("consume")(consume)
app.command("dead-letters")(dead_letters)
app.command("watch")(watch)


async def _first(items: AsyncIterator[_T], limit: int) -> AsyncIterator[_T]:
    count = 0
    async for item in items:
        yield item
        count += 1
        if count == limit:
            return


async def _view(client: AsyncClient, workflow_id: str, *, with_stats: bool = False) -> WorkflowView:
    """The workflow as it is now; with the counts of its queues, if they come soon."""
    # Fails at once, where a watch would wait for the server to come back.
    await client.get_workflow(workflow_id, read_mask=["workflow_id"])
    view = WorkflowView()
    # A settled workflow's watch ends before any counts, unless it is kept open.
    watch_of_it = client.watch(workflow_id, keep_open=with_stats)
    with suppress(TimeoutError):
        async with asyncio.timeout(None) as patience, aclosing(watch_of_it) as events:
            async for event in events:
                view.apply(event)
                if view.revision and not (with_stats and not view.queue_stats):
                    break
                if view.revision:
                    patience.reschedule(asyncio.get_running_loop().time() + _STATS_TIMEOUT)
    return view


def _print_workflow(view: WorkflowView) -> None:
    print_table(*tables.workflow(view.workflow))
    tasks = view.task_directives.values()
    for title, table in (
        (
            "Tasks",
            tables.net_tasks(tasks) if view.workflow.has_net else tables.task_directives(tasks),
        ),
        ("Taskforces", tables.taskforces(view.taskforces.values())),
        ("Queues", tables.queues(view)),
    ):
        print_text(f"\n{title}")
        print_table(*table)
