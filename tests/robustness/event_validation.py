"""What became of events and workers, held against the model: from what publishers and consumers
saw, from the ledger that the tasks wrote, and from the job event logs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from history import Acknowledged, Called, Consumed, FaultInjected, Final, History, Offered
from model import Violation, phase_name, state_name
from proc_model import ProcModel

__all__ = ["clusters", "events", "executions", "origin_of"]

_MAX_DELIVERIES = 5
# A fault explains repeats until every lease that it broke has run out.
_AFTERMATH_SECONDS = 15.0


def origin_of(payload: str) -> str:
    """What was published, from what became of it."""
    return payload.partition("|")[0]


def events(history: History) -> Iterator[Violation]:
    """Confirmed leads to a result or a dead letter; nothing comes that was never published."""
    finals = {final.workflow_id: final for final in history.of(Final)}
    offered: dict[str, set[str]] = defaultdict(set)
    confirmed: dict[str, set[str]] = defaultdict(set)
    for offer in history.of(Offered):
        (confirmed if offer.is_confirmed else offered)[offer.workflow_id].add(offer.payload)
    arrived: dict[str, set[str]] = defaultdict(set)
    ids: dict[tuple[str, str], str] = {}
    settled = {
        (ack.workflow_id, ack.alias, ack.event_id): ack.at
        for ack in history.of(Acknowledged)
        if not ack.is_lost
    }
    for event in history.of(Consumed):
        subject = f"{event.workflow_id}, {event.payload}"
        origin = origin_of(event.payload)
        arrived[event.workflow_id].add(origin)
        if origin not in offered[event.workflow_id]:
            yield Violation("Nothing invented", subject, "was never published")
        if ids.setdefault((event.workflow_id, event.payload), event.event_id) != event.event_id:
            yield Violation("One result", subject, "came under two ids")
        if event.at > settled.get((event.workflow_id, event.alias, event.event_id), event.at):
            yield Violation("Acknowledged", subject, "came again after its acknowledgement")
    for workflow_id, final in finals.items():
        if state_name(final.workflow) == "ABORTED":
            continue
        dead = {origin_of(payload) for payload in final.dead_payloads}
        for lost in confirmed[workflow_id] - arrived[workflow_id] - dead:
            yield Violation("Nothing lost", f"{workflow_id}, {lost}", "was confirmed")


def executions(history: History, ledger: Path) -> Iterator[Violation]:
    """Tasks ran on what was published, one worker a slot, again only after a fault."""
    offered = {offer.payload for offer in history.of(Offered)}
    faults = [(fault.began, fault.at + _AFTERMATH_SECONDS) for fault in history.of(FaultInjected)]
    held = {
        call.request.request_id.removeprefix("pause-")
        for call in history.of(Called)
        if call.method == "PauseWorkflow" and call.request.hold_running
    }
    starts: dict[tuple[str, str], list[float]] = defaultdict(list)
    for line in ledger.read_text().splitlines() if ledger.exists() else ():
        what, at, _, name, cluster, proc, event = line.split(" ")
        origin = origin_of(event)
        if what == "overlap":
            yield Violation("One worker", f"proc {cluster}.{proc}", f"two live at {at}, {event}")
        elif what == "start":
            starts[name, event].append(float(at))
            if origin not in offered:
                yield Violation("Nothing invented", event, "ran and was never published")
    for (name, event), times in starts.items():
        if len(times) > _MAX_DELIVERIES:
            yield Violation("At least once", event, f"task {name} ran {len(times)} times")
        is_explained = event.partition(".")[0] in held
        for earlier, later in pairwise(times):
            if not is_explained and not any(b < later and earlier < end for b, end in faults):
                yield Violation("At least once", event, f"ran at {earlier} and {later}, no fault")


def clusters(history: History, grid: Path) -> Iterator[Violation]:
    """One cluster a taskforce, one worker a proc, by the job event logs."""
    submitted: dict[str, list[int]] = {}
    for folder in sorted(grid.glob("schedds/*/logs")):
        model = ProcModel()
        for path in sorted(folder.iterdir()):
            for line in path.read_text(errors="replace").splitlines():
                for text in model.read(line):
                    yield Violation("Started once", path.name, text)
        submitted |= model.clusters
    for final in history.of(Final):
        for taskforce in final.taskforces:
            mine = submitted.get(taskforce.taskforce_uuid, [])
            known = [taskforce.cluster_id] if taskforce.HasField("cluster_id") else []
            if mine != known:
                yield Violation(
                    "Started once", taskforce.taskforce_uuid,
                    f"{phase_name(taskforce.phase)} with cluster {known}, in the log {mine}",
                )  # fmt: skip
