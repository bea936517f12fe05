"""What a change gives which loop to do: the topics that a commit wakes.

Derived from the values themselves, so that no writer can forget to wake a loop.
"""

from __future__ import annotations

from typing import Final, NewType

from wms_grpc.domain.model import Phase, Taskforce, Workflow, WorkflowState

__all__ = [
    "ACTIVATION",
    "CLOSING",
    "LAUNCH_ANYWHERE",
    "OFFERED",
    "RETIREMENT",
    "Topic",
    "assign_topic",
    "launch_topic",
    "topics_of_taskforce",
    "topics_of_workflow",
]

Topic = NewType("Topic", str)

ACTIVATION: Final = Topic("activation")
OFFERED: Final = Topic("offered")
CLOSING: Final = Topic("closing")
RETIREMENT: Final = Topic("retirement")
LAUNCH_ANYWHERE: Final = Topic("launch")

_LAUNCHED = (Phase.PENDING_STARTER, Phase.CONDOR_SUBMIT)


def launch_topic(location: str) -> Topic:
    """There is something to launch at a location, or room for it."""
    return Topic(f"launch:{location}")


def assign_topic(schedd: str) -> Topic:
    """There is something to tell a schedd's agent."""
    return Topic(f"assign:{schedd}")


def topics_of_taskforce(after: Taskforce, before: Taskforce | None) -> set[Topic]:
    """Return what a taskforce's change gives to do."""
    topics: set[Topic] = set()
    has_left = before and before.phase in _LAUNCHED and after.phase not in _LAUNCHED
    if after.phase is Phase.PRE_LAUNCH or has_left:
        topics.add(launch_topic(after.cluster_location))
    is_answered = before and before.assigned_session is not None and not after.assignment
    if is_answered or (after.assignment and after.assigned_session is None):
        # An answer makes room for what waits while the agent has as much as it may have.
        topics.add(assign_topic(after.schedd))
    return topics


def topics_of_workflow(after: Workflow, before: Workflow) -> set[Topic]:
    """Return what a workflow's change gives to do."""
    topics: set[Topic] = set()
    if after.activation_due and after.activation_due != before.activation_due:
        topics.add(ACTIVATION)
    if after.release_due and after.release_due != before.release_due:
        topics.add(RETIREMENT)
    if after.state is WorkflowState.ACTIVE and before.state is WorkflowState.PAUSED:
        topics.add(LAUNCH_ANYWHERE)
    return topics
