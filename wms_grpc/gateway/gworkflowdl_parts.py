"""What the parts of a GWorkflowDL file have in common: descriptions, properties, their order.

Two properties are ours, in what is written here: `ewms.id`, the name of a part whose name is no
ID, and `ewms.json`, an object with what the schema has no element for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from wms_grpc.domain.nets import PlaceKind
from wms_grpc.gateway.own_json import object_of
from wms_grpc.gateway.xml_source import XmlSource, children, local_name, namespace
from wms_grpc.gateway.xml_text import fragment

__all__ = [
    "ID_PROPERTY",
    "JSON_PROPERTY",
    "NAME",
    "Part",
    "check_outside",
    "read_part",
    "read_property",
    "simple_text",
]

_FIRST: Final = (
    "A-Z_a-z\xc0-\xd6\xd8-\xf6\xf8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c\u200d"
    "\u2070-\u218f\u2c00-\u2fef\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
NAME: Final = re.compile(f"[{_FIRST}][{_FIRST}.0-9\xb7\u0300-\u036f\u203f\u2040-]*")
"""An NCName of XML 1.0, fifth edition: what an ID may be."""
ID_PROPERTY: Final = "ewms.id"
JSON_PROPERTY: Final = "ewms.json"

_CHILDREN: Final[Mapping[str, tuple[str, ...]]] = {
    "workflow": ("owl", "description", "property", "place", "transition"),
    "place": ("description", "property", "tokenClass", "token"),
    "transition": (
        *("description", "property", "readPlace", "inputPlace", "writePlace"),
        *("outputPlace", "condition", "operation"),
    ),
    "token": ("property", "data", "control"),
    "arc": (),
    "tokenClass": ("owl",),
}
_ATTRIBUTES: Final[Mapping[str, tuple[str, ...]]] = {
    "workflow": ("ID",),
    "place": ("ID", "capacity"),
    "transition": ("ID",),
    "arc": ("placeID", "edgeExpression"),
    "tokenClass": ("type",),
}
_SINGLE: Final = frozenset({"description", "tokenClass", "operation", "data", "control"})
_SCHEMA_INSTANCE: Final = "{http://www.w3.org/2001/XMLSchema-instance}"


@dataclass
class Part:
    """A part, its children in the order of the file, and what is said of it beside the net."""

    elements: list[etree._Element] = field(default_factory=list)
    by_name: dict[str, list[etree._Element]] = field(default_factory=dict)
    annotations: dict[str, object] = field(default_factory=dict)
    other_languages: dict[str, object] = field(default_factory=dict)
    original_id: str | None = None
    place_kind: PlaceKind = "control"

    def of(self, name: str) -> list[etree._Element]:
        """The children of that name."""
        return self.by_name.get(name, [])


def read_part(source: XmlSource, element: etree._Element, what: str) -> Part:
    """Read what every part may have, and check what this one consists of."""
    part = Part()
    attributes = dict(_unknown_attributes(source, element, what))
    other = [fragment(child) for child in _sorted_out(source, element, what, part)]
    _check_text(source, element, what)
    properties: list[list[str]] = []
    for child in part.of("property"):
        name, value = read_property(source, child)
        if name == ID_PROPERTY and value:
            part.original_id = value
        elif name == JSON_PROPERTY and (said := object_of(value)):
            _restore(part, said)
        else:
            properties.append([name, value])
    said = part.annotations
    if properties:
        said["properties"] = properties
    if descriptions := part.of("description"):
        said["description"] = simple_text(source, descriptions[0])
    if owl := [simple_text(source, child) for child in part.of("owl")]:
        said["owl"] = owl
    for child in part.of("tokenClass"):
        said["tokenClass"] = _token_class(source, child)
    if attributes:
        said["attributes"] = attributes
    if other:
        said["other"] = other
    return part


def read_property(source: XmlSource, element: etree._Element) -> tuple[str, str]:
    """Return the name and the value of a `property`."""
    name = element.get("name")
    if name is None:
        source.find("MISSING_NAME", element, "a property has a name")
    return name or "", simple_text(source, element, ("name",))


def simple_text(
    source: XmlSource, element: etree._Element, attributes: Collection[str] = ()
) -> str:
    """Return the text of an element that has nothing else in it."""
    what = local_name(element)
    for name, value in element.attrib.items():
        if name not in attributes and not str(name).startswith(_SCHEMA_INSTANCE):
            message = f"the attribute `{name}` (`{value[:100]}`) is not read in a {what}"
            source.find("UNKNOWN_ATTRIBUTE", element, message, str(name))
    for child in children(element):
        inner = local_name(child)
        message = f"a {what} is text; of the element `{inner}` only the text is read"
        source.find("UNKNOWN_ELEMENT", child, message, inner)
    return "".join(map(str, element.itertext()))


def _sorted_out(
    source: XmlSource, element: etree._Element, what: str, part: Part
) -> Iterator[etree._Element]:
    """Put the known children into the part and yield the others, with findings."""
    known = _CHILDREN[what]
    own = namespace(source.root)
    latest, seen = 0, set[str]()
    for child in children(element):
        name = local_name(child)
        if namespace(child) != own or name not in known:
            source.find("UNKNOWN_ELEMENT", child, f"`{name}` is not read in a {what}", name)
            yield child
            continue
        if name in seen and name in _SINGLE:
            source.find("DUPLICATE_ELEMENT", child, f"a {what} has one `{name}`", name)
            yield child
            continue
        rank = known.index(name)
        if rank < latest:
            after = known[latest]
            message = f"`{name}` stands before `{after}` in a {what}, not after it"
            source.find("ELEMENT_ORDER", child, message, name)
        latest = max(latest, rank)
        seen.add(name)
        part.elements.append(child)
        part.by_name.setdefault(name, []).append(child)


def check_outside(source: XmlSource, element: etree._Element, what: str) -> None:
    """Check attributes and text of an element whose children are checked elsewhere."""
    for _ in _unknown_attributes(source, element, what):
        continue
    _check_text(source, element, what)


def _unknown_attributes(
    source: XmlSource, element: etree._Element, what: str
) -> Iterator[tuple[str, str]]:
    for name, value in element.attrib.items():
        if name not in _ATTRIBUTES.get(what, ()) and not str(name).startswith(_SCHEMA_INSTANCE):
            message = f"the attribute `{name}` (`{value[:100]}`) is not read in a {what}"
            source.find("UNKNOWN_ATTRIBUTE", element, message, str(name))
            yield str(name), value


def _check_text(source: XmlSource, element: etree._Element, what: str) -> None:
    texts = (element.text, *(child.tail for child in element))
    for text in texts:
        if text and (stripped := text.strip()):
            message = f"the text `{stripped[:100]}` in a {what} is not read"
            source.find("STRAY_TEXT", element, message)


def _token_class(source: XmlSource, element: etree._Element) -> dict[str, object]:
    inner = read_part(source, element, "tokenClass")
    said = dict(inner.annotations)
    if (kind := element.get("type")) is not None:
        said["type"] = kind
    return said


def _restore(part: Part, said: Mapping[str, object]) -> None:
    """Put back what was written as `ewms.json`."""
    if isinstance(name := said.get("id"), str):
        part.original_id = name
    if said.get("kind") == "data":
        part.place_kind = "data"
    others = said.get("annotations")
    if isinstance(others, dict):
        part.other_languages.update(others)
    own = said.get("gworkflowdl")
    if isinstance(own, dict):
        part.annotations.update(own)
