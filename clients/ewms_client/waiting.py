"""Waits for something to become true of a workflow, told by its watch: no polling, no interval."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing

from ewms_client.errors import WaitTimeout, WorkflowEnded
from ewms_client.view import WorkflowView, state_name
from ewms_client.watching import WatchEvent

__all__ = ["Condition", "wait_until"]

Condition = int | Collection[int] | Callable[[WorkflowView], bool]
"""A `WorkflowState`, several of which one will do, or a question to the workflow as it is."""


async def wait_until(
    watch: AsyncGenerator[WatchEvent, None], condition: Condition, timeout: float | None
) -> WorkflowView:
    """The workflow as soon as the condition holds. `timeout` is in seconds; None: no limit.

    WaitTimeout when the time is over, WorkflowEnded when it cannot come true any more.
    """
    view = WorkflowView()
    holds, can_hold = _questions(condition)
    try:
        async with asyncio.timeout(timeout), aclosing(watch) as events:
            async for event in events:
                view.apply(event)
                if view.revision and holds(view):
                    return view
                if not can_hold(view):
                    break
    except TimeoutError:
        state = state_name(view.state)
        raise WaitTimeout(f"not within {timeout:g} s; the workflow is {state}") from None
    raise WorkflowEnded(view.workflow)


def _questions(
    condition: Condition,
) -> tuple[Callable[[WorkflowView], bool], Callable[[WorkflowView], bool]]:
    if callable(condition):
        return condition, lambda _: True
    states = frozenset(condition if isinstance(condition, Collection) else [condition])
    # A terminal state never changes again.
    return lambda view: view.state in states, lambda view: not view.is_terminal
