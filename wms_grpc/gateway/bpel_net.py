"""The net of a structured BPEL process.

Each activity has a place before it and one after it. A choice tries its branches one after
another: a silent transition with the condition leads into a branch, one with `not(…)` of it to the
next; a loop leads back to the place before it; a flow is a fork and a join. Links are places
(`bpel_links`), and an activity with links of which one may be false is run or skipped by its join
condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from lxml import etree

from wms_grpc.domain.nets import END, INIT, Arc, Net, Place, Token, Transition
from wms_grpc.domain.tasks import Task
from wms_grpc.gateway.bpel_activities import activity_children, branches_of, is_structured
from wms_grpc.gateway.bpel_links import Link, Links, condition_of, join_condition
from wms_grpc.gateway.bpel_tasks import Tasks
from wms_grpc.gateway.model import MAX_NODES
from wms_grpc.gateway.xml_source import XmlSource, local_name

__all__ = ["NetBuilder"]

_TRUE: Final = "true()"
_FALSE: Final = "false()"


class NetBuilder:
    """Builds the net of one process."""

    def __init__(self, source: XmlSource, links: Links, tasks: Tasks) -> None:
        self._source = source
        self._links = links
        self._tasks = tasks
        self._places = [Place(INIT, INIT, tokens=(Token(),)), Place(END, END)]
        self._transitions: list[Transition] = []
        self._arcs: list[Arc] = []
        self._builders: Mapping[str, Callable[[etree._Element, str, str], None]] = {
            "sequence": self._sequence,
            "flow": self._flow,
            "if": self._choice,
            "switch": self._choice,
            "while": self._while,
            "repeatUntil": self._repeat_until,
            "scope": self._scope,
        }

    def built(self, activity: etree._Element) -> tuple[Net, tuple[Task, ...]]:
        """Return the net of a process with that activity, and its tasks."""
        for link in self._links.all:
            self._places.append(
                Place(link.place, link.place, annotations={"bpel": {"link": link.name}})
            )
        self._activity(activity, INIT, END)
        net = Net(tuple(self._places), tuple(self._transitions), tuple(self._arcs), "bpel")
        return net, self._tasks.all()

    def _activity(self, element: etree._Element, before: str, after: str) -> None:
        targets = self._links.to_target.get(element, [])
        sources = self._links.from_source.get(element, [])
        inner_before = self._place() if targets else before
        inner_after = self._place() if sources else after
        if targets:
            self._await(element, targets, before, inner_before, after)
        if is_structured(element):
            self._builders[local_name(element)](element, inner_before, inner_after)
        else:
            self._transition([inner_before], [inner_after], task=self._tasks.task(element))
        if sources:
            self._transition(
                [inner_after], [after], sets=[(k, k.condition or _TRUE) for k in sources]
            )

    def _await(
        self, element: etree._Element, targets: Sequence[Link], before: str, inner: str, after: str
    ) -> None:
        """Wait for all links, and run the activity, or skip it where its join condition fails."""
        condition = join_condition(element, self._source)
        if not condition and all(link.is_certain for link in targets):
            self._transition([before], [inner], takes=targets)
            return
        condition = condition or " or ".join(f"${link.name}" for link in targets)
        self._transition([before], [inner], takes=targets, conditions=[condition])
        self._transition(
            [before],
            [after],
            takes=self._links.into(element),
            sets=[(link, _FALSE) for link in self._links.out_of(element)],
            conditions=[_not(condition)],
        )
        if not _suppresses_join_failure(element):
            words = "where its join condition fails, BPEL throws a fault; here it is skipped"
            self._source.find("JOIN_FAILURE", element, words, element.get("name", ""))

    def _sequence(self, element: etree._Element, before: str, after: str) -> None:
        activities = activity_children(element)
        if not activities:
            self._transition([before], [after])
        for number, activity in enumerate(activities):
            then = after if number == len(activities) - 1 else self._place()
            self._activity(activity, before, then)
            before = then

    def _flow(self, element: etree._Element, before: str, after: str) -> None:
        pairs = [(self._place(), self._place(), a) for a in activity_children(element)]
        if not pairs:
            self._transition([before], [after])
            return
        self._transition([before], [begin for begin, _, _ in pairs])
        for begin, end, activity in pairs:
            self._activity(activity, begin, end)
        self._transition([end for _, end, _ in pairs], [after])

    def _choice(self, element: etree._Element, before: str, after: str) -> None:
        branches = branches_of(element, self._source)
        bodies = [body for _, body in branches if body is not None]
        into, out_of = self._links.into(*bodies), self._links.out_of(*bodies)
        for condition, body in branches:
            self._branch(before, after, body, into, out_of, condition)
            if not condition:
                return
            otherwise = self._place()
            self._transition([before], [otherwise], conditions=[_not(condition)])
            before = otherwise
        self._branch(before, after, None, into, out_of, "")

    def _branch(
        self,
        before: str,
        after: str,
        body: etree._Element | None,
        into: Sequence[Link],
        out_of: Sequence[Link],
        condition: str,
    ) -> None:
        """Add a branch, given the links of all of them: of those not taken, they are let go."""
        if body is not None and (into or out_of):
            own_into, own_out_of = set(self._links.into(body)), set(self._links.out_of(body))
            into = [link for link in into if link not in own_into]
            out_of = [link for link in out_of if link not in own_out_of]
        between = self._place() if into else after
        begin = self._place() if body is not None else between
        self._transition(
            [before],
            [begin],
            sets=[(link, _FALSE) for link in out_of],
            conditions=[condition] if condition else [],
        )
        if body is not None:
            self._activity(body, begin, between)
        if into:
            self._transition([between], [after], takes=into)

    def _while(self, element: etree._Element, before: str, after: str) -> None:
        condition = self._loop_condition(element)
        begin = self._place()
        # A place of its own, so that what is around a loop in a loop is told apart from it.
        head = self._place()
        self._transition([before], [head])
        self._transition([head], [begin], conditions=[condition])
        self._body(element, begin, head)
        self._transition([head], [after], conditions=[_not(condition)])

    def _repeat_until(self, element: etree._Element, before: str, after: str) -> None:
        condition = self._loop_condition(element)
        begin, end = self._place(), self._place()
        self._transition([before], [begin])
        self._body(element, begin, end)
        self._transition([end], [begin], conditions=[_not(condition)])
        self._transition([end], [after], conditions=[condition])

    def _loop_condition(self, element: etree._Element) -> str:
        condition = condition_of(element, self._source)
        if not condition:
            words = f"a `{local_name(element)}` without a condition"
            raise self._source.refused("MISSING_FIELD", element, words)
        return condition

    def _scope(self, element: etree._Element, before: str, after: str) -> None:
        self._body(element, before, after)

    def _body(self, element: etree._Element, before: str, after: str) -> None:
        activities = activity_children(element)
        for other in activities[1:]:
            words = f"a `{local_name(element)}` holds one activity; this one is left out"
            self._source.find("DUPLICATE_ELEMENT", other, words, severity="error")
        if activities:
            self._activity(activities[0], before, after)
        else:
            self._transition([before], [after])

    def _place(self) -> str:
        place = Place(f"p:{len(self._places) - 1}")
        self._places.append(place)
        return place.id

    def _transition(
        self,
        before: Sequence[str],
        after: Sequence[str],
        *,
        task: str | None = None,
        takes: Sequence[Link] = (),
        sets: Sequence[tuple[Link, str]] = (),
        conditions: Sequence[str] = (),
    ) -> None:
        """Add a transition; silent, where it has no task."""
        name = f"t:{len(self._transitions) + 1}"
        self._transitions.append(
            Transition(name, task or "", task=task, conditions=tuple(conditions))
        )
        self._arcs.extend(Arc(place, name, "take") for place in before)
        self._arcs.extend(Arc(k.place, name, "take", expression=f"${k.name}") for k in takes)
        self._arcs.extend(Arc(place, name, "put") for place in after)
        self._arcs.extend(Arc(k.place, name, "put", expression=status) for k, status in sets)
        if len(self._arcs) > 2 * MAX_NODES:
            words = f"its net has more than {2 * MAX_NODES} arcs"
            raise self._source.refused("TOO_LARGE", self._source.root, words)


def _not(condition: str) -> str:
    return f"not({condition})"


def _suppresses_join_failure(element: etree._Element) -> bool:
    for around in (element, *element.iterancestors()):
        if said := around.get("suppressJoinFailure"):
            return str(said) == "yes"
    return False
