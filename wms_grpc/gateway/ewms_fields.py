"""Between the values of the domain and JSON objects, field by field.

The fields of the contract are those of the domain's classes, so the classes themselves say what is
read and written: a name, its type, its default. What differs is in the tables below. Names may be
given in lowerCamelCase, too; null is the same as nothing; integers may be texts, as protobuf's JSON
writes those of 64 bits. Unknown names are errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from wms_grpc.domain.model import PilotConfig, WorkerConfig
from wms_grpc.domain.nets import Arc, Place, Transition
from wms_grpc.domain.tasks import BatchWork, ContainerWork, Recovery, SuccessRule, Task, WaitWork
from wms_grpc.gateway.json_text import Json, Member, plain
from wms_grpc.gateway.json_values import (
    bool_of,
    choice_of,
    integer_of,
    list_of,
    mapping_of,
    names_of,
    number_of,
    text_map_of,
    text_of,
    unique_texts_of,
)
from wms_grpc.gateway.model import Refused
from wms_grpc.gateway.sources import Source

__all__ = ["Fields", "object_of", "read_object"]

_T = TypeVar("_T")

_RENAMED: Final = {
    "input_aliases": "input_queue_aliases",
    "output_aliases": "output_queue_aliases",
}
_LEFT_OUT: Final[Mapping[type, frozenset[str]]] = {
    Task: frozenset({"name", "work"}),
    Place: frozenset({"tokens"}),
    Transition: frozenset({"conditions"}),
}
_REQUIRED: Final = frozenset({(ContainerWork, "n_workers")})
_OPTIONAL: Final = frozenset({(ContainerWork, "output_aliases")})
_NOT_EMPTY: Final = frozenset(
    {
        (ContainerWork, "cluster_locations"),
        (ContainerWork, "input_aliases"),
        (ContainerWork, "task_image"),
    }
)
_NAMES: Final[Mapping[tuple[type, str], Literal["alias", "text"]]] = {
    (ContainerWork, "cluster_locations"): "text",
    (ContainerWork, "input_aliases"): "alias",
    (ContainerWork, "output_aliases"): "alias",
}
_EMPTY_IS_DEFAULT: Final = frozenset({WorkerConfig, PilotConfig})
_INT64: Final = (-(2**63), 2**63 - 1)
_RANGES: Final[Mapping[tuple[type, str], tuple[float, float]]] = {
    (Arc, "weight"): (1, 2**31 - 1),
    (BatchWork, "max_runtime"): (1, 31_536_000),
    (BatchWork, "n_cores"): (1, 4_096),
    (BatchWork, "n_procs"): (1, 1_000_000),
    (ContainerWork, "max_dead_letters"): (0, _INT64[1]),
    (ContainerWork, "n_workers"): (1, 1_000_000),
    (Place, "capacity"): (0, 2**31 - 1),
    (Recovery, "backoff"): (0, 31_536_000),
    (Recovery, "max_tries"): (1, 2**31 - 1),
    (SuccessRule, "at_least"): (0, 1_000_000),
    (SuccessRule, "share"): (0, 1),
    (WaitWork, "seconds"): (0, 10**10),
    (WorkerConfig, "max_worker_runtime"): (1, 31_536_000),
    (WorkerConfig, "n_cores"): (1, 4_096),
    (WorkerConfig, "priority"): (-1_000_000, 1_000_000),
}


class Fields:
    """The fields of one JSON object. Each is taken once; `done` refuses what nobody took."""

    def __init__(self, source: Source, json: Json, what: str) -> None:
        self.source = source
        self.start = json.start
        self._what = what
        self._members: dict[str, Member] = {}
        if not isinstance(json.value, dict):
            raise source.refused("WRONG_TYPE", f"{what} must be an object", json.start)
        for name, member in json.value.items():
            snake = _snake(name)
            if snake in self._members:
                message = f"{name} is given twice"
                raise source.refused("DUPLICATE_FIELD", message, member.start, name)
            self._members[snake] = member

    def take(self, name: str) -> Json | None:
        """Return a field's value; None where it is not given."""
        member = self._members.pop(name, None)
        return None if member is None or member.value.value is None else member.value

    def has(self, name: str) -> bool:
        """Whether a field is given, and not taken yet."""
        member = self._members.get(name)
        return member is not None and member.value.value is not None

    def at(self, name: str) -> int:
        """Return where a field's name stands."""
        return self._members[name].start

    def text(self, name: str) -> str:
        """Take a text; empty where it is not given."""
        value = self.take(name)
        return text_of(self.source, value, name) if value else ""

    def items(self, name: str) -> list[Json]:
        """Take a list; empty where it is not given."""
        value = self.take(name)
        return list_of(self.source, value, name) if value else []

    def number(self, name: str, low: int, high: int) -> int | None:
        """Take an integer."""
        value = self.take(name)
        return None if value is None else integer_of(self.source, value, name, (low, high))

    def done(self) -> None:
        """Raise Refused if something is left."""
        for name, member in self._members.items():
            message = f"{self._what} has no field {name[:100]}"
            raise self.source.refused("UNKNOWN_FIELD", message, member.start, name[:100])

    def missing(self, name: str) -> Refused:
        """Return the refusal of an object without a field that it needs."""
        message = f"{self._what} needs the field {name}"
        return self.source.refused("MISSING_FIELD", message, self.start, name)


