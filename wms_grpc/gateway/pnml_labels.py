"""The labels of PNML: names, markings, inscriptions, and what tools have added to them.

Graphics and what is tool specific are kept as text, by the element that they stand in, so that
they are there again when the net is written. What is ours stands in `toolspecific` of the tool
`ewms`, as an object of JSON.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from lxml import etree

from wms_grpc.gateway.model import MAX_NODES
from wms_grpc.gateway.own_json import object_of
from wms_grpc.gateway.xml_source import XmlSource, children, local_name
from wms_grpc.gateway.xml_text import fragment

__all__ = [
    "PNML",
    "PT_NET",
    "TOOL",
    "check_attributes",
    "extras",
    "label",
    "label_text",
    "number",
    "own_object",
]

PNML: Final = "http://www.pnml.org/version-2009/grammar/pnml"
PT_NET: Final = "http://www.pnml.org/version-2009/grammar/ptnet"
TOOL: Final = "ewms"

_USUAL: Final = ("graphics", "toolspecific")
_NUMBER: Final = re.compile(r"(?:Default,)?\s*\+?(\d{1,9})", re.ASCII)


def label_text(element: etree._Element) -> str | None:
    """The text of a label: of its `text`, or in older files of its `value`; None: neither."""
    for child in children(element):
        if local_name(child) in ("text", "value"):
            return "".join(map(str, child.itertext())).strip()
    return None


def label(source: XmlSource, element: etree._Element, name: str) -> etree._Element | None:
    """Return the label of that name; a second one is a finding."""
    found = [child for child in children(element) if local_name(child) == name]
    for further in found[1:]:
        message = f"a second `{name}`, `{label_text(further)}`, is not read"
        source.find("DUPLICATE_ELEMENT", further, message, name)
    return found[0] if found else None


def check_attributes(source: XmlSource, element: etree._Element, known: Collection[str]) -> None:
    """Add a finding for each attribute that PNML does not know there."""
    for name, value in element.attrib.items():
        if name not in known:
            message = f"the attribute `{name}` (`{value[:100]}`) is not read here"
            source.find("UNKNOWN_ATTRIBUTE", element, message, str(name))


def number(source: XmlSource, element: etree._Element, what: str, least: int) -> int:
    """Read a marking or a weight. Raises Refused for what is none."""
    for child in children(element):
        if local_name(child) == "value":
            message = f"a {what} is in a `text`; `value` is of PNML before ISO 15909-2"
            source.find("OLD_VERSION", child, message)
    text = label_text(element)
    if not text:
        source.find("BAD_VALUE", element, f"a {what} without a number is taken as {least}")
        return least
    match = _NUMBER.fullmatch(text)
    if match is None or not least <= int(match[1]) <= MAX_NODES:
        message = f"a {what} is a number from {least} to {MAX_NODES}, not `{text[:100]}`"
        raise source.refused("BAD_VALUE", element, message)
    return int(match[1])


def extras(
    source: XmlSource, element: etree._Element, known: Collection[str], what: str
) -> dict[str, object]:
    """Return the children that are not `known`, as text by their names."""
    kept: dict[str, object] = {}
    for child in children(element):
        name = local_name(child)
        if name in known or (name == "toolspecific" and child.get("tool") == TOOL):
            continue
        if name not in _USUAL:
            message = f"`{name}` in a {what} is not read, but kept"
            source.find("UNKNOWN_ELEMENT", child, message, name)
        texts = kept.setdefault(name, [])
        assert isinstance(texts, list)
        texts.append(fragment(child, is_compact=True))
    return kept


def own_object(element: etree._Element) -> Mapping[str, object]:
    """Return what we have written into an element beside what PNML knows."""
    for child in children(element):
        if local_name(child) == "toolspecific" and child.get("tool") == TOOL:
            return object_of("".join(map(str, child.itertext())))
    return {}
