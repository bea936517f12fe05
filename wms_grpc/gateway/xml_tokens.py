"""The tokens of GWorkflowDL as text, and as the elements that expressions look at.

A token's value is a small document: `<control>true</control>`, `<data>…</data>` with the data as
they stood in the file, or, where the token has properties of its own, `<token>` around them. The
three outer elements are in no namespace; what is within keeps its own. No value at all is a token
that says no more than that it is there.
"""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import Final

from lxml import etree

from wms_grpc.gateway.model import MAX_TOKEN
from wms_grpc.gateway.xml_source import local_name
from wms_grpc.gateway.xml_text import namespaces_in_values, tidy_namespaces

__all__ = ["TRUE", "data_of", "element_of", "nodes_of", "string_of", "text_of", "wrapped"]

TRUE: Final = "<control>true</control>"
"""What an output arc puts that says nothing else: the transition has occurred."""

_OUTER: Final = ("control", "data", "token")


def text_of(element: etree._Element) -> str:
    """Return a `control`, `data` or `token` element of a file as a value."""
    return _written(_detached(element))


def wrapped(nodes: list[etree._Element]) -> str:
    """Return copies of elements as the value of a data token; a lone `control` is one of its own.

    Elements of one document only: what an expression has found.
    """
    if len(nodes) == 1 and nodes[0].tag in _OUTER:
        return _written(deepcopy(nodes[0]))
    data = etree.Element("data", None, namespaces_in_values(nodes))
    for node in nodes:
        data.append(_without_tail(node))
    return _written(data)


def data_of(name: str, text: str) -> str:
    """Return a data token of one element with a text. Raises ValueError for what XML forbids."""
    data = etree.Element("data")
    etree.SubElement(data, name).text = text
    return _written(data)


def element_of(value: str) -> etree._Element | None:
    """Parse a value; None if it is none of this language's."""
    if len(value) > MAX_TOKEN:
        return None
    if len(value) <= 1024:
        return _parsed_and_kept(value)
    return _parsed(value)


def nodes_of(value: str) -> list[etree._Element] | str:
    """What a variable stands for that is bound to this token.

    The element of a control token, the elements within a data token, the `data` element itself
    where there is only text, nothing where there is nothing; a text that is none of this
    language's is a string.
    """
    outer = element_of(value)
    if outer is None:
        return value
    if outer.tag == "token":
        inner = [child for child in outer if child.tag in ("control", "data")]
        if not inner:
            return []
        outer = inner[0]
    if outer.tag == "control":
        return [outer]
    elements = [child for child in outer if isinstance(child.tag, str)]
    return elements or ([outer] if (outer.text or "").strip() else [])


def string_of(value: str) -> str:
    """The text of a token, as a program's argument has it."""
    nodes = nodes_of(value)
    if isinstance(nodes, str):
        return nodes
    return "".join("".join(map(str, node.itertext())) for node in nodes[:1]).strip()


@lru_cache(maxsize=4096)
def _parsed_and_kept(value: str) -> etree._Element | None:
    return _parsed(value)


def _parsed(value: str) -> etree._Element | None:
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        element = etree.fromstring(value, parser)
    except (etree.LxmlError, ValueError):
        return None
    has_type = bool(element.getroottree().docinfo.doctype)
    return element if element.tag in _OUTER and not has_type else None


def _detached(element: etree._Element) -> etree._Element:
    """A copy in which this language's own elements are in no namespace."""
    name = local_name(element)
    nodes = [child for child in element if isinstance(child.tag, str)]
    copy = etree.Element(name, None, namespaces_in_values([element]) if name == "data" else None)
    for key, value in element.attrib.items():
        copy.set(key, value)
    if name == "control":
        copy.text = "".join(map(str, element.itertext())).strip()
    elif name == "data":
        copy.text = element.text if (element.text or "").strip() else None
        for node in nodes:
            copy.append(_without_tail(node))
            if (node.tail or "").strip():
                copy[-1].tail = node.tail
    elif name == "property":
        copy.text = "".join(map(str, element.itertext()))
    else:
        copy.extend(_detached(node) for node in nodes)
    return copy


def _without_tail(node: etree._Element) -> etree._Element:
    copy = deepcopy(node)
    copy.tail = None
    return copy


def _written(element: etree._Element) -> str:
    tidy_namespaces(element)
    return etree.tostring(element, encoding="unicode", with_tail=False)
