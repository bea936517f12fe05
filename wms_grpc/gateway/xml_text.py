"""Text that XML can hold, and documents that can be read by people."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from copy import deepcopy
from typing import Final

from lxml import etree

__all__ = [
    "file_name",
    "fragment",
    "free_of_default",
    "indent",
    "is_safe",
    "namespaces_in_values",
    "plain_name",
    "safe_text",
    "tidy_namespaces",
]

_QUALIFIED: Final = re.compile(r"(?<![\w:.-])([A-Za-z_][\w.-]*):(?=[A-Za-z_])")
_NOT_PLAIN: Final = re.compile("[^A-Za-z0-9_.\xc0-\xd6\xd8-\xf6\xf8-\xff-]")
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def is_safe(text: str) -> bool:
    """Whether XML can hold every character of it."""
    return _FORBIDDEN.search(text) is None


def safe_text(text: str) -> str:
    """The text with `\\uXXXX` for what XML cannot hold."""
    return _FORBIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def plain_name(text: str) -> str:
    """The text as an ID that no tool finds fault with: of Latin letters, digits and `.-_`.

    The editions of XML do not agree on the letters of other scripts.
    """
    plain = _NOT_PLAIN.sub("_", text)
    return f"_{plain}" if not plain or plain[0] in ".-0123456789" else plain


def file_name(name: str) -> str:
    """A file name, without ending, that says whose it is."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("_.")[:100] or "workflow"


def _has_text(element: etree._Element) -> bool:
    return any((text or "").strip() for text in (element.text, *(c.tail for c in element)))


def indent(element: etree._Element, verbatim: Collection[str], depth: int = 0) -> None:
    """Put each child on a line of its own, but not within elements of the names `verbatim`.

    What has text of its own stays as it is, too.
    """
    if len(element) == 0 or element.tag in verbatim or _has_text(element):
        return
    element.text = "\n" + "  " * (depth + 1)
    for child in element:
        child.tail = "\n" + "  " * (depth + 1)
        indent(child, verbatim, depth + 1)
    element[-1].tail = "\n" + "  " * depth


def fragment(element: etree._Element, *, is_compact: bool = False) -> str:
    """The element as text that stands by itself: the same wherever it stood, without its tail.

    Compact: without the space between elements, where nothing but space is between them.
    """
    copy = deepcopy(element)
    copy.tail = None
    if is_compact:
        for inner in copy.iter():
            if len(inner) and not _has_text(inner):
                inner.text = None
                for child in inner:
                    child.tail = None
    holder = etree.Element("holder", None, namespaces_in_values([element]))
    holder.append(copy)
    tidy_namespaces(holder)
    return etree.tostring(holder[0], encoding="unicode", with_tail=False)


def tidy_namespaces(element: etree._Element) -> None:
    """Leave the declarations that are needed, and those that the element itself makes."""
    kept = [prefix for prefix in element.nsmap if prefix]
    etree.cleanup_namespaces(element, keep_ns_prefixes=kept)
    free_of_default(element)


def free_of_default(element: etree._Element) -> None:
    """Give an `xmlns=""` to each element in no namespace that needs one.

    libxml2 would write it as if it were in the default namespace of its parent.
    """
    for inner in list(element.iter("*")):
        parent = inner.getparent()
        if parent is None or not inner.nsmap.get(None) or etree.QName(inner).namespace:
            continue
        outer = parent.nsmap
        own: dict[str | None, str] = {None: ""}
        own.update({p: uri for p, uri in inner.nsmap.items() if p and outer.get(p) != uri})
        free = etree.Element(inner.tag, dict(inner.attrib), own)
        free.text, free.tail = inner.text, inner.tail
        free.extend(list(inner))
        parent.replace(inner, free)


def namespaces_in_values(nodes: Iterable[etree._Element]) -> dict[str | None, str]:
    """The prefixes that stand in texts and attributes, as in `xsi:type="xsd:int"`."""
    found: dict[str | None, str] = {}
    for node in nodes:
        for element in node.iter("*"):
            for text in (element.text, *element.attrib.values()):
                for prefix in _QUALIFIED.findall(text or ""):
                    if uri := element.nsmap.get(prefix):
                        found.setdefault(prefix, uri)
    return dict(sorted(found.items(), key=str))
