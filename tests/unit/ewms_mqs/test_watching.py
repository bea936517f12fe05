"""What one watch is told, and when."""

from __future__ import annotations

from typing import Any

import pytest

from ewms_mqs import watching
from ewms_mqs.model import Mqid, Queue, QueueNo, QueueState, WorkflowId


def a_state(*, is_closed: bool = False, **fields: Any) -> QueueState:
    queue = Queue(QueueNo(1), Mqid("mqid"), WorkflowId("WF"), "input", True)
    return QueueState(queue, is_closed, False, False, **fields)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time as the watch reads it."""
    now = [100.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])
    return now


def told(watcher: watching._Watcher) -> list[tuple[int, bool]]:
    return [(state.n_dead, state.is_closed) for state in watcher.take_news()]


def test_dead_letters_are_told_of_once_a_second_and_a_close_at_once(clock: list[float]) -> None:
    watcher = watching._Watcher(None, tells_dead=True)
    watcher.offer(a_state())
    assert told(watcher) == [(0, False)]
    watcher.offer(a_state(n_dead=1))
    assert told(watcher) == [(1, False)]

    watcher.offer(a_state(n_dead=2))
    watcher.offer(a_state(n_dead=3))
    clock[0] += 0.5
    assert told(watcher) == []
    clock[0] += 0.5
    assert told(watcher) == [(3, False)]

    watcher.offer(a_state(n_dead=4))
    watcher.offer(a_state(n_dead=4, is_closed=True))
    assert told(watcher) == [(4, True)]
    clock[0] += 1.0
    assert told(watcher) == []


def test_a_watch_of_counts_is_not_told_of_dead_letters_as_transitions() -> None:
    watcher = watching._Watcher(None, tells_dead=False)
    watcher.offer(a_state())
    watcher.take_news()
    watcher.offer(a_state(n_dead=1))
    assert told(watcher) == []
