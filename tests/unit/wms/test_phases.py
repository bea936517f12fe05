"""The phase machine: its table, what follows from a phase, and what holds in whatever order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from wms_values import NOW, a_taskforce

from wms_grpc.domain import reports
from wms_grpc.domain.model import Cause, Phase, Taskforce
from wms_grpc.domain.phases import (
    MAX_REFUSALS,
    NEVER_SUBMITTED,
    advance,
    count_idle,
    is_allowed,
    stop,
)
from wms_grpc.domain.reports import SubmitReport

_CAUSE = Cause("test", "because")

_STEPS = {
    Phase.PRE_MQ_ACTIVATION: "PRE_LAUNCH PENDING_STOPPER CONDOR_RM CONDOR_COMPLETE",
    Phase.PRE_LAUNCH: "PENDING_STARTER PENDING_STOPPER CONDOR_RM CONDOR_COMPLETE",
    Phase.PENDING_STARTER: "CONDOR_SUBMIT PENDING_STOPPER CONDOR_RM CONDOR_COMPLETE FAILED",
    Phase.CONDOR_SUBMIT: "PENDING_STOPPER CONDOR_RM CONDOR_COMPLETE",
    Phase.PENDING_STOPPER: "CONDOR_RM CONDOR_COMPLETE",
    Phase.CONDOR_RM: "CONDOR_COMPLETE",
    Phase.CONDOR_COMPLETE: "",
    Phase.FAILED: "",
}


@pytest.mark.parametrize("current", Phase)
def test_the_table_of_phases(current: Phase) -> None:
    assert {target for target in Phase if is_allowed(current, target)} == {
        Phase(name) for name in _STEPS[current].split()
    }


def test_a_refused_change_is_logged_with_its_reason_and_changes_nothing_else() -> None:
    ended = a_taskforce(phase=Phase.CONDOR_COMPLETE)

    after = advance(ended, Phase.CONDOR_SUBMIT, _CAUSE, NOW)

    (attempt,) = after.phase_log
    assert not attempt.was_successful
    assert attempt.target is Phase.CONDOR_SUBMIT
    assert attempt.cause == Cause("test", "because (not from CONDOR_COMPLETE)")
    assert replace(after, phase_log=()) == ended


def test_stopping_what_no_agent_was_told_of_ends_it_here() -> None:
    waiting = a_taskforce(phase=Phase.PENDING_STARTER, assignment="start", assignment_due=NOW)

    ended = stop(waiting, _CAUSE, NOW)

    assert ended.phase is Phase.CONDOR_COMPLETE
    assert ended.assignment is None
    assert [entry.target for entry in ended.phase_log] == [
        Phase.PENDING_STOPPER,
        Phase.CONDOR_COMPLETE,
    ]
    assert ended.phase_log[-1].cause.context == NEVER_SUBMITTED


def test_stopping_what_was_pushed_is_left_to_its_agent_even_without_a_cluster() -> None:
    pushed = a_taskforce(phase=Phase.PENDING_STARTER, attempt=1, assigned_session=1)

    stopping = stop(pushed, _CAUSE, NOW)

    assert stopping.phase is Phase.PENDING_STOPPER
    assert (stopping.assignment, stopping.assignment_due) == ("stop", NOW)
    assert stopping.assigned_session is None


def test_a_second_stop_is_refused_and_leaves_the_first_one_with_its_agent() -> None:
    stopping = replace(
        stop(a_taskforce(phase=Phase.CONDOR_SUBMIT, attempt=1, cluster_id=7), _CAUSE, NOW),
        assigned_session=3,
        assigned_time=NOW,
    )

    again = stop(stopping, _CAUSE, NOW + timedelta(seconds=1))

    assert not again.phase_log[-1].was_successful
    assert replace(again, phase_log=stopping.phase_log) == stopping


def test_failures_of_the_infrastructure_back_off_and_are_not_counted_as_refusals() -> None:
    taskforce = a_taskforce(phase=Phase.PENDING_STARTER, attempt=1, assignment="start")

    waits = []
    for _ in range(12):
        failed = reports.submission_failed(taskforce, 1, _CAUSE, NOW, is_refusal=False)
        assert failed is not None
        assert failed.assignment_due is not None
        waits.append((failed.assignment_due - NOW).total_seconds())
        taskforce = failed

    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == 120
    assert taskforce.phase is Phase.PENDING_STARTER
    assert taskforce.n_refusals == 0


def test_what_could_not_be_submitted_says_why_while_it_waits() -> None:
    taskforce = a_taskforce(phase=Phase.PENDING_STARTER, attempt=1, assignment="start")
    away = Cause("tms sub", "HTCondor: the schedd is away" + "!" * 1000)

    failed = reports.submission_failed(taskforce, 1, away, NOW, is_refusal=False)

    assert failed is not None
    assert failed.waiting_reason.startswith(
        "another attempt; the last one failed: HTCondor: the schedd is away!"
    )
    assert len(failed.waiting_reason) < 400
    submitted = reports.submitted(failed, reports.SubmitReport(7, {}, "log"), _CAUSE, NOW)
    assert submitted is not None
    assert submitted.waiting_reason == ""


def test_the_third_refusal_is_final_and_says_why() -> None:
    taskforce = a_taskforce(phase=Phase.PENDING_STARTER, attempt=1, assignment="start")
    cause = Cause("tms sub", "bad requirements")

    for _ in range(MAX_REFUSALS):
        refused = reports.submission_failed(taskforce, 1, cause, NOW, is_refusal=True)
        assert refused is not None
        taskforce = refused

    assert taskforce.phase is Phase.FAILED
    assert taskforce.assignment is None
    assert [entry.target for entry in taskforce.phase_log] == [
        Phase.CONDOR_SUBMIT,
        Phase.CONDOR_SUBMIT,
        Phase.FAILED,
    ]
    assert taskforce.phase_log[-1].cause.context == "bad requirements"


def test_idle_is_what_was_asked_for_less_running_held_and_ended() -> None:
    statuses = {
        "IDLE": {"": 3},
        "RUNNING": {"Tasking": 2, "Done": 1},
        "HELD: out of memory": {"": 1},
        "COMPLETED": {"Done": 1},
    }

    assert count_idle(10, statuses) == 5
    assert count_idle(2, statuses) == 0


class PhaseMachine(RuleBasedStateMachine):
    """One taskforce, its agent and whoever else may report, in any order.

    Clusters that are accepted are the taskforce's; those that are refused are strays, which the
    storage has stopped. Pushes are counted as the storage counts them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taskforce = a_taskforce()
        self.now = NOW
        self.n_refusals = 0
        self.strays: set[int] = set()
        self.accepted: set[int] = set()

    def _take(self, after: Taskforce | None, *, logs: int = 0) -> None:
        """Go on with what a function returned; None (stale) changes nothing."""
        before = self.taskforce
        if after is None:
            return
        assert len(after.phase_log) >= len(before.phase_log) + logs
        assert after.phase_log[: len(before.phase_log)] == before.phase_log
        if after.phase is not before.phase:
            entered = after.phase_log[-1]
            assert entered.was_successful
            assert entered.target is after.phase
        if before.phase is Phase.CONDOR_COMPLETE:
            assert after.phase is Phase.CONDOR_COMPLETE
            assert replace(after, phase_log=()) == replace(before, phase_log=())
        if before.cluster_id is not None:
            assert after.cluster_id == before.cluster_id
        if after.phase is Phase.FAILED and before.phase is not Phase.FAILED:
            assert self.n_refusals == MAX_REFUSALS
        self.taskforce = after

    @rule()
    def clock(self) -> None:
        self.now += timedelta(seconds=1)

    @rule(phase=st.sampled_from([Phase.PRE_LAUNCH, Phase.PENDING_STARTER]))
    def advance(self, phase: Phase) -> None:
        self._take(advance(self.taskforce, phase, _CAUSE, self.now), logs=1)

    @rule()
    def stop(self) -> None:
        self._take(stop(self.taskforce, _CAUSE, self.now), logs=1)

    @precondition(lambda self: self.taskforce.assignment)
    @rule(session=st.integers(1, 3))
    def push(self, session: int) -> None:
        self.taskforce = replace(
            self.taskforce,
            attempt=self.taskforce.attempt + 1,
            assigned_session=session,
            assigned_time=self.now,
        )

    @rule(cluster_id=st.integers(1, 3))
    def submitted(self, cluster_id: int) -> None:
        report = SubmitReport(cluster_id, {}, "")
        after = reports.submitted(self.taskforce, report, _CAUSE, self.now)
        if after is None:
            self.strays.add(cluster_id)
        else:
            self.accepted.add(cluster_id)
        self._take(after)

    @rule(behind=st.integers(0, 1), is_refusal=st.booleans())
    def submission_failed(self, behind: int, is_refusal: bool) -> None:
        after = reports.submission_failed(
            self.taskforce,
            self.taskforce.attempt - behind,
            _CAUSE,
            self.now,
            is_refusal=is_refusal,
        )
        if after is not None:
            self.n_refusals += is_refusal
        self._take(after, logs=1)

    @rule(behind=st.integers(0, 1), cluster_id=st.none() | st.integers(1, 3))
    def removed(self, behind: int, cluster_id: int | None) -> None:
        attempt = self.taskforce.attempt - behind
        self._take(reports.removed(self.taskforce, attempt, cluster_id, _CAUSE, self.now))

    @rule(behind=st.integers(0, 1))
    def removal_failed(self, behind: int) -> None:
        attempt = self.taskforce.attempt - behind
        self._take(reports.removal_failed(self.taskforce, attempt, _CAUSE, self.now), logs=1)

    @rule(cluster_id=st.integers(1, 3))
    def completed(self, cluster_id: int) -> None:
        after = reports.completed(self.taskforce, cluster_id, (), self.now, _CAUSE, self.now)
        if after is not None:
            self.accepted.add(cluster_id)
        self._take(after)

    @invariant()
    def has_never_two_clusters(self) -> None:
        assert len(self.accepted) <= 1

    @invariant()
    def forgets_no_cluster(self) -> None:
        assert self.accepted <= {self.taskforce.cluster_id}
        if self.taskforce.cluster_id is not None and not self.taskforce.phase.has_ended:
            # A cluster that lives is run, or about to be stopped; nothing starts beside it.
            assert self.taskforce.phase in (
                Phase.CONDOR_SUBMIT,
                Phase.PENDING_STOPPER,
                Phase.CONDOR_RM,
            )

    @invariant()
    def offers_what_the_phase_asks_for(self) -> None:
        expected = {Phase.PENDING_STARTER: "start", Phase.PENDING_STOPPER: "stop"}
        assert self.taskforce.assignment == expected.get(self.taskforce.phase)
        assert (self.taskforce.assignment_due is None) == (self.taskforce.assignment is None)
        if self.taskforce.assignment is None:
            assert self.taskforce.assigned_session is None

    @invariant()
    def counts_only_refusals(self) -> None:
        assert self.taskforce.n_refusals == self.n_refusals
        assert (self.n_refusals == MAX_REFUSALS) == (self.taskforce.phase is Phase.FAILED)

    @invariant()
    def counts_idle_workers_only_while_they_wait_for_slots(self) -> None:
        launched = self.taskforce.phase in (Phase.PENDING_STARTER, Phase.CONDOR_SUBMIT)
        assert self.taskforce.n_idle == (self.taskforce.n_workers if launched else 0)


TestPhaseMachine = PhaseMachine.TestCase
TestPhaseMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
