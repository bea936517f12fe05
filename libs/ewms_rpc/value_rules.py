"""The rules of a single value: lengths, patterns, ranges, enums, as one function that explains.

Guarantees words that a person can act on and that never repeat the value, which may be long or
secret. A rule that does not suit the field's type is a fault of the proto file and is raised
when it is compiled, not when a request comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from ewms.rules.v1 import rules_pb2

__all__ = ["Explain", "UnsuitableRule", "value_rules"]

# What is wrong with a value, in words; None when nothing is.
Explain = Callable[[Any], str | None]

_LENGTH_RULES = frozenset({"min_len", "max_len"})
_STRING_RULES = _LENGTH_RULES | {"pattern", "pattern_meaning"}
_RANGE_RULES = frozenset({"gte", "lte"})
_NUMBERS = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
        FieldDescriptor.CPPTYPE_FLOAT,
        FieldDescriptor.CPPTYPE_DOUBLE,
    }
)
# Rules of the field as a whole, which `rules` compiles itself.
_FIELD_RULES = frozenset(
    {"required", "min_items", "max_items", "unique", "items", "keys", "values"}
)


class UnsuitableRule(TypeError):
    """A proto file gives a field a rule that its type cannot have."""


def value_rules(field: FieldDescriptor, rules: rules_pb2.FieldRules) -> Explain | None:
    """One function for all the rules of a value, or None when no rule binds.

    Raises
    ------
    UnsuitableRule
        When a rule does not suit the type, such as `pattern` on a number.
    """
    _require_suitable(field, rules)
    explanations: list[Explain] = []
    if rules.HasField("min_len") or rules.HasField("max_len"):
        explanations.append(_length(field, rules))
    if rules.HasField("pattern"):
        explanations.append(_pattern(rules))
    if rules.HasField("gte") or rules.HasField("lte"):
        explanations.append(_range(rules))
    if rules.defined_only:
        explanations.append(_defined(field))
    if len(explanations) < 2:
        return explanations[0] if explanations else None
    return _first_of(explanations)


def _require_suitable(field: FieldDescriptor, rules: rules_pb2.FieldRules) -> None:
    suitable = _FIELD_RULES
    if field.type == FieldDescriptor.TYPE_STRING:
        suitable = suitable | _STRING_RULES
    elif field.type == FieldDescriptor.TYPE_BYTES:
        suitable = suitable | _LENGTH_RULES
    elif field.cpp_type in _NUMBERS:
        suitable = suitable | _RANGE_RULES
    elif field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        suitable = suitable | {"defined_only"}
    unsuitable = sorted({rule.name for rule, _ in rules.ListFields()} - suitable)
    if unsuitable:
        raise UnsuitableRule(f"{field.full_name} cannot have the rule {', '.join(unsuitable)}")


def _first_of(explanations: list[Explain]) -> Explain:
    def explain(value: Any) -> str | None:
        for explanation in explanations:
            words = explanation(value)
            if words is not None:
                return words
        return None

    return explain


def _length(field: FieldDescriptor, rules: rules_pb2.FieldRules) -> Explain:
    least = rules.min_len
    most = rules.max_len if rules.HasField("max_len") else (1 << 32) - 1
    is_text = field.type == FieldDescriptor.TYPE_STRING
    unit = "characters" if is_text else "bytes"

    def explain(value: Any) -> str | None:
        length = len(value)
        if least <= length <= most:
            # UTF-8 has it and PostgreSQL's text has not; nobody means it.
            return "must not hold the character NUL" if is_text and "\0" in value else None
        bound = f"at least {least}" if length < least else f"at most {most}"
        return f"must have {bound} {unit}, has {length}"

    return explain


def _pattern(rules: rules_pb2.FieldRules) -> Explain:
    # As in RE2, \d, \s and \w mean ASCII.
    matches = re.compile(rules.pattern, re.ASCII).fullmatch
    words = rules.pattern_meaning or f"must match {rules.pattern}"

    def explain(value: Any) -> str | None:
        return None if matches(value) else words

    return explain


def _range(rules: rules_pb2.FieldRules) -> Explain:
    least = rules.gte if rules.HasField("gte") else None
    most = rules.lte if rules.HasField("lte") else None
    if least is not None and most is not None:
        words = f"must be from {least} to {most}"
        return lambda value: None if least <= value <= most else words
    if least is not None:
        words = f"must be at least {least}"
        return lambda value: None if value >= least else words
    words = f"must be at most {most}"
    return lambda value: None if value <= most else words


def _defined(field: FieldDescriptor) -> Explain:
    enum = cast(EnumDescriptor, field.enum_type)
    numbers = frozenset(enum.values_by_number)
    words = f"must be a value of {enum.full_name}"
    return lambda value: None if value in numbers else words
