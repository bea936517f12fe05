"""The links of BPEL flows: who waits for whom across the structure.

A link has its status set once, when its source ends or is skipped, and its target waits for the
status of all of its links. So a link is a place that is filled once and emptied once. Where an
activity is skipped, the links that lead out of it are set (to false), and those that lead into it
are taken away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lxml import etree

from wms_grpc.gateway.model import MAX_EXPRESSION
from wms_grpc.gateway.xml_source import XmlSource, children, local_name

__all__ = ["Link", "Links", "condition_of", "is_opaque", "join_condition", "links_of"]

_LOOPS: Final = ("while", "repeatUntil")
_OPAQUE: Final = (
    "forEach",
    "pick",
    "extensionActivity",
    "faultHandlers",
    "eventHandlers",
    "compensationHandler",
    "terminationHandler",
)
"""What the net does not look into."""


@dataclass(eq=False, slots=True)
class Link:
    """A link and the place it is; `condition` is the source's, empty where it always holds."""

    name: str
    place: str
    declared: etree._Element
    source: etree._Element | None = None
    target: etree._Element | None = None
    condition: str = ""
    is_certain: bool = True


class Links:
    """The links of a process, by what they have to do with each activity."""

    def __init__(self) -> None:
        self.all: list[Link] = []
        self.from_source: dict[etree._Element, list[Link]] = defaultdict(list)
        self.to_target: dict[etree._Element, list[Link]] = defaultdict(list)
        self._out_of: dict[etree._Element, list[Link]] = defaultdict(list)
        self._into: dict[etree._Element, list[Link]] = defaultdict(list)

    def add(
        self, link: Link, outside: Sequence[etree._Element], inside: Sequence[etree._Element]
    ) -> None:
        """Add a link that leads out of some activities and into others."""
        self.all.append(link)
        if link.source is not None and link.target is not None:
            self.from_source[link.source].append(link)
            self.to_target[link.target].append(link)
        for element in outside:
            self._out_of[element].append(link)
        for element in inside:
            self._into[element].append(link)

    def out_of(self, *activities: etree._Element) -> list[Link]:
        """Return the links that lead out of activities, their own included."""
        return list(dict.fromkeys(link for a in activities for link in self._out_of.get(a, ())))

    def into(self, *activities: etree._Element) -> list[Link]:
        """Return the links that lead into activities, their own included."""
        return list(dict.fromkeys(link for a in activities for link in self._into.get(a, ())))


def condition_of(
    element: etree._Element, source: XmlSource, name: str = "condition", attribute: str = ""
) -> str:
    """Return an expression: an element within (2.0) or an attribute (1.1); empty: there is none."""
    found = next((child for child in children(element) if local_name(child) == name), None)
    text = "".join(str(part) for part in found.itertext()) if found is not None else None
    if text is None:
        text = str(element.get(attribute or name, ""))
    text = " ".join(text.split())
    if len(text.encode()) > MAX_EXPRESSION:
        at = element if found is None else found
        words = f"an expression of more than {MAX_EXPRESSION} bytes"
        raise source.refused("TOO_LARGE", at, words)
    return text


def join_condition(element: etree._Element, source: XmlSource) -> str:
    """Return an activity's join condition; empty: that one of its links is true."""
    targets = [child for child in children(element) if local_name(child) == "targets"]
    conditions = [condition_of(child, source, "joinCondition") for child in targets]
    return next(filter(None, conditions), "") or condition_of(element, source, "joinCondition")


def links_of(process: etree._Element, source: XmlSource) -> Links:
    """Return the links that lead somewhere; what is wrong with others is told."""
    return _Reading(source).links(process)


def is_opaque(element: etree._Element) -> bool:
    """Whether the net does not look into it, nor into what is around it."""
    return any(local_name(around) in _OPAQUE for around in _around(element))


