"""Field rules: what each one says, where it stands in a path, and what it costs."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
from compiled_protos import compile_proto
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from ewms_rpc.rules import MAX_VIOLATIONS, validator_for
from ewms_rpc.value_rules import UnsuitableRule

FILE = compile_proto(Path(__file__).with_name("cases.proto"))
MESSAGES: Any = {
    name: GetMessageClass(descriptor) for name, descriptor in FILE.message_types_by_name.items()
}
Everything, Child, Tree, Holder = (
    MESSAGES[name] for name in ("Everything", "Child", "Tree", "Holder")
)
violations_of = validator_for(Everything)


def sound(**changes: Any) -> Any:
    """A message that keeps every rule, but for the changes."""
    fields = {
        "name": "name",
        "count": 1,
        "colour": 1,
        "aliases": ["a"],
        "child": Child(),
        "text": "",
        **changes,
    }
    return Everything(**fields)


def found(message: Any) -> dict[str, str]:
    return {violation.path: violation.description for violation in violations_of(message)}


def test_a_sound_message_has_no_violations():
    assert found(sound()) == {}


CASES = [
    ({"name": ""}, {"name": "must be set"}),
    ({"name": "x"}, {"name": "must have at least 2 characters, has 1"}),
    ({"name": "éééééé"}, {"name": "must have at most 5 characters, has 6"}),
    ({"name": "ééééé"}, {}),
    ({"slug": ""}, {}),
    ({"slug": "ab1"}, {}),
    ({"slug": "a"}, {"slug": "must have at least 2 characters, has 1"}),
    ({"slug": "ab\n"}, {"slug": "must be lower-case letters and digits"}),
    ({"slug": "ab٣"}, {"slug": "must be lower-case letters and digits"}),
    ({"note": ""}, {"note": "must have at least 1 characters, has 0"}),
    ({"priority": 0}, {}),
    ({"priority": -1}, {"priority": "must be from 0 to 100"}),
    ({"priority": 101}, {"priority": "must be from 0 to 100"}),
    ({"count": 0}, {"count": "must be at least 1"}),
    ({"share": 1.5}, {"share": "must be at most 1"}),
    ({"share": math.nan}, {"share": "must be at most 1"}),
    ({"colour": 0}, {"colour": "must be set"}),
    ({"colour": 7}, {"colour": "must be a value of ewms_rpc_tests.cases.Colour"}),
    ({"key": b"12345"}, {"key": "must have at most 4 bytes, has 5"}),
    ({"aliases": []}, {"aliases": "must have at least 1 items, has 0"}),
    ({"aliases": list("abcd")}, {"aliases": "must have at most 3 items, has 4"}),
    ({"aliases": list("aba")}, {"aliases[2]": "must not be there twice: the same as aliases[0]"}),
    ({"aliases": ["a", ""]}, {"aliases[1]": "must have at least 1 characters, has 0"}),
    ({"labels": {"": "1"}}, {'labels[""]': "must have at least 1 characters, has 0"}),
    ({"labels": {'a"b': "1234"}}, {'labels["a\\"b"]': "must have at most 3 characters, has 4"}),
    ({"labels": dict.fromkeys("abc", "")}, {"labels": "must have at most 2 entries, has 3"}),
    ({"child": None}, {"child": "must be set"}),
    ({"child": Child(size=11)}, {"child.size": "must be at most 10"}),
    ({"child": Child(child=Child(size=11))}, {"child.child.size": "must be at most 10"}),
    (
        {"children": [Child(), Child(child=Child(size=11))]},
        {"children[1].child.size": "must be at most 10"},
    ),
    ({"numbered": {7: Child(size=11)}}, {"numbered[7].size": "must be at most 10"}),
    ({"text": None}, {"kind": "one of text, other must be set"}),
    ({"text": None, "other": Child(size=11)}, {"other.size": "must be at most 10"}),
]


@pytest.mark.parametrize(("changes", "expected"), CASES, ids=[str(case[0]) for case in CASES])
def test_each_rule_at_each_place(changes, expected):
    assert found(sound(**changes)) == expected


def test_a_text_that_postgresql_cannot_keep_is_a_violation():
    (violation,) = violations_of(sound(name="na\0me"))

    assert (violation.path, violation.description) == ("name", "must not hold the character NUL")


def test_every_violation_is_found_in_the_order_of_the_fields():
    message = Everything(slug="A", children=[Child(size=11)], labels={"": ""})
    assert list(found(message)) == [
        "name",
        "slug",
        "count",
        "colour",
        "aliases",
        'labels[""]',
        "child",
        "children[0].size",
        "kind",
    ]


def test_a_message_that_contains_itself_is_checked_to_its_depths():
    tree = Tree(leaf=MESSAGES["Leaf"](name="top"))
    tree.branches.add().branches.add().leaf.grown.leaf.SetInParent()

    paths = [violation.path for violation in validator_for(Tree)(tree)]

    assert paths == [
        "branches[0].branches[0].leaf.grown.leaf.name",
        "branches[0].branches[0].leaf.name",
    ]


def test_as_deep_as_protobuf_parses_is_as_deep_as_rules_go():
    innermost = tree = Tree()
    for _ in range(98):
        innermost = innermost.branches.add()
    innermost.leaf.SetInParent()

    (violation,) = validator_for(Tree)(Tree.FromString(tree.SerializeToString()))

    assert violation.path.count("branches[0]") == 98


def test_what_has_no_rules_below_it_is_not_looked_at():
    class Untouchable:
        def __getattr__(self, name):
            raise AssertionError(f"{name} was looked at")

    assert validator_for(MESSAGES["Free"])(Untouchable()) == []


def test_a_rule_that_does_not_suit_the_type_is_a_fault_of_the_contract():
    with pytest.raises(UnsuitableRule, match=r"Unsuitable\.number cannot have the rule pattern"):
        validator_for(MESSAGES["Unsuitable"])


def test_the_search_ends_when_nobody_reads_on():
    message = sound(children=[Child(size=11)] * (2 * MAX_VIOLATIONS))
    assert len(violations_of(message)) == MAX_VIOLATIONS


# A NUL, which PostgreSQL cannot keep, more often than chance has it.
names = st.text(max_size=7) | st.text(alphabet="a\0", max_size=7)


@given(
    name=names,
    aliases=st.lists(st.text(alphabet="ab", max_size=5), max_size=5),
    sizes=st.lists(st.integers(-20, 20), max_size=5),
    labels=st.dictionaries(names, names, max_size=4),
    priority=st.none() | st.integers(-200, 200),
)
def test_the_compiled_rules_agree_with_the_rules_as_they_read(
    name, aliases, sizes, labels, priority
):
    message = sound(
        name=name,
        aliases=aliases,
        children=[Child(size=size) for size in sizes],
        labels=labels,
        priority=priority,
    )

    expected = set()
    if not 2 <= len(name) <= 5 or "\0" in name:
        expected.add("name")
    if not 1 <= len(aliases) <= 3:
        expected.add("aliases")
    for index, alias in enumerate(aliases):
        if alias in aliases[:index] or not 1 <= len(alias) <= 4:
            expected.add(f"aliases[{index}]")
    expected |= {f"children[{index}].size" for index, size in enumerate(sizes) if size > 10}
    if len(labels) > 2:
        expected.add("labels")
    if priority is not None and not 0 <= priority <= 100:
        expected.add("priority")
    actual = {path for path in found(message) if not path.startswith("labels[")}
    bad_entries = sum(
        not key or len(value) > 3 or "\0" in key + value for key, value in labels.items()
    )

    assert actual == expected
    assert len(set(found(message)) - actual) == bad_entries


@given(st.binary(max_size=200))
def test_whatever_parses_is_checked_without_raising(payload):
    try:
        message = Everything.FromString(payload)
    except DecodeError:
        return
    before = message.SerializeToString(deterministic=True)
    violations_of(message)
    assert message.SerializeToString(deterministic=True) == before


def test_twenty_fields_cost_less_than_fifty_microseconds():
    message = sound(
        slug="ab12",
        note="note",
        priority=50,
        share=0.5,
        key=b"1234",
        aliases=["a", "b", "c"],
        labels={"a": "1", "b": "2"},
        child=Child(size=1, child=Child(size=2)),
        children=[Child(size=1), Child(size=2), Child(size=3)],
        numbered={1: Child(size=1)},
    )
    best = math.inf
    for _ in range(50):
        started = time.perf_counter()
        for _ in range(20):
            violations_of(message)
        best = min(best, (time.perf_counter() - started) / 20)

    assert best < 50e-6, f"{best * 1e6:.1f} µs"
