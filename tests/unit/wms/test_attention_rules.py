"""What a workflow's user is told to look at."""

from __future__ import annotations

from typing import Any

import pytest
from wms_values import NOW, WORKFLOW, a_taskforce

from wms_grpc.domain.attention import (
    MOST_SENTENCES,
    Crew,
    DeadLetters,
    Situation,
    Task,
    attention,
    is_held,
    may_change,
)
from wms_grpc.domain.ids import TaskforceId, TaskId
from wms_grpc.domain.model import Phase, Workflow, WorkflowState

COPY = Task(TaskId("TK-1"), "copy")
HELD = {"HELD: no input (code 13, subcode 2)": {"": 2}}


def a_situation(**fields: Any) -> Situation:
    return Situation(**{"has_ended": False, "is_held_by_user": False} | fields)


def a_crew(number: int = 0, **fields: Any) -> Crew:
    return Crew(TaskforceId(f"TF-{number}"), COPY.task_id, **fields)


def a_workflow(*attention: str) -> Workflow:
    return Workflow(
        WORKFLOW, "ada", "", {}, 50, WorkflowState.ACTIVE, NOW, 1, 1, 1, 1, attention=attention
    )


def test_a_task_with_workers_gives_nothing_to_look_at() -> None:
    assert attention(a_situation(tasks=[COPY], crews=[a_crew()])) == ()


def test_a_task_that_is_not_done_and_has_no_worker_left_is_named() -> None:
    (sentence,) = attention(a_situation(tasks=[COPY]))
    assert sentence == ("task copy has no worker left and may have events; add workers, or finish")


def test_a_task_all_of_whose_workers_are_held_is_named_with_the_most_common_reason() -> None:
    other = {"HELD: too large (code 34, subcode 0)": {"": 1}, "COMPLETED": {"": 9}}
    crews = [a_crew(0, held=other), a_crew(1, held=HELD)]
    assert attention(a_situation(tasks=[COPY], crews=crews)) == (
        "all workers of task copy are held: no input (code 13, subcode 2)",
    )


def test_workers_that_are_held_without_a_reason_are_told_of_without_one() -> None:
    crews = [a_crew(held={"HELD": {"": 1}})]
    assert attention(a_situation(tasks=[COPY], crews=crews)) == (
        "all workers of task copy are held",
    )


@pytest.mark.parametrize(
    "situation",
    [
        a_situation(tasks=[COPY], crews=[a_crew(0, held=HELD), a_crew(1)]),
        a_situation(tasks=[COPY], crews=[a_crew(held=HELD)], is_held_by_user=True),
        a_situation(tasks=[], crews=[a_crew(held=HELD)]),
        a_situation(tasks=[COPY], crews=[a_crew(held=HELD)], has_ended=True),
    ],
    ids=["another taskforce works", "the user holds them", "the task is done", "it has ended"],
)
def test_held_workers_that_need_nobody_are_not_told_of(situation: Situation) -> None:
    assert attention(situation) == ()


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_removal_that_fails_is_named_with_its_last_error(has_ended: bool) -> None:
    crews = [a_crew(removal_error="schedd is full")]
    assert attention(a_situation(crews=crews, has_ended=has_ended)) == (
        "taskforce TF-0 cannot be removed, and it is tried again: schedd is full",
    )


@pytest.mark.parametrize(("number", "words"), [(1, "1 dead letter"), (3, "3 dead letters")])
def test_dead_letters_are_counted(number: int, words: str) -> None:
    assert attention(a_situation(dead_letters=[DeadLetters("input", number)])) == (
        f"queue input has {words}; list them, and put them back or leave them",
    )


@pytest.mark.parametrize(("has_ended", "is_drained"), [(False, True), (True, False)])
def test_dead_letters_that_cannot_be_put_back_are_told_of_as_such(
    has_ended: bool, is_drained: bool
) -> None:
    dead = [DeadLetters("input", 3, is_drained=is_drained)]
    assert attention(a_situation(dead_letters=dead, has_ended=has_ended)) == (
        "queue input ended with 3 dead letters; list them",
    )


def test_there_is_an_end_to_what_is_told() -> None:
    crews = [a_crew(number, removal_error="e" * 10_000) for number in range(100)]
    sentences = attention(a_situation(crews=crews))
    assert len(sentences) == MOST_SENTENCES
    assert sentences[-1] == "and 81 more of such"
    assert max(map(len, sentences)) < 500


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ({}, False),
        ({"HELD": {"": 1}}, True),
        ({"HELD: a": {"": 1}, "HELD: b": {"x": 1}}, True),
        ({"HELD: a": {"": 1}, "COMPLETED": {"": 1}, "REMOVED": {"": 1}}, True),
        ({"HELD: a": {"": 1}, "RUNNING": {"Tasking": 1}}, False),
        ({"HELD: a": {"": 1}, "IDLE": {"": 1}}, False),
        ({"HELD: a": {"": 1}, "RUNNING": {"Tasking": 0}}, True),
        ({"HELD: a": {"": 0}}, False),
        ({"COMPLETED": {"": 1}}, False),
    ],
)
def test_a_taskforce_is_held_when_no_other_worker_lives(
    statuses: dict[str, dict[str, int]], expected: bool
) -> None:
    assert is_held(statuses) is expected


def test_a_report_is_looked_into_where_a_removal_failed_or_something_may_be_over() -> None:
    runs = a_taskforce(phase=Phase.CONDOR_SUBMIT)
    stops = a_taskforce(phase=Phase.PENDING_STOPPER)
    fails = a_taskforce(phase=Phase.PENDING_STOPPER, n_failures=1)
    gone = a_taskforce(phase=Phase.CONDOR_RM)
    assert may_change(a_workflow(), stops, fails)
    assert may_change(a_workflow("it cannot be removed"), fails, gone)
    assert not may_change(a_workflow(), runs, stops)
    assert not may_change(a_workflow("something"), runs, runs)
