from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wms_grpc.domain.filters import (
    TASK_DIRECTIVES,
    TASKFORCES,
    WATCHED_TASKFORCES,
    WORKFLOWS,
    FilterError,
    matches,
    parse_filter,
)
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.domain.model import Workflow, WorkflowState
from wms_grpc.storage.encoded_revisions import filter_attributes

WORKFLOW = Workflow(
    workflow_id=WorkflowId("WF-69231c00-0badcafe"),
    owner="ada",
    name="muon_tracks 100%",
    labels={"team": "x", "stage-2": "*"},
    priority=50,
    state=WorkflowState.ACTIVE,
    create_time=datetime(2026, 11, 23, 12, tzinfo=UTC),
    revision=3,
    n_tasks=1,
    n_taskforces=1,
    n_unended=1,
)
ATTRIBUTES = filter_attributes(WORKFLOW)


def lets_through(text: str) -> bool:
    return matches(parse_filter(text, WORKFLOWS), ATTRIBUTES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n ",
        "state = ACTIVE",
        'state = "ACTIVE"',
        "state:ACTIVE",
        "state != PENDING",
        "priority >= 50 AND priority <= 50",
        "priority>-1",
        "owner = 'ada'",
        "owner < b AND owner > Z",
        "workflow_id = WF-69231c00-0badcafe",
        "create_time = 2026-11-23T13:00:00+01:00",
        "create_time < 2026-11-23T12:00:00.000001Z",
        'labels.team = "x"',
        "labels.team:x labels:team labels.team:*",
        "labels:*",
        'labels."team" = x',
        "labels.stage-2:*",
        "end_time != 2026-11-23T12:00:00Z",
        "NOT end_time:* -end_time < 2026-11-23T12:00:00Z -end_time > 2026-11-23T12:00:00Z",
        "labels.none != x AND NOT labels.none < x",
    ],
)
def test_what_lets_the_workflow_through(text: str) -> None:
    assert lets_through(text)


@pytest.mark.parametrize(
    "text",
    [
        "state = PENDING",
        "priority > 50",
        "owner = ADA",
        "owner:ad",
        "labels.team = y",
        "labels:x",
        "labels.none = x",
        "end_time:*",
        "end_time > 2000-01-01T00:00:00Z OR end_time <= 2000-01-01T00:00:00Z",
        "NOT state = ACTIVE",
        "-(state = ACTIVE)",
    ],
)
def test_what_keeps_the_workflow_out(text: str) -> None:
    assert not lets_through(text)


def test_or_binds_tighter_than_and() -> None:
    assert not lets_through("owner = bob AND owner = bob OR owner = ada")
    assert lets_through("(owner = bob AND owner = bob) OR owner = ada")
    assert lets_through("owner = bob OR owner = ada AND state = ACTIVE")


def test_what_stands_side_by_side_is_joined_by_and() -> None:
    assert lets_through("owner = ada state = ACTIVE")
    assert not lets_through("owner = ada state = PENDING")
    # The sequence binds less tightly than OR, as with AND.
    assert not lets_through("owner = bob owner = bob OR owner = ada")


@pytest.mark.parametrize(
    ("pattern", "is_like"),
    [
        ("muon*", True),
        ("*", True),
        ("*100%", True),
        ("*tracks*", True),
        ("m*n*_*%", True),
        ("muon?tracks*", False),
        ("*100_", False),
        ("muon", False),
        ("muon_tracks 100%*%", False),
    ],
)
def test_a_star_stands_for_anything_in_equality(pattern: str, is_like: bool) -> None:
    assert lets_through(f'name = "{pattern}"') is is_like
    assert lets_through(f'name != "{pattern}"') is not is_like


