"""When queues close and tasks are done, as pure functions.

A public queue closes once its user has said that no more comes and every task that writes to it is
done. A private queue closes when every task that writes to it is done. A task is done when all its
input queues are drained. A workflow succeeds when every task is done, unless it has a net, whose
end is the engine's matter; tasks that are no containers have no queues and no part in this. A task
on a cycle of queues, or fed from one, is never done by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from wms_grpc.domain.model import Queue, TaskDirective

__all__ = ["Drainage", "drain"]


@dataclass(frozen=True, slots=True)
class Drainage:
    """What follows from the queues' state."""

    directives: Sequence[TaskDirective]
    queues: Sequence[Queue]
    newly_done: Sequence[TaskDirective]
    is_finished: bool


def drain(
    directives: Sequence[TaskDirective],
    queues: Sequence[Queue],
    now: datetime,
    grace: timedelta,
) -> Drainage:
    """Return a workflow's task directives and queues with what follows marked.

    A task that is done has its workers stopped `grace` later: they end by themselves when they
    see their queues drained.
    """
    drained = {queue.mqid for queue in queues if queue.is_drained}
    after: list[TaskDirective] = []
    newly_done: list[TaskDirective] = []
    for directive in directives:
        is_container = directive.work is None
        if is_container and not directive.is_done and drained.issuperset(directive.input_queues):
            done = replace(directive, is_done=True, done_time=now, stop_due=now + grace)
            newly_done.append(done)
            after.append(done)
        else:
            after.append(directive)
    still_written = {
        mqid for directive in after if not directive.is_done for mqid in directive.output_queues
    }
    return Drainage(
        directives=after,
        queues=[
            replace(queue, is_close_due=True)
            if _may_close(queue, is_written=queue.mqid in still_written)
            else queue
            for queue in queues
        ],
        newly_done=newly_done,
        is_finished=all(directive.is_done and directive.state is None for directive in after),
    )


def _may_close(queue: Queue, *, is_written: bool) -> bool:
    if queue.is_closed or not queue.is_activated or is_written:
        return False
    return queue.is_close_requested or not queue.is_public
