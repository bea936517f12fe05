"""A net that is given as one, in the JSON of a request.

`places`, `tokens`, `transitions`, `arcs` and `conditions` are lists; a token names its place, a
condition its transition, an arc both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from wms_grpc.domain.nets import Arc, Net, Place, Token, Transition
from wms_grpc.gateway.ewms_fields import Fields, object_of, read_object
from wms_grpc.gateway.json_text import Json, plain
from wms_grpc.gateway.json_values import mapping_of
from wms_grpc.gateway.model import MAX_EXPRESSION, MAX_NODES
from wms_grpc.gateway.sources import Source

__all__ = ["net_object", "read_net"]


_T = TypeVar("_T")
_P = TypeVar("_P", Place, Transition)


@dataclass(frozen=True, slots=True)
class _PlacedToken:
    place: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class _Condition:
    transition: str
    expression: str


def read_net(source: Source, json: Json, tasks: Mapping[str, str]) -> Net:
    """Return the net; its transitions' tasks are named by the names of the file. Raises Refused."""
    fields = Fields(source, json, "net")
    places = _named(fields, "places", Place)
    transitions = _named(fields, "transitions", Transition)
    tokens: dict[str, list[Token]] = defaultdict(list)
    for _, token in _listed(fields, "tokens", _PlacedToken, {"place": places}):
        tokens[token.place].append(Token(token.value))
    conditions: dict[str, list[str]] = defaultdict(list)
    known: dict[str, Collection[str]] = {"place": places, "transition": transitions}
    for start, condition in _listed(fields, "conditions", _Condition, {"transition": transitions}):
        _check_expression(source, condition.expression, start)
        conditions[condition.transition].append(condition.expression)
    arcs = []
    for start, arc in _listed(fields, "arcs", Arc, known):
        _check_expression(source, arc.expression, start)
        arcs.append(arc)
    language = fields.text("language")
    said = fields.take("annotations")
    members = mapping_of(source, said, "annotations") if said is not None else {}
    fields.done()
    for start, transition in transitions.values():
        if transition.task is not None and transition.task not in tasks:
            message = f"there is no task {transition.task[:100]}"
            raise source.refused("UNKNOWN_NAME", message, start, transition.id)
    return Net(
        tuple(replace(p, tokens=tuple(tokens[p.id])) for _, p in places.values()),
        tuple(
            replace(
                t,
                conditions=tuple(conditions[t.id]),
                task=None if t.task is None else tasks[t.task],
            )
            for _, t in transitions.values()
        ),
        tuple(arcs),
        language,
        {name: plain(member.value) for name, member in members.items()},
    )


def net_object(net: Net, tasks: Mapping[str, str]) -> dict[str, object]:
    """Return the JSON object of a net; `tasks` are their names in the file."""
    written: dict[str, object] = {
        "places": [object_of(place) for place in net.places],
        "transitions": [
            object_of(replace(t, task=None if t.task is None else tasks.get(t.task, t.task)))
            for t in net.transitions
        ],
        "arcs": [object_of(arc) for arc in net.arcs],
    }
    tokens = [object_of(_PlacedToken(p.id, token.value)) for p in net.places for token in p.tokens]
    conditions = [
        object_of(_Condition(transition.id, text))
        for transition in net.transitions
        for text in transition.conditions
    ]
    for name, part in (
        ("tokens", tokens),
        ("conditions", conditions),
        ("language", net.language),
        ("annotations", dict(net.annotations)),
    ):
        if part:
            written[name] = part
    return written


def _named(fields: Fields, name: str, kind: type[_P]) -> dict[str, tuple[int, _P]]:
    found: dict[str, tuple[int, _P]] = {}
    for start, part in _listed(fields, name, kind, {}):
        if not part.id or part.id in found:
            message = f"{part.id[:100]!r} is no id, or another one's, too"
            raise fields.source.refused("DUPLICATE_NAME", message, start, part.id[:100])
        found[part.id] = start, part
    return found


def _listed(
    fields: Fields, name: str, kind: type[_T], known: Mapping[str, Collection[str]]
) -> Iterator[tuple[int, _T]]:
    items = fields.items(name)
    if len(items) > MAX_NODES:
        raise fields.source.refused("TOO_LARGE", f"more than {MAX_NODES} {name}", items[0].start)
    for json in items:
        inner = Fields(fields.source, json, f"one of {name}")
        value = read_object(kind, inner)
        inner.done()
        for what, ids in known.items():
            if getattr(value, what) not in ids:
                message = f"there is no {what} {getattr(value, what)[:100]}"
                raise fields.source.refused("UNKNOWN_NAME", message, json.start, name)
        yield json.start, value


def _check_expression(source: Source, text: str, start: int) -> None:
    if len(text.encode()) > MAX_EXPRESSION:
        message = f"an expression longer than {MAX_EXPRESSION} bytes"
        raise source.refused("TOO_LARGE", message, start)