def read_object(kind: type[_T], fields_of: Fields, **given: object) -> _T:
    """Take the fields of a class and return its value; `given` are set already."""
    values: dict[str, Any] = dict(given)
    for field in _plan(kind):
        name = _RENAMED.get(field.name, field.name)
        json = fields_of.take(name)
        if json is None:
            if field.is_required:
                raise fields_of.missing(name)
            if field.is_optional:
                values[field.name] = ()
            continue
        value = field.read(fields_of.source, json, name)
        if value in ("", ()) and field.is_not_empty:
            message = f"{name} must not be empty"
            raise fields_of.source.refused("MISSING_FIELD", message, json.start, name)
        if value != "" or kind not in _EMPTY_IS_DEFAULT:
            values[field.name] = value
    return kind(**values)


def object_of(value: object) -> dict[str, object]:
    """Return the JSON object of a value, without what has its default."""
    kind = type(value)
    written: dict[str, object] = {}
    for field in _plan(kind):
        inner = getattr(value, field.name)
        if inner != field.default or field.is_required:
            written[_RENAMED.get(field.name, field.name)] = _written(inner)
    return written


def _written(value: object) -> object:
    if is_dataclass(value):
        return object_of(value)
    if isinstance(value, tuple):
        return [_written(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


_Reader = Callable[[Source, Json, str], object]


class _Field:
    def __init__(self, kind: type, name: str, hint: Any, default: object) -> None:
        self.name = name
        self.is_not_empty = (kind, name) in _NOT_EMPTY
        self.is_optional = (kind, name) in _OPTIONAL
        has_default = default is not MISSING and (kind, name) not in _REQUIRED
        self.is_required = not has_default and not self.is_optional
        self.default = () if self.is_optional else default
        self.read = _reader(hint, _RANGES.get((kind, name), _INT64))
        if (kind, name) in _NAMES:
            self.read = names_of if _NAMES[kind, name] == "alias" else unique_texts_of


_PLANS: Final[dict[type, tuple[_Field, ...]]] = {}


def _plan(kind: type) -> tuple[_Field, ...]:
    plan = _PLANS.get(kind)
    if plan is None:
        plan = _PLANS[kind] = _planned(kind)
    return plan


def _planned(kind: type) -> tuple[_Field, ...]:
    hints = get_type_hints(kind)
    left_out = _LEFT_OUT.get(kind, frozenset())
    plan = []
    for field in fields(kind):
        if field.name not in left_out:
            made = field.default_factory
            default = field.default if made is MISSING else made()
            plan.append(_Field(kind, field.name, hints[field.name], default))
    return tuple(plan)


def _reader(hint: Any, limits: tuple[float, float]) -> _Reader:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType or NoneType in arguments:
        return _reader(next(part for part in arguments if part is not NoneType), limits)
    if origin is Literal:
        return lambda source, json, name: choice_of(source, json, name, arguments)
    if origin is tuple:
        return _list_reader(_reader(arguments[0], limits))
    if hint == Mapping[str, str]:
        return text_map_of
    if origin is not None:
        return _struct
    if is_dataclass(hint):
        return lambda source, json, name: _nested(cast(type, hint), source, json, name)
    if hint is float:
        return lambda source, json, name: number_of(source, json, name, limits)
    if hint is int:
        return lambda source, json, name: integer_of(source, json, name, limits)
    return bool_of if hint is bool else text_of


def _list_reader(read: _Reader) -> _Reader:
    def read_all(source: Source, json: Json, name: str) -> object:
        return tuple(read(source, item, name) for item in list_of(source, json, name))

    return read_all


def _struct(source: Source, json: Json, name: str) -> object:
    mapping_of(source, json, name)
    return plain(json)


def _nested(kind: type, source: Source, json: Json, name: str) -> object:
    inner = Fields(source, json, name)
    value: object = read_object(kind, inner)
    inner.done()
    return value


_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")


def _snake(name: str) -> str:
    return _CAPITAL.sub(lambda found: f"_{found[1].lower()}", name)
