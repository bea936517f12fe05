"""Resume tokens: what they carry, and whom they are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wms_grpc.api.resume_tokens import ResumePlace, Tokens
from wms_grpc.domain.errors import InvalidSubmission, PositionLost
from wms_grpc.storage.feed import FeedHead

TOKENS = Tokens("WatchWorkflows", "priority > 5")
PLACES = st.builds(
    ResumePlace,
    epoch=st.text(max_size=32),
    position=st.integers(0, 2**63 - 1),
    contained=st.frozensets(st.tuples(st.text(max_size=20), st.integers(1, 2**63 - 1))),
)


@given(PLACES)
def test_a_token_brings_back_its_place(place: ResumePlace):
    assert TOKENS.decode(TOKENS.encode(place).decode()) == place


@given(st.one_of(st.text(), st.binary().map(lambda b: b.decode("latin-1"))))
def test_what_is_no_token_is_refused(text: str):
    with pytest.raises(InvalidSubmission) as refused:
        TOKENS.decode(text)
    assert [v.path for v in refused.value.violations] == ["resume_token"]


@pytest.mark.parametrize(
    "other", [Tokens("WatchTaskforces", "priority > 5"), Tokens("WatchWorkflows", "")]
)
def test_a_token_of_another_query_is_refused(other: Tokens):
    with pytest.raises(InvalidSubmission):
        TOKENS.decode(other.encode(ResumePlace("e", 1, frozenset())).decode())


@pytest.mark.parametrize(("position", "is_kept"), [(4, False), (5, True), (9, True), (10, False)])
def test_a_place_is_good_between_what_was_compacted_and_the_last_position(position, is_kept):
    head = FeedHead("e", last_position=9, compacted_position=5)
    place = ResumePlace("e", position, frozenset())
    if is_kept:
        place.check(head)
    else:
        with pytest.raises(PositionLost):
            place.check(head)
    with pytest.raises(PositionLost):
        ResumePlace("other", 7, frozenset()).check(head)
