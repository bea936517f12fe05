"""When two workflows are the same: the judge of every translation there and back.

Named parts count with all that they say; places without a name count by what they join; order
never counts. A dependency of a set on a set is the same as each of its pairs.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass

from wms_grpc.domain.nets import Net
from wms_grpc.gateway.model import Workflow

__all__ = ["differences"]

_Parts = Counter[tuple[str, str]]


def differences(one: Workflow, other: Workflow) -> list[str]:
    """Return what is in one workflow and not in the other, a line each; none: they are the same."""
    left, right = _parts(one), _parts(other)
    return [f"only in the first: {part} {says}" for part, says in (left - right).elements()] + [
        f"only in the second: {part} {says}" for part, says in (right - left).elements()
    ]


def _parts(workflow: Workflow) -> _Parts:
    parts: _Parts = Counter()
    parts["workflow", _text([workflow.name, workflow.max_running, workflow.max_idle])] += 1
    for what, said in (
        ("limits", workflow.category_limits),
        ("public", sorted(workflow.public_aliases)),
        ("priority", workflow.priority),
        ("labels", workflow.labels),
        ("annotations", workflow.annotations),
    ):
        parts[what, _text(said)] += 1
    for task in workflow.tasks:
        parts[f"task {task.name}", f"{type(task.work).__name__} {_text(task)}"] += 1
    pairs = {
        (parent, child)
        for dependency in workflow.dependencies
        for parent in dependency.parents
        for child in dependency.children
    }
    parts.update(("dependency", _text(pair)) for pair in pairs)
    if workflow.given_net is not None:
        parts.update(_net_parts(workflow.given_net))
    return parts


def _net_parts(net: Net) -> Iterable[tuple[str, str]]:
    names = {t.id: t.name or t.id for t in net.transitions}
    place_names = {p.id: p.name for p in net.places}
    joined: dict[str, list[str]] = defaultdict(list)
    for arc in net.arcs:
        said = [names[arc.transition], arc.mode, arc.weight, arc.expression]
        joined[arc.place].append(_text(said))
        if place_names[arc.place]:
            yield f"arc of place {place_names[arc.place]}", _text(said)
    yield "net", _text([net.language, net.annotations])
    for transition in net.transitions:
        yield (
            f"transition {names[transition.id]}",
            _text([transition.task, sorted(transition.conditions), transition.annotations]),
        )
    for place in net.places:
        said = [place.kind, place.capacity, sorted(map(_text, place.tokens)), place.annotations]
        if place.name:
            yield f"place {place.name}", _text(said)
        else:
            yield "place without a name", _text([said, sorted(joined[place.id])])


def _text(value: object) -> str:
    return json.dumps(value, default=_plain, sort_keys=True, ensure_ascii=False)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is nothing that an annotation may hold")
