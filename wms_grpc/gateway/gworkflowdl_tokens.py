"""The tokens of a GWorkflowDL file, read and written.

Written, a token is valid whatever its value is: what the schema has no form for stands in its
property `ewms.value`, as a string of JSON.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Final

from lxml import etree

from wms_grpc.domain.nets import Token
from wms_grpc.gateway.gworkflowdl_parts import read_part, read_property, simple_text
from wms_grpc.gateway.model import MAX_TOKEN
from wms_grpc.gateway.xml_source import XmlSource, local_name
from wms_grpc.gateway.xml_tokens import element_of, text_of
from wms_grpc.gateway.xpath import WORKFLOW

__all__ = ["VALUE_PROPERTY", "read_token", "written_token"]

VALUE_PROPERTY: Final = "ewms.value"
_BOOLEANS: Final = {"true": "true", "1": "true", "false": "false", "0": "false"}


def read_token(source: XmlSource, element: etree._Element) -> Token:
    """Read a `token`. Raises Refused for one that is larger than tokens are."""
    part = read_part(source, element, "token")
    properties = []
    for child in part.of("property"):
        name, value = read_property(source, child)
        if name == VALUE_PROPERTY:
            return Token(_unquoted(value))
        properties.append(child)
    contents = [child for child in part.elements if local_name(child) in ("data", "control")]
    if len(contents) > 1:
        message = "a token has data or a control value, not both: the first is taken"
        source.find("DUPLICATE_ELEMENT", contents[1], message)
    if not contents and not properties:
        return Token()
    value = _value(source, element, contents[:1], properties)
    if len(value.encode()) > MAX_TOKEN:
        message = f"a token of more than {MAX_TOKEN} bytes"
        raise source.refused("TOO_LARGE", element, message)
    return Token(value)


def _unquoted(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, str) else text


def _value(
    source: XmlSource,
    element: etree._Element,
    contents: list[etree._Element],
    properties: list[etree._Element],
) -> str:
    inner = [_content(source, child) for child in contents]
    if not properties:
        return inner[0]
    return "".join(["<token>", *map(text_of, properties), *inner, "</token>"])


def _content(source: XmlSource, element: etree._Element) -> str:
    if local_name(element) == "control":
        text = " ".join(simple_text(source, element).split())
        if text not in _BOOLEANS:
            message = f"a control value is true or false, not `{text[:100]}`"
            source.find("BAD_VALUE", element, message)
        control = etree.Element("control")
        control.text = _BOOLEANS.get(text, text)
        return text_of(control)
    for attribute, value in element.attrib.items():
        message = f"the attribute `{attribute}` (`{value[:100]}`) is not known in data"
        source.find("UNKNOWN_ATTRIBUTE", element, message, str(attribute))
    if "".join([element.text or "", *(child.tail or "" for child in element)]).strip():
        source.find("DATA_TEXT", element, "data are elements; this is text outside of any")
    return text_of(element)


def written_token(token: Token) -> etree._Element:
    """Return a valid `token` element that `read_token` reads as the same token."""
    element = etree.Element(f"{{{WORKFLOW}}}token")
    if token.value is None:
        return element
    outer = element_of(token.value)
    if outer is None or not _is_valid(outer) or not _is_canonical(token.value, outer):
        _property(element, VALUE_PROPERTY, json.dumps(token.value))
        return element
    # What is parsed is shared: its elements are copied, never moved.
    copied = deepcopy(outer)
    for node in list(copied) if copied.tag == "token" else [copied]:
        if node.tag == "property":
            _property(element, node.get("name", ""), node.text or "")
            continue
        moved = etree.SubElement(
            element, f"{{{WORKFLOW}}}{local_name(node)}", None, dict(node.nsmap)
        )
        moved.text = node.text
        moved.extend(list(node))
    return element


def _is_canonical(value: str, outer: etree._Element) -> bool:
    """Whether reading the element gives this very text again."""
    if outer.tag != "token":
        return text_of(outer) == value
    return "".join(["<token>", *map(text_of, outer), "</token>"]) == value


def _is_valid(outer: etree._Element) -> bool:
    if outer.tag != "token":
        return _is_valid_content(outer)
    names = [node.tag for node in outer]
    contents = [node for node in outer if node.tag != "property"]
    return (
        all(isinstance(name, str) for name in names)
        and not outer.attrib
        and not (outer.text or "").strip()
        and sorted(names, key=lambda name: name != "property") == names
        and all(
            node.get("name") not in (None, VALUE_PROPERTY) and len(node) == 0
            for node in outer
            if node.tag == "property"
        )
        and len(contents) <= 1
        and all(node.tag in ("data", "control") and _is_valid_content(node) for node in contents)
    )


def _is_valid_content(node: etree._Element) -> bool:
    if node.attrib:
        return False
    if node.tag == "control":
        return node.text in ("true", "false") and len(node) == 0
    texts = "".join([node.text or "", *(child.tail or "" for child in node)])
    return not texts.strip() and all(isinstance(child.tag, str) for child in node)


def _property(parent: etree._Element, name: str, value: str) -> None:
    element = etree.SubElement(parent, f"{{{WORKFLOW}}}property", {"name": name})
    element.text = value
