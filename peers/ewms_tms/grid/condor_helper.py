"""The HTCondor helper: the one process that loads HTCondor's bindings, and makes calls for the TMS.

Run as `python -m ewms_tms.grid.condor_helper PARENT`. Reads a call, makes it, writes the answer.
Guarantees that it dies with its parent, and that nothing but answers goes to its output. Keeps no
state but the schedds' addresses; being killed at any moment harms nothing that a schedd would not
take from a connection that broke.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import classad2
import htcondor2

from ewms_tms.grid.condor_description import escaped, submit_text
from ewms_tms.grid.condor_messages import (
    HEADER,
    Act,
    Failure,
    FailureKind,
    FindCluster,
    FoundCluster,
    Identify,
    Identity,
    ListClusters,
    MeasureRoom,
    Room,
    SubmitCluster,
    frame,
)
from ewms_tms.grid.condor_words import kind_of
from ewms_tms.job_events import ClusterId

_PR_SET_PDEATHSIG = 1
_ACTIONS = {
    "remove": htcondor2.JobAction.Remove,
    "hold": htcondor2.JobAction.Hold,
    "release": htcondor2.JobAction.Release,
}
# What is counted of an action: 0 errors, 1 done, 3 wrong state, 4 done before, 5 not permitted.
_COUNTS = ("TotalSuccess", "TotalAlreadyDone", "TotalBadStatus", "TotalError")
_SLOT = [
    "Cpus", "DynamicSlot", "Memory", "PartitionableSlot", "State", "TotalSlotCpus",
    "TotalSlotMemory",
]  # fmt: skip


class _Failed(Exception):
    """The answer is a failure."""

    def __init__(self, kind: FailureKind, words: str) -> None:
        super().__init__(words)
        self.failure = Failure(kind, words)


class Helper:
    """Makes calls."""

    def __init__(self) -> None:
        self._addresses: dict[str, Any] = {}

    def answer(self, call: object) -> object:
        """A call's result, or its failure."""
        try:
            return self._make(call)
        except _Failed as error:
            return error.failure
        except Exception as error:
            # The bindings raise what they like. Where a schedd is may be what was wrong.
            self._addresses.clear()
            words = " ".join(str(error).split()) or type(error).__name__
            return Failure(kind_of(words), f"HTCondor: {words}")

    def _make(self, call: object) -> object:
        match call:
            case SubmitCluster():
                return self._submit(call)
            case FindCluster():
                return self._find(call)
            case Act():
                self._act(call)
                return None
            case ListClusters():
                return self._list(call)
            case Identify():
                return self._identify(call)
            case MeasureRoom():
                return _measure_room()
        raise _Failed(FailureKind.REFUSED, f"no such call: {type(call).__name__}")

    def _submit(self, call: SubmitCluster) -> ClusterId:
        lines = list(call.lines)
        if call.requirements:
            printed = (f"({_printed(text)})" for text in call.requirements)
            lines.append(("requirements", escaped(" && ".join(printed))))
        try:
            submit = htcondor2.Submit(submit_text(lines))
        except Exception as error:
            raise _Failed(FailureKind.REFUSED, f"HTCondor: {error}") from error
        result = self._schedd(call.schedd).submit(submit, count=call.n_workers)
        return ClusterId(result.cluster())

    def _find(self, call: FindCluster) -> FoundCluster | None:
        uuid = classad2.quote(call.taskforce)
        wanted = f"EWMSTaskforceUUID == {uuid} && EWMSAttempt == {call.attempt}"
        for ad in self._cluster_ads(call.schedd, wanted):
            return FoundCluster(
                ClusterId(int(ad["ClusterId"])),
                int(ad.get("EWMSWorkers", 1)),
                float(ad.get("QDate", time.time())),
                str(ad.get("UserLog", "")),
            )
        return None

    def _list(self, call: ListClusters) -> frozenset[ClusterId]:
        ads = self._cluster_ads(call.schedd, "EWMSTaskforceUUID isnt undefined")
        return frozenset(ClusterId(int(ad["ClusterId"])) for ad in ads)

    def _cluster_ads(self, schedd: str, wanted: str) -> list[Any]:
        # A factory that has just been submitted has no proc yet, only its cluster's ad.
        found: list[Any] = self._schedd(schedd).query(
            constraint=wanted,
            projection=["ClusterId", "EWMSWorkers", "QDate", "UserLog"],
            opts=htcondor2.QueryOpt.IncludeClusterAd,
        )
        return found

    def _act(self, call: Act) -> None:
        # A reason that is no pair is lost by the bindings (25.14.1).
        with self._words_of(call.schedd):
            result = self._schedd(call.schedd).act(
                _ACTIONS[call.action], int(call.cluster_id), (call.reason, 0)
            )
        if int(result["TotalPermissionDenied"]):
            raise _Failed(
                FailureKind.REFUSED, f"HTCondor: not permitted to {call.action} {call.cluster_id}"
            )
        if any(int(result[name]) for name in _COUNTS):
            return
        if self._cluster_ads(call.schedd, f"ClusterId == {int(call.cluster_id)}"):
            raise _Failed(
                FailureKind.UNAVAILABLE, f"HTCondor did not {call.action} {call.cluster_id}"
            )
        raise _Failed(
            FailureKind.UNKNOWN_CLUSTER, f"{call.schedd} has no cluster {call.cluster_id}"
        )

    def _identify(self, call: Identify) -> Identity:
        with self._words_of(call.schedd):
            ad = htcondor2.ping(self._address(call.schedd), "WRITE")
        account = str(ad.get("MyRemoteUserName", ""))
        return Identity(account, bool(ad.get("AuthorizationSucceeded", False)))

    @contextmanager
    def _words_of(self, schedd: str) -> Iterator[None]:
        """Give an error that says nothing the words that a submission would have had.

        Opening the queue is the one thing of which the bindings tell why it did not work. What is
        submitted is no job: nothing comes of it even where that works.
        """
        try:
            yield
        except htcondor2.HTCondorException as error:
            try:
                self._schedd(schedd).submit(htcondor2.Submit("universe = none\n"), count=1)
            except htcondor2.HTCondorException as told:
                if "Failed to connect to schedd" in str(told):
                    raise told from error
            raise

    def _schedd(self, name: str) -> Any:
        return htcondor2.Schedd(self._address(name))

    def _address(self, name: str) -> Any:
        if name not in self._addresses:
            address = htcondor2.Collector().locate(htcondor2.DaemonType.Schedd, name)
            if address is None:
                words = f"HTCondor: the collector knows no schedd {name}"
                raise _Failed(FailureKind.NOTHING_DONE, words)
            self._addresses[name] = address
        return self._addresses[name]