class _Reading:
    def __init__(self, source: XmlSource) -> None:
        self._source = source
        self._declared: dict[etree._Element, dict[str, Link]] = {}
        self._n_links = 0

    def links(self, process: etree._Element) -> Links:
        for flow in process.iter("{*}flow"):
            if not is_opaque(flow):
                self._declare(flow)
        for element in process.iter("{*}source", "{*}target"):
            self._join(element)
        links = Links()
        for declared in self._declared.values():
            for link in declared.values():
                self._add(link, links)
        self._mark_uncertain(links)
        return links

    def _mark_uncertain(self, links: Links) -> None:
        """Mark the links whose status may be false: by a condition, or with a skipped source.

        A source is skipped with what is around it, by the choice of another branch or by links.
        """
        uncertain = [link for link in links.all if link.condition or _is_in_a_choice(link)]
        for target in links.to_target:
            if join_condition(target, self._source):
                uncertain.extend(links.out_of(target))
        while uncertain:
            link = uncertain.pop()
            if link.is_certain and link.target is not None:
                link.is_certain = False
                uncertain.extend(links.out_of(link.target))

    def _declare(self, flow: etree._Element) -> None:
        declared = self._declared[flow] = {}
        for within in children(flow):
            if local_name(within) != "links":
                continue
            for element in children(within):
                name = element.get("name", "").strip()
                if not name or name in declared:
                    words = f"link {name[:100]!r} has no name, or that of another"
                    self._source.find("DUPLICATE_NAME", element, words, name, "error")
                    continue
                self._n_links += 1
                declared[name] = Link(name, f"link:{self._n_links}:{name}", element)

    def _join(self, element: etree._Element) -> None:
        name = element.get("linkName", "").strip()
        activity = element.getparent()
        if activity is not None and local_name(activity) in ("sources", "targets"):
            activity = activity.getparent()
        if activity is None:
            return
        link = self._visible(activity, name)
        what = local_name(element)
        if link is None:
            if is_opaque(activity):
                return
            words = f"no flow around it declares the link {name[:100]!r}"
            self._source.find("UNKNOWN_NAME", element, words, name, "error")
        elif (link.source if what == "source" else link.target) is not None:
            words = f"the link {name[:100]} has a {what} already"
            self._source.find("BAD_LINK", element, words, name, "error")
        elif what == "target":
            link.target = activity
        else:
            link.source = activity
            link.condition = condition_of(element, self._source, "transitionCondition")

    def _visible(self, activity: etree._Element, name: str) -> Link | None:
        for ancestor in activity.iterancestors("{*}flow"):
            if name in self._declared.get(ancestor, ()):
                return self._declared[ancestor][name]
        return None

    def _add(self, link: Link, links: Links) -> None:
        problem = ""
        if link.source is None or link.target is None:
            problem = "has no source" if link.source is None else "has no target"
            self._tell(link, problem)
            return
        around_source = list(_around(link.source))
        around_target = list(_around(link.target))
        outside = [e for e in around_source if e not in around_target]
        inside = [e for e in around_target if e not in around_source]
        if link.target in around_source or link.source in around_target:
            problem = "joins an activity to one within it"
        elif any(local_name(element) in _LOOPS for element in (*outside, *inside)):
            problem = "leads into a loop or out of one"
        elif is_opaque(link.source) or is_opaque(link.target):
            problem = "leads into or out of what the net does not look into"
        if problem:
            self._tell(link, problem)
        else:
            links.add(link, outside, inside)

    def _tell(self, link: Link, problem: str) -> None:
        words = f"the link {link.name[:100]} {problem}; it is left out"
        self._source.find("BAD_LINK", link.declared, words, link.name, "error")


def _around(activity: etree._Element) -> Iterator[etree._Element]:
    yield activity
    yield from activity.iterancestors()


def _is_in_a_choice(link: Link) -> bool:
    if link.source is None or link.target is None:
        return False
    within = set(_around(link.target))
    return any(
        local_name(element) in ("if", "switch") and element not in within
        for element in _around(link.source)
        if element is not link.source
    )
