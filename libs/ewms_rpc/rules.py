"""Field rules: the options of `ewms/rules/v1/rules.proto`, compiled once for each message type.

Guarantees that every violation is found and named by its path in proto field names
(`tasks[3].worker_config.worker_memory`, `labels["team"]`), and that what has no rules below it
costs nothing. Must never change a message, and never raise for one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from operator import attrgetter
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message

from ewms.rules.v1 import rules_pb2
from ewms_rpc.details import FieldViolation
from ewms_rpc.value_rules import Explain, value_rules

__all__ = ["MAX_VIOLATIONS", "Validator", "validator_for"]

Validator = Callable[[Message], list[FieldViolation]]

# A message of 16 MiB holds millions of bad items; nobody reads on after these.
MAX_VIOLATIONS = 10_000

_Found = list[FieldViolation]
_Check = Callable[[Any, _Found], None]


def validator_for(message: type[Message] | Descriptor) -> Validator:
    """The validator of a message type.

    Parameters
    ----------
    message
        The message class or its descriptor.

    Returns
    -------
    A function from a message to its violations, in the order of the fields; empty if it is sound.
    The search ends at about `MAX_VIOLATIONS`.
    """
    descriptor = message if isinstance(message, Descriptor) else message.DESCRIPTOR
    rules = _rules_of(cast(Descriptor, descriptor))
    if not rules.bind:
        return _sound

    def validate(message: Message) -> list[FieldViolation]:
        found: list[FieldViolation] = []
        rules.check(message, found)
        return found

    return validate


def _sound(message: Message) -> list[FieldViolation]:
    return []


class _MessageRules:
    """The compiled rules of one message type; `checks` are filled in once they are needed."""

    __slots__ = ("bind", "checks")

    def __init__(self) -> None:
        self.bind = True
        self.checks: tuple[_Check, ...] = ()

    def check(self, message: Message, found: _Found) -> None:
        for check in self.checks:
            check(message, found)


_compiled: dict[Descriptor, _MessageRules] = {}


def _rules_of(descriptor: Descriptor) -> _MessageRules:
    rules = _compiled.get(descriptor)
    if rules is None:
        # Known before its fields are compiled, since a message may contain itself.
        rules = _compiled[descriptor] = _MessageRules()
        rules.bind = _binds(descriptor, set())
        if rules.bind:
            rules.checks = _compile(descriptor)
    return rules


def _binds(descriptor: Descriptor, seen: set[Descriptor]) -> bool:
    """Whether any rule stands in the message or in what it can contain."""
    if descriptor in seen:
        return False
    seen.add(descriptor)
    return (
        any(_declared(field) is not None for field in descriptor.fields)
        or any(_is_required(oneof) for oneof in descriptor.oneofs)
        or any(
            _binds(field.message_type, seen)
            for field in descriptor.fields
            if field.message_type is not None
        )
    )


def _declared(field: FieldDescriptor) -> rules_pb2.FieldRules | None:
    options = field.GetOptions()
    return options.Extensions[rules_pb2.field] if options.HasExtension(rules_pb2.field) else None


def _is_required(oneof: OneofDescriptor) -> bool:
    return bool(oneof.GetOptions().Extensions[rules_pb2.oneof_required])


def _compile(descriptor: Descriptor) -> tuple[_Check, ...]:
    checks: list[_Check] = []
    for field in descriptor.fields:
        rules = _declared(field) or rules_pb2.FieldRules()
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            checks.extend(_map_checks(field, rules))
        elif field.is_repeated:
            checks.extend(_list_checks(field, rules))
        else:
            checks.extend(_singular_checks(field, rules))
    checks.extend(_oneof_check(oneof) for oneof in descriptor.oneofs if _is_required(oneof))
    return tuple(checks)


def _oneof_check(oneof: OneofDescriptor) -> _Check:
    name = oneof.name
    words = f"one of {', '.join(field.name for field in oneof.fields)} must be set"

    def check(message: Message, found: _Found) -> None:
        if message.WhichOneof(name) is None:
            found.append(FieldViolation(name, words))

    return check


def _singular_checks(field: FieldDescriptor, rules: rules_pb2.FieldRules) -> list[_Check]:
    name, get, explain = field.name, attrgetter(field.name), value_rules(field, rules)
    child = _rules_of(field.message_type) if field.message_type is not None else None
    if child is not None:
        return _submessage_checks(name, get, child if child.bind else None, rules.required)
    if not explain and not rules.required:
        return []
    if field.has_presence:
        return [_present_check(name, get, explain, rules.required)]
    skips_empty = field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
    return [_implicit_check(name, get, explain, rules.required, skips_empty)]


def _submessage_checks(
    name: str, get: Callable[[Any], Any], child: _MessageRules | None, required: bool
) -> list[_Check]:
    def check(message: Message, found: _Found) -> None:
        if not message.HasField(name):
            if required:
                found.append(FieldViolation(name, "must be set"))
        elif child is not None:
            before = len(found)
            child.check(get(message), found)
            if len(found) != before:
                _prefix(found, before, f"{name}.")

    return [check] if child is not None or required else []


def _present_check(
    name: str, get: Callable[[Any], Any], explain: Explain | None, required: bool
) -> _Check:
    def check(message: Message, found: _Found) -> None:
        if not message.HasField(name):
            if required:
                found.append(FieldViolation(name, "must be set"))
        elif explain is not None and (words := explain(get(message))) is not None:
            found.append(FieldViolation(name, words))

    return check


def _implicit_check(
    name: str,
    get: Callable[[Any], Any],
    explain: Explain | None,
    required: bool,
    skips_empty: bool,
) -> _Check:
    def check(message: Message, found: _Found) -> None:
        value = get(message)
        if not value:
            if required:
                found.append(FieldViolation(name, "must be set"))
                return
            if skips_empty:
                return
        if explain is not None and (words := explain(value)) is not None:
            found.append(FieldViolation(name, words))

    return check


def _count_check(
    name: str, get: Callable[[Any], Any], rules: rules_pb2.FieldRules, noun: str
) -> list[_Check]:
    least = max(rules.min_items, 1 if rules.required else 0)
    most = rules.max_items if rules.HasField("max_items") else None
    if not least and most is None:
        return []

    def check(message: Message, found: _Found) -> None:
        count = len(get(message))
        if count < least:
            found.append(FieldViolation(name, f"must have at least {least} {noun}, has {count}"))
        elif most is not None and count > most:
            found.append(FieldViolation(name, f"must have at most {most} {noun}, has {count}"))

    return [check]


def _unique_check(name: str, get: Callable[[Any], Any]) -> _Check:
    def check(message: Message, found: _Found) -> None:
        items = get(message)
        if len(items) < 2 or len(set(items)) == len(items):
            return
        first: dict[Any, int] = {}
        for index, item in enumerate(items):
            if first.setdefault(item, index) != index:
                words = f"must not be there twice: the same as {name}[{first[item]}]"
                found.append(FieldViolation(f"{name}[{index}]", words))
                if len(found) >= MAX_VIOLATIONS:
                    return

    return check


def _list_checks(field: FieldDescriptor, rules: rules_pb2.FieldRules) -> list[_Check]:
    name, get = field.name, attrgetter(field.name)
    checks = _count_check(name, get, rules, "items")
    if rules.unique:
        checks.append(_unique_check(name, get))
    item_check = _item_check(field, rules.items)
    if item_check is None:
        return checks

    def check_items(message: Message, found: _Found) -> None:
        for index, item in enumerate(get(message)):
            before = len(found)
            item_check(item, found)
            if len(found) != before:
                _prefix(found, before, f"{name}[{index}]")
                if len(found) >= MAX_VIOLATIONS:
                    return

    return [*checks, check_items]


def _map_checks(field: FieldDescriptor, rules: rules_pb2.FieldRules) -> list[_Check]:
    name, get = field.name, attrgetter(field.name)
    checks = _count_check(name, get, rules, "entries")
    entry = cast(Descriptor, field.message_type).fields_by_name
    key_check = _item_check(entry["key"], rules.keys)
    value_check = _item_check(entry["value"], rules.values)
    if key_check is None and value_check is None:
        return checks

    def check_entries(message: Message, found: _Found) -> None:
        entries = get(message)
        for key in entries:
            before = len(found)
            if key_check is not None:
                key_check(key, found)
            if value_check is not None:
                value_check(entries[key], found)
            if len(found) != before:
                _prefix(found, before, f"{name}[{json.dumps(key, ensure_ascii=False)}]")
                if len(found) >= MAX_VIOLATIONS:
                    return

    return [*checks, check_entries]


def _item_check(field: FieldDescriptor, rules: rules_pb2.FieldRules) -> _Check | None:
    """The check of one item, key or value; its violations' paths begin after the brackets."""
    if field.message_type is not None:
        child = _rules_of(field.message_type)
        if not child.bind:
            return None

        def check_message(item: Message, found: _Found) -> None:
            before = len(found)
            child.check(item, found)
            if len(found) != before:
                _prefix(found, before, ".")

        return check_message
    explain, required = value_rules(field, rules), rules.required
    if explain is None and not required:
        return None

    def check_value(item: Any, found: _Found) -> None:
        if required and not item:
            found.append(FieldViolation("", "must not be empty"))
        elif explain is not None and (words := explain(item)) is not None:
            found.append(FieldViolation("", words))

    return check_value


def _prefix(found: _Found, start: int, prefix: str) -> None:
    for index in range(start, len(found)):
        violation = found[index]
        found[index] = FieldViolation(prefix + violation.path, violation.description)