def _printed(expression: str) -> str:
    try:
        return str(classad2.ExprTree(expression))
    except Exception as error:
        words = f"condor_requirements is no ClassAd expression: {expression[:200]!r}"
        raise _Failed(FailureKind.REFUSED, words) from error


def _measure_room() -> Room:
    slots = cores = memory = free_slots = free_cores = free_memory = 0
    for ad in htcondor2.Collector().query(htcondor2.AdType.Startd, projection=_SLOT):
        if ad.get("DynamicSlot", False):
            continue  # what it has is counted by the slot that it was cut from
        has_parts = bool(ad.get("PartitionableSlot", False))
        is_free = has_parts or ad.get("State") == "Unclaimed"
        own_cores, own_memory = int(ad.get("Cpus", 0)), int(ad.get("Memory", 0))
        all_cores = int(ad.get("TotalSlotCpus", own_cores))
        cores += all_cores
        slots += all_cores if has_parts else 1
        memory += int(ad.get("TotalSlotMemory", own_memory))
        if is_free:
            free_cores += own_cores
            free_slots += own_cores if has_parts else 1
            free_memory += own_memory
    return Room(slots, free_slots, cores, free_cores, memory << 20, free_memory << 20)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent's thread ends; it may have by now."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _read_exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) != length:
        sys.exit(0)
    return data


def main() -> None:
    """Answer until the parent says no more."""
    _die_with(int(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "wb")
    # What a library prints must not come between the answers.
    os.dup2(2, 1)
    helper = Helper()
    while True:
        (length,) = HEADER.unpack(_read_exactly(sys.stdin.buffer, HEADER.size))
        call = pickle.loads(_read_exactly(sys.stdin.buffer, length))
        answers.write(frame(helper.answer(call)))
        answers.flush()


if __name__ == "__main__":
    main()
