"""Which elements of BPEL are activities, in WS-BPEL 2.0 and in BPEL4WS 1.1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lxml import etree

from wms_grpc.gateway.bpel_links import condition_of
from wms_grpc.gateway.xml_source import XmlSource, children, local_name

__all__ = [
    "DECLARATIONS",
    "HANDLERS",
    "activity_children",
    "branches_of",
    "described",
    "is_part",
    "is_structured",
]

_STRUCTURED: Final = ("sequence", "flow", "if", "switch", "while", "repeatUntil", "scope")
_ACTIVITIES: Final = (
    *_STRUCTURED,
    "invoke",
    "receive",
    "reply",
    "assign",
    "empty",
    "wait",
    "validate",
    "throw",
    "rethrow",
    "exit",
    "terminate",
    "compensate",
    "compensateScope",
    "pick",
    "forEach",
    "opaqueActivity",
    "extensionActivity",
)
DECLARATIONS: Final = (
    "import",
    "extensions",
    "partnerLinks",
    "partners",
    "variables",
    "correlationSets",
    "messageExchanges",
    "documentation",
)
"""Elements of a process or scope that declare what its activities name."""
_PARTS: Final = (
    "links",
    "sources",
    "targets",
    "source",
    "target",
    "condition",
    "elseif",
    "else",
    "case",
    "otherwise",
)
"""Elements of structured activities that the net is made of."""
HANDLERS: Final = ("faultHandlers", "eventHandlers", "compensationHandler", "terminationHandler")


def is_structured(element: etree._Element) -> bool:
    """Whether the net has its structure; all other activities are one task."""
    return local_name(element) in _STRUCTURED


def described(root: etree._Element) -> Iterator[etree._Element]:
    """Yield the process and all within that the net has the structure of, with their parts."""
    waiting = [root]
    while waiting:
        element = waiting.pop()
        yield element
        waiting.extend(
            child
            for child in reversed(list(children(element)))
            if is_structured(child) or local_name(child) in _PARTS
        )


def is_part(element: etree._Element) -> bool:
    """Whether the net has it: an activity, or a part of one."""
    return local_name(element) in (*_ACTIVITIES, *_PARTS)


def activity_children(element: etree._Element) -> list[etree._Element]:
    """Return the activities directly within, in order."""
    return [child for child in children(element) if local_name(child) in _ACTIVITIES]


def branches_of(
    element: etree._Element, source: XmlSource
) -> list[tuple[str, etree._Element | None]]:
    """Return the branches of an `if` or a `switch`, each with its condition; none: the last one.

    Raises Refused for a branch without its condition.
    """
    branches: list[tuple[str, etree._Element | None]] = []
    if local_name(element) == "if":
        branches.append((_needed(element, source), _first_activity(element, source)))
    for child in children(element):
        if local_name(child) in ("elseif", "case"):
            branches.append((_needed(child, source), _first_activity(child, source)))
    last = [child for child in children(element) if local_name(child) in ("else", "otherwise")]
    for child in last[1:]:
        words = f"a second `{local_name(child)}` is left out"
        source.find("DUPLICATE_ELEMENT", child, words, severity="error")
    if last:
        branches.append(("", _first_activity(last[0], source)))
    return branches


def _needed(element: etree._Element, source: XmlSource) -> str:
    condition = condition_of(element, source)
    if not condition:
        words = f"a `{local_name(element)}` without a condition"
        raise source.refused("MISSING_FIELD", element, words)
    return condition


def _first_activity(element: etree._Element, source: XmlSource) -> etree._Element | None:
    activities = activity_children(element)
    for other in activities[1:]:
        words = f"a `{local_name(element)}` holds one activity; this one is left out"
        source.find("DUPLICATE_ELEMENT", other, words, severity="error")
    return activities[0] if activities else None
