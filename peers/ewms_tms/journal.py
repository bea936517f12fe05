"""What an agent is about to do, and what it has been told is known: a file that survives it.

Guarantees that an intent is on the disk before `intend` returns, so that a submission which a kill
cut short is found again; and that a torn last line, which nobody waited for, counts as not written.
`intend`, `forget` and `compact` wait for the disk: call them in a thread, in several at once if
need be. The others leave a line with the kernel, and wait for nobody who waits for the disk.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ewms_tms.durable_files import write_whole
from ewms_tms.grid import Cluster, TaskforceUuid
from ewms_tms.job_events import ClusterId

__all__ = ["Intent", "Journal"]


@dataclass(frozen=True, slots=True)
class Intent:
    """A submission that is about to be made. The description is for the report of it."""

    taskforce: TaskforceUuid
    attempt: int
    description: Mapping[str, str]


class Journal:
    """The journal of one schedd's agent.

    Parameters
    ----------
    path
        Its file; read, and made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._intents: dict[tuple[TaskforceUuid, int], Intent] = {}
        self._descriptions: dict[ClusterId, Mapping[str, str]] = {}
        self._announced: dict[ClusterId, tuple[TaskforceUuid, int]] = {}
        self._finished: set[ClusterId] = set()
        for line in path.read_bytes().splitlines() if path.exists() else ():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            self._take(record)
        self.compact()

    @property
    def open_intents(self) -> list[Intent]:
        """Submissions that may have been made, and may not."""
        return list(self._intents.values())

    @property
    def announced(self) -> dict[ClusterId, tuple[TaskforceUuid, int]]:
        """Clusters that the WMS knows to live, and the taskforce and attempt of each."""
        return dict(self._announced)

    @property
    def finished(self) -> frozenset[ClusterId]:
        """Clusters whose end the WMS has answered."""
        return frozenset(self._finished)

    def description(self, cluster_id: ClusterId) -> Mapping[str, str]:
        """What was submitted, for a cluster that is not announced yet."""
        return self._descriptions.get(cluster_id, {})

    def intend(self, intent: Intent) -> None:
        """Before a submission. Raises OSError when the disk does not take it."""
        descriptor = self._append(_intention(intent))
        try:
            # Without the lock, so that the disk takes what many wait for in one go. A file that is
            # written anew meanwhile has this in it, and is on the disk before it takes the place.
            os.fdatasync(descriptor)
        except OSError:
            with self._lock:
                self._intents.pop((intent.taskforce, intent.attempt), None)
            raise
        finally:
            os.close(descriptor)

    def settle(self, intent: Intent, cluster_id: ClusterId | None) -> None:
        """It is certain what became of an intent: a cluster, or nothing."""
        self._write({"settle": intent.taskforce, "attempt": intent.attempt, "cluster": cluster_id})

    def announce(self, cluster: Cluster) -> None:
        """The WMS has answered the report of a submission."""
        self._write(_announcement(cluster.cluster_id, cluster.taskforce, cluster.attempt))

    def finish(self, cluster_id: ClusterId) -> None:
        """The WMS has answered the report of an end."""
        self._write({"finish": cluster_id})

    def forget(self, cluster_ids: Iterable[ClusterId]) -> None:
        """Finished clusters that are no longer in any log: nobody will ask for them again."""
        with self._lock:
            self._finished.difference_update(cluster_ids)
            self.compact()

    def compact(self) -> None:
        """Write it anew, without what is over."""
        records: list[dict[str, Any]] = [{"finish": cluster} for cluster in sorted(self._finished)]
        records += [_announcement(cluster, *whose) for cluster, whose in self._announced.items()]
        records += [
            {"cluster": cluster, "description": dict(description)}
            for cluster, description in self._descriptions.items()
        ]
        records += [_intention(intent) for intent in self._intents.values()]
        lines = "".join(json.dumps(record) + "\n" for record in records)
        write_whole(self._path, lines.encode(), mode=0o600)

    def _write(self, record: dict[str, Any]) -> None:
        os.close(self._append(record))

    def _append(self, record: dict[str, Any]) -> int:
        """Write a line; the descriptor by which it was written, for the caller to close."""
        # The line's own start ends one that a full disk has torn.
        line = b"\n" + json.dumps(record).encode() + b"\n"
        with self._lock:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError(f"{self._path}: no room")
            except OSError:
                os.close(descriptor)
                raise
            self._take(record)
            return descriptor

    def _take(self, record: dict[str, Any]) -> None:
        if "intend" in record:
            intent = Intent(record["intend"], record["attempt"], record["description"])
            self._intents[intent.taskforce, intent.attempt] = intent
        elif "settle" in record:
            settled = self._intents.pop((record["settle"], record["attempt"]), None)
            cluster_id = record["cluster"]
            if settled is not None and cluster_id is not None:
                self._descriptions[cluster_id] = settled.description
        elif "announce" in record:
            self._announced[record["announce"]] = (record["taskforce"], record["attempt"])
            self._descriptions.pop(record["announce"], None)
        elif "finish" in record:
            self._announced.pop(record["finish"], None)
            self._descriptions.pop(record["finish"], None)
            self._finished.add(record["finish"])
        elif "description" in record:
            self._descriptions[record["cluster"]] = record["description"]


def _intention(intent: Intent) -> dict[str, Any]:
    return {
        "intend": intent.taskforce,
        "attempt": intent.attempt,
        "description": dict(intent.description),
    }


def _announcement(cluster_id: ClusterId, taskforce: TaskforceUuid, attempt: int) -> dict[str, Any]:
    return {"announce": cluster_id, "taskforce": taskforce, "attempt": attempt}
