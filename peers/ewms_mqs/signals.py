"""What has happened to a queue, told to this process at once and to the others by the database.

A signal is a hint: who gets one looks at the tables, and None for a queue means "look at all". It
must never be the only thing that makes something happen, since notifications get lost.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from ewms_mqs.model import QueueNo
from ewms_postgres.notifications import Notifier

__all__ = ["CHANNELS", "Signals"]

_READY, _CHANGED, _KEYS = "mqs_ready", "mqs_changed", "mqs_keys"
CHANNELS = (_READY, _CHANGED, _KEYS)

_OnQueue = Callable[[QueueNo | None], None]


class Signals:
    """The three kinds of news, and who wants to hear them.

    `ready`: an event waits in a queue. `changed`: a queue was granted, closed, drained or
    released, or has more or fewer dead letters. `keys`: there is a new key.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        # Our own notifications come back to us, and have been heard by then.
        self._origin = uuid4().hex[:12]
        self.on_ready: list[_OnQueue] = []
        self.on_changed: list[_OnQueue] = []
        self.on_keys: list[Callable[[], None]] = []

    def ready(self, queue: QueueNo) -> None:
        """An event waits in the queue."""
        self._notifier.notify(_READY, f"{self._origin}:{queue}")
        _tell(self.on_ready, queue)

    def changed(self, queue: QueueNo) -> None:
        """The queue was granted, closed, drained or released, or its dead letters changed."""
        self._notifier.notify(_CHANGED, f"{self._origin}:{queue}")
        _tell(self.on_changed, queue)

    def keys_changed(self) -> None:
        """There is a new key."""
        self._notifier.notify(_KEYS, self._origin)

    def received(self, channel: str, payload: str) -> None:
        """A notification has come in."""
        origin, _, number = payload.partition(":")
        if origin == self._origin:
            return
        queue = QueueNo(int(number)) if number.isdecimal() else None
        if channel == _READY:
            _tell(self.on_ready, queue)
        elif channel == _CHANGED:
            _tell(self.on_changed, queue)
        else:
            for heard in self.on_keys:
                heard()

    def missed(self) -> None:
        """Anything may have been missed."""
        _tell(self.on_ready, None)
        _tell(self.on_changed, None)
        for heard in self.on_keys:
            heard()


def _tell(listeners: list[_OnQueue], queue: QueueNo | None) -> None:
    for heard in list(listeners):
        heard(queue)
