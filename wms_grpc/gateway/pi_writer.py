"""π-calculus, written: polyadic, in the syntax of the Mobility Workbench.

A place is a channel and a token a message on it; a transition is a process that receives its
inputs one after the other, shows its name (`'run_…`, a silent one by `t`), and sends its outputs.
In a net that was given as one it is there again at once; in that of a DAG it is so only once. In
a coloured net a message carries a name, which stands for the token's value.

This is the net only as long as no place has two consumers: with a conflict, a process may hold
one input while another process holds the next. Such places are findings.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from wms_grpc.domain.nets import Arc, Net, Place, Transition
from wms_grpc.gateway.losses import no_counterpart, work_losses, workflow_losses
from wms_grpc.gateway.model import MAX_NODES, Bundle, Finding, Refused, Workflow, Written
from wms_grpc.gateway.unique_names import UniqueNames
from wms_grpc.gateway.xml_text import file_name

__all__ = ["PiWriter"]

_LANGUAGE: Final = "pi"
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_]+")
_VARIABLE: Final = re.compile(r"\$[^\W\d][\w.-]*")


class PiWriter:
    """Writes the net of a workflow as one agent, `System`, and one for each transition."""

    @property
    def name(self) -> str:
        return _LANGUAGE

    def write(self, workflow: Workflow) -> Written:
        net = workflow.net
        if sum(arc.weight for arc in net.arcs) > MAX_NODES:
            message = "weights are written as so many messages, and these are too many"
            raise Refused(Finding("TOO_LARGE", message, severity="error"))
        writing = _Writing(net, is_recurring=workflow.given_net is not None)
        text = "\n".join(writing.lines(workflow.name)) + "\n"
        path = f"{file_name(workflow.name)}.mwb"
        findings = (
            *workflow_losses(_LANGUAGE, workflow),
            *work_losses(_LANGUAGE, workflow),
            *_net_losses(net),
        )
        return Written(Bundle({path: text.encode("ascii")}, path), findings)


def _net_losses(net: Net) -> Iterator[Finding]:
    takers: dict[str, set[str]] = defaultdict(set)
    expressions: dict[str, list[str]] = defaultdict(list)
    for arc in net.arcs:
        if arc.mode != "put":
            takers[arc.place].add(arc.transition)
        if arc.mode in ("put", "write") and arc.expression and not _is_variable(arc.expression):
            expressions[arc.transition].append(f"`{arc.expression}`")
    for place in net.places:
        name = place.name or place.id
        if len(takers[place.id]) > 1:
            n = len(takers[place.id])
            message = f"{n} transitions ask for the tokens of `{name}`: as processes they may block"
            yield Finding("CONFLICT", message, subject=name)
        if place.capacity is not None:
            yield no_counterpart(_LANGUAGE, f"the place `{name}`", ["the capacity"], name)
    for transition in net.transitions:
        name = transition.name or transition.id
        lost = ["conditions"] if transition.conditions else []
        lost.extend(expressions[transition.id])
        if lost:
            yield no_counterpart(_LANGUAGE, f"the transition `{name}`", lost, name)


def _is_variable(expression: str) -> bool:
    return _VARIABLE.fullmatch(expression.strip()) is not None


class _Writing:
    def __init__(self, net: Net, *, is_recurring: bool) -> None:
        self._net = net
        self._is_recurring = is_recurring
        self._names: dict[tuple[str, str], str] = {}
        self._unique = UniqueNames({"System", "t", "unit"}, "_")
        values = {token.value for place in net.places for token in place.tokens}
        self._is_coloured = bool(values - {None}) or any(arc.expression for arc in net.arcs)
        self._places: dict[str, Place] = {place.id: place for place in net.places}
        self._arcs: dict[str, list[Arc]] = defaultdict(list)
        for arc in net.arcs:
            self._arcs[arc.transition].append(arc)

    def lines(self, name: str) -> Iterator[str]:
        yield f"(* {_comment(name)} *)"
        for place in self._net.places:
            channel = self._name("p", place.id, place.name or place.id)
            yield f"(* {channel}: place {_comment(place.name or place.id)} *)"
        for value in self._values():
            yield f"(* {self._name('v', value, 'token')}: {_comment(value)} *)"
        processes = []
        shown: list[str] = []
        for transition in self._net.transitions:
            call, definition, visible = self._process(transition)
            processes.append(call)
            shown.extend(visible)
            yield definition
        yield self._system(processes, shown)

    def _values(self) -> list[str]:
        values = {token.value for place in self._net.places for token in place.tokens}
        return sorted(value for value in values if value is not None)

    def _process(self, transition: Transition) -> tuple[str, str, list[str]]:
        """The call of a transition's agent, its definition, and the name it shows, if any."""
        arcs = self._arcs[transition.id]
        agent = self._name("T", transition.id, transition.name or transition.id)
        # In a net that was given, the id of a transition without a name says something.
        label = transition.name or (transition.id if self._net.language else "")
        is_silent = transition.task is None and not label
        visible = [] if is_silent else [self._name("run", transition.id, label)]
        channels = dict.fromkeys(self._names["p", arc.place] for arc in arcs)
        unit = ["unit"] if self._is_coloured else []
        parameters = [*channels, *visible, *unit]
        call = f"{agent}({','.join(parameters)})" if parameters else agent
        variables: dict[str, str] = {}
        received = [self._received(arc, variables) for arc in arcs if arc.mode != "put"]
        prefixes = [prefix for some in received for prefix in some]
        prefixes.append(f"'{visible[0]}" if visible else "t")
        sent = [message for arc in arcs for message in self._sent(arc, variables)]
        if self._is_recurring:
            sent.append(call)
        rest = f"({' | '.join(sent)})" if len(sent) > 1 else (sent or ["0"])[0]
        return call, f"agent {call} = {'.'.join(prefixes)}.{rest}", visible

    def _received(self, arc: Arc, variables: dict[str, str]) -> list[str]:
        channel = self._names["p", arc.place]
        if not self._is_coloured:
            return [channel] * arc.weight
        prefixes = []
        for n in range(arc.weight):
            bound = f"x{len(variables)}"
            key = arc.expression.strip().removeprefix("$")
            if not key or key in variables:
                key = f" {len(variables)}"
            variables[key] = bound
            if arc.mode == "read":
                variables[f" {arc.place} {n}"] = bound
            prefixes.append(f"{channel}({bound})")
        return prefixes

    def _sent(self, arc: Arc, variables: dict[str, str]) -> list[str]:
        if arc.mode == "take":
            return []
        channel = self._names["p", arc.place]
        if not self._is_coloured:
            return [f"'{channel}.0"] * arc.weight
        expression = arc.expression.strip()
        if arc.mode == "read":
            seen = (variables[f" {arc.place} {n}"] for n in range(arc.weight))
            return [f"'{channel}<{name}>.0" for name in seen]
        if _is_variable(expression) and expression[1:] in variables:
            return [f"'{channel}<{variables[expression[1:]]}>.0"] * arc.weight
        if not expression:
            return [f"'{channel}<unit>.0"] * arc.weight
        # What the expression makes is new, and nobody knows more of it than its name.
        return [f"(^v)'{channel}<v>.0"] * arc.weight

    def _system(self, processes: Sequence[str], shown: Sequence[str]) -> str:
        channels = [self._names["p", place.id] for place in self._net.places]
        values = [self._names["v", value] for value in self._values()]
        tokens = [
            self._token(place, token.value) for place in self._net.places for token in place.tokens
        ]
        unit = ["unit"] if self._is_coloured else []
        parameters = [*shown, *unit, *values]
        head = f"System({','.join(parameters)})" if parameters else "System"
        hidden = f"(^{','.join(channels)})" if channels else ""
        return f"agent {head} = {hidden}({' | '.join([*processes, *tokens]) or '0'})"

    def _token(self, place: Place, value: str | None) -> str:
        channel = self._names["p", place.id]
        if not self._is_coloured:
            return f"'{channel}.0"
        return f"'{channel}<{'unit' if value is None else self._names['v', value]}>.0"

    def _name(self, kind: str, key: str, wanted: str) -> str:
        """A name for a part: of letters, digits and `_`, and of no other part."""
        plain = _NOT_IN_NAMES.sub("_", wanted).strip("_")[:80]
        chosen = self._unique.given(f"{kind}_{plain}")
        self._names[kind, key] = chosen
        return chosen


def _comment(text: str) -> str:
    """On one line, in ASCII, and without the end of a comment."""
    single = " ".join(text.split()).replace("*)", "* )").replace("(*", "( *")
    return single.encode("ascii", "backslashreplace").decode()[:500]
