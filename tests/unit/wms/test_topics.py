"""What a change gives which loop to do."""

from __future__ import annotations

from wms_values import a_taskforce

from wms_grpc.domain.model import Phase
from wms_grpc.domain.topics import assign_topic, topics_of_taskforce

WAITS = a_taskforce(phase=Phase.PENDING_STARTER, assignment="start")
PUSHED = a_taskforce(phase=Phase.PENDING_STARTER, assignment="start", assigned_session=7)
ANSWERED = a_taskforce(phase=Phase.CONDOR_SUBMIT, cluster_id=1)


def test_what_is_to_be_told_wakes_the_agents_stream_until_it_is_told() -> None:
    assert assign_topic("sub") in topics_of_taskforce(WAITS, None)
    assert topics_of_taskforce(PUSHED, WAITS) == set()


def test_an_answer_wakes_the_stream_since_it_makes_room_for_what_waits() -> None:
    assert topics_of_taskforce(ANSWERED, PUSHED) == {assign_topic("sub")}
    assert topics_of_taskforce(ANSWERED, ANSWERED) == set()
