"""The elements of a JSDL document, taken one by one, so that none is overlooked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from lxml import etree

from wms_grpc.gateway.model import MAX_EXPRESSION, FindingSeverity
from wms_grpc.gateway.xml_source import XmlSource, children, local_name, namespace

__all__ = ["APPLICATIONS", "Left", "Parts", "text_of"]

APPLICATIONS: Final[Mapping[str, str]] = {
    "POSIXApplication": "http://schemas.ggf.org/jsdl/2005/11/jsdl-posix",
    "HPCProfileApplication": "http://schemas.ggf.org/jsdl/2006/07/jsdl-hpcpa",
    "SPMDApplication": "http://schemas.ogf.org/jsdl/2007/02/jsdl-spmd",
}
"""Those that say what is to be run, with their namespaces."""
_WITH_NAMES: Final = ("DataStaging", *APPLICATIONS)
"""Elements whose `name` is only for people; a variable's is its own."""
_LONGEST_RUNTIME: Final = 10 * 365 * 86_400


def text_of(element: etree._Element) -> str:
    """Return the text of an element without the blanks around it."""
    return (element.text or "").strip()


class Left:
    """What is not translated: told, and kept as it was written."""

    def __init__(self, source: XmlSource) -> None:
        self._source = source
        self._kept: list[str] = []
        self._notes: dict[str, list[str]] = {}

    def keep(
        self,
        element: etree._Element,
        why: str,
        code: str = "NO_COUNTERPART",
        severity: FindingSeverity = "warning",
    ) -> None:
        """Tell of an element and keep it."""
        name = local_name(element)
        text = etree.tostring(element, encoding="unicode", with_tail=False)
        kept = "" if len(text) <= MAX_EXPRESSION else "; it is too long to be kept"
        if not kept:
            self._kept.append(text)
        self._source.find(code, element, f"`{name[:100]}`: {why}{kept}", name, severity)

    def note(self, key: str, value: str) -> None:
        """Keep what is only for people."""
        self._notes.setdefault(key, []).append(value)

    def note_attributes(self, element: etree._Element) -> None:
        """Keep the attributes of an element that have no meaning here."""
        for name, value in element.attrib.items():
            if name not in ("name", "filesystemName") or local_name(element) in _WITH_NAMES:
                self.note(f"{local_name(element)}@{name}", str(value))

    def annotations(self) -> dict[str, object]:
        """Return what was kept."""
        return {**self._notes, **({"elements": self._kept} if self._kept else {})}


class Parts:
    """The children of an element, each to be taken; `finish` keeps those that were not."""

    def __init__(self, source: XmlSource, element: etree._Element, left: Left) -> None:
        self.element = element
        self._source = source
        self._left = left
        space = namespace(element)
        # An SPMD application has what it shares with a POSIX one in the namespace of that.
        self._spaces = {space, *(APPLICATIONS.values() if space in APPLICATIONS.values() else ())}
        self._waiting = list(children(element))

    def all(self, name: str, space: str | None = None) -> Iterator[etree._Element]:
        """Take the children of a name."""
        spaces = {space} if space else self._spaces
        wanted: list[etree._Element] = []
        others: list[etree._Element] = []
        for child in self._waiting:
            is_wanted = local_name(child) == name and namespace(child) in spaces
            (wanted if is_wanted else others).append(child)
        self._waiting = others
        for child in wanted:
            self._left.note_attributes(child)
            yield child

    def texts(self, name: str) -> Iterator[tuple[etree._Element, str]]:
        """Take the children of a name, which hold a text."""
        for child in self.all(name):
            for within in children(child):
                self._left.keep(within, "there should be text only", "UNKNOWN_ELEMENT")
            if child.get("filesystemName"):
                words = "file systems are not looked at; what it says is taken as it is"
                self._left.keep(child, words)
            yield child, text_of(child)

    def one(self, name: str, space: str | None = None) -> etree._Element | None:
        """Take the only child of a name; others are kept and told of."""
        found = list(self.all(name, space))
        for other in found[1:]:
            self._left.keep(other, "it stands here a second time", "DUPLICATE_ELEMENT")
        return found[0] if found else None

    def text(self, name: str) -> str:
        """Take the text of a child; empty: there is none."""
        found = list(self.texts(name))
        for other, _ in found[1:]:
            self._left.keep(other, "it stands here a second time", "DUPLICATE_ELEMENT")
        return found[0][1] if found else ""

    def seconds(self, name: str) -> int | None:
        """Take a child that is a number of seconds."""
        found = self.one(name)
        if found is None:
            return None
        try:
            number = float(text_of(found))
        except ValueError:
            number = -1.0
        if not 0 < number <= _LONGEST_RUNTIME:
            self._left.keep(found, "this is no number of seconds", "BAD_VALUE")
            return None
        return max(1, int(number))

    def finish(self, why: str = "it has no counterpart here") -> None:
        """Tell of what nobody took."""
        for child in self._waiting:
            known = namespace(child) in self._spaces or "jsdl" in namespace(child)
            code = "NO_COUNTERPART" if known else "UNKNOWN_ELEMENT"
            self._left.keep(child, why, code)
        self._waiting = []