def test_an_escaped_star_is_a_star() -> None:
    assert lets_through(r'labels.stage-2 = "\*"')
    assert not lets_through(r'labels.team = "\*"')
    assert lets_through(r"labels.team = '*'")


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("prioritty > 3", 0, "did you mean 'priority'?"),
        ("state = ACTIVE AND colour = red", 19, "there are workflow_id, owner"),
        ("priority > many", 11, "priority is an integer, not 'many'"),
        ("priority = 9223372036854775808", 11, "an integer"),
        ("priority = 1.5", 11, "an integer"),
        ("state = active", 8, "PENDING, ACTIVE"),
        ("state > ACTIVE", 6, "has no order"),
        ("create_time > yesterday", 14, "2026-11-23T12:00:00Z"),
        ("create_time > 2026-11-23T12:00:00", 14, "a time"),
        ("create_time > 2026-13-23T12:00:00Z", 14, "a time"),
        ("create_time > 0001-01-01T00:00:00+01:00", 14, "a time"),
        ("labels = x", 7, "labels.<key>"),
        ("labels.a.b = x", 9, "nothing below 'labels.a'"),
        ("owner.first = x", 6, "nothing below 'owner'"),
        (r'owner = "\d"', 8, "unknown escape"),
        ("owner =", 7, "expected a value, found the end"),
        ("owner", 5, "expected one of = !="),
        ("owner = AND state = ACTIVE", 8, "expected a value"),
        ("(owner = x", 10, "expected ')'"),
        ("owner = x)", 9, "found ')'"),
        ('owner = "x', 8, "closing quote"),
        ("x", 1, "expected one of"),
        ("owner = x AND", 13, "expected a field"),
        ("owner = x\nAND state ~ y", 20, "line 2, column 11"),
        ("owner = \0", 8, "character"),
    ],
)
def test_an_error_says_what_is_wrong_and_where(text: str, position: int, words: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(text, WORKFLOWS)
    assert caught.value.position == position
    assert words in str(caught.value)
    assert f"at position {position}" in str(caught.value)


def test_each_resource_has_its_own_fields() -> None:
    assert parse_filter("is_done = true n_workers > 3", TASK_DIRECTIVES)
    assert parse_filter("phase = PENDING_STARTER AND priority > 50 cluster_id:*", TASKFORCES)
    with pytest.raises(FilterError, match="true or false"):
        parse_filter("is_done = yes", TASK_DIRECTIVES)
    with pytest.raises(FilterError, match="no field 'n_workers'"):
        parse_filter("n_workers > 3", WATCHED_TASKFORCES)


def test_a_filter_is_bounded() -> None:
    assert parse_filter(" ".join(["priority = 1"] * 256), WORKFLOWS)
    with pytest.raises(FilterError, match="more than 256 comparisons"):
        parse_filter(" ".join(["priority = 1"] * 257), WORKFLOWS)
    with pytest.raises(FilterError, match="longer than 8192 bytes"):
        parse_filter(f'name = "{"ä" * 4096}"', WORKFLOWS)
    deep = "(" * 16 + "priority = 1" + ")" * 16
    assert parse_filter(deep, WORKFLOWS).canonical == "priority = 1"
    with pytest.raises(FilterError, match="more than 16 levels") as caught:
        parse_filter(f"({deep})", WORKFLOWS)
    assert caught.value.position == 16
    assert lets_through(f'name != "{"(" * 100}"')


def test_a_pattern_cannot_take_long() -> None:
    stars = parse_filter(f'name = "{"a*" * 1000}b"', WORKFLOWS)
    began = time.perf_counter()
    assert not matches(stars, {"name": "a" * 100_000})
    assert time.perf_counter() - began < 1


def test_spelling_alone_makes_no_other_filter() -> None:
    plain = parse_filter("owner=ada AND -labels.team:x OR state:ACTIVE", WORKFLOWS).canonical
    spaced = parse_filter(
        "owner = 'ada'  (NOT labels.\"team\" = \"x\" OR (state = 'ACTIVE'))", WORKFLOWS
    ).canonical
    assert plain == spaced
    assert parse_filter(plain, WORKFLOWS).canonical == plain
    assert plain != parse_filter("owner=ada AND labels.team:x OR state:ACTIVE", WORKFLOWS).canonical


@given(
    st.text(alphabet="ab*\\\"'%_ (", max_size=8).filter(lambda text: "\0" not in text),
    st.sampled_from(["=", "!=", "<", ">="]),
)
def test_the_canonical_text_says_the_same(value: str, sign: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    once = parse_filter(f'name {sign} "{quoted}"', WORKFLOWS)
    again = parse_filter(once.canonical, WORKFLOWS)
    assert again == once
    assert again.canonical == once.canonical


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_a_filter_error(text: str) -> None:
    position = 0
    try:
        parse_filter(text, WORKFLOWS)
    except FilterError as error:
        position = error.position
    assert 0 <= position <= len(text)
