"""XML read with suspicion, and with positions.

No entity is expanded, nothing is fetched, sizes and depths are bounded: a document that declares
entities is refused before any of them is looked at. Elements have the line and the column of
their start tag, found in the text itself, since libxml2 knows only the line where a tag ends.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from lxml import etree

from wms_grpc.gateway.model import (
    MAX_DEPTH,
    MAX_NODES,
    Bundle,
    Finding,
    FindingSeverity,
    Position,
    Refused,
)

__all__ = ["XmlSource", "children", "local_name", "namespace", "parsed", "root_name"]

_MAX_MARKUP: Final = 2 * MAX_NODES
"""Of `<` and `=` in a document: what its tree costs in memory, before it is made."""
_MAX_INDEXED: Final = 1_000_000
_MAX_FINDINGS: Final = 1_000
_MAX_ATTRIBUTE: Final = 1024 * 1024
_MAX_ATTRIBUTES: Final = 1_000
"""Of one element: reading them is quadratic."""

_START_TAG: Final = re.compile(
    r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|<!DOCTYPE|<(?P<name>[^\s/>!?\[]+)", re.DOTALL
)
# Possessive: a comment is not tried as a part of the one before it.
_ROOT: Final = re.compile(
    rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?"
    rb"(?>\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*>)*+"
    rb"<(?:[\w.-]+:)?(?P<name>[\w.-]+)(?P<attributes>[^>]*)>",
    re.DOTALL,
)
_INSTRUCTION: Final = re.compile(rb"<\?(?!xml\s)(?P<name>[\w.:-]+)")
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass
class XmlSource:
    """A document, and what is found in it. At most a thousand findings are kept one by one."""

    file: str
    data: bytes
    root: etree._Element
    findings: list[Finding] = field(default_factory=list)
    _further: Counter[str] = field(default_factory=Counter)

    def position(self, element: etree._Element) -> Position:
        """Where the element's start tag begins."""
        offset = self._root_offset if element is self.root else self._offsets.get(element)
        if offset is None:
            return Position(self.file, element.sourceline or 0)
        line = bisect_right(self._line_starts, offset)
        return Position(self.file, line, offset - self._line_starts[line - 1] + 1)

    def find(
        self,
        code: str,
        element: etree._Element,
        message: str,
        subject: str = "",
        severity: FindingSeverity = "warning",
    ) -> None:
        """Add a finding at an element."""
        if len(self.findings) < _MAX_FINDINGS:
            where = self.position(element)
            self.findings.append(Finding(code, message, where, subject, severity))
        else:
            self._further[code] += 1
            if severity == "error" and self.findings[-1].severity != "error":
                self.findings.append(
                    Finding(code, message, self.position(element), subject, "error")
                )

    def all_findings(self) -> tuple[Finding, ...]:
        """The findings in the order of the file, and how many more there were of each code."""
        counted = (
            Finding(code, f"{n} more findings of this kind", Position(self.file))
            for code, n in sorted(self._further.items())
        )
        found = sorted(self.findings, key=lambda f: (f.position.line, f.position.column))
        return (*found, *counted)

    def refused(
        self, code: str, element: etree._Element, message: str, subject: str = ""
    ) -> Refused:
        """The exception that refuses the document because of an element."""
        return Refused(Finding(code, message, self.position(element), subject, "error"))

    @cached_property
    def _text(self) -> str:
        encoding = next(
            (name for mark, name in _BYTE_ORDER_MARKS if self.data.startswith(mark)),
            self.root.getroottree().docinfo.encoding or "utf-8",
        )
        try:
            return self.data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
        except (LookupError, UnicodeError):
            return ""

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self._text))]

    @property
    def _root_offset(self) -> int | None:
        tags = (match for match in _START_TAG.finditer(self._text) if match["name"])
        return next((match.start() for match in tags), None)

    @cached_property
    def _offsets(self) -> dict[etree._Element, int]:
        """Start tags and elements come in the same order; where they do not, nothing is said.

        Nor where there are so many that the index would be as large as the document.
        """
        if self.data.count(b"<") > _MAX_INDEXED:
            return {}
        offsets = [m.start() for m in _START_TAG.finditer(self._text) if m["name"]]
        elements = list(self.root.iter("*"))
        if len(offsets) != len(elements):
            return {}
        return dict(zip(elements, offsets, strict=True))


def parsed(bundle: Bundle) -> XmlSource:
    """Parse the main file of a bundle. Raises Refused, and nothing else."""
    data = bundle.files.get(bundle.main)
    if data is None:
        raise _refused("MISSING_FILE", f"the bundle has no file `{bundle.main}`", bundle.main)
    if data.count(b"<") + data.count(b"=") > _MAX_MARKUP:
        raise _refused("TOO_LARGE", "more elements and attributes than are read", bundle.main)
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        message = str(error.msg or "this is not XML").partition(", line ")[0]
        raise _refused("SYNTAX", message, bundle.main, line or 1, column or 0) from None
    except (ValueError, LookupError, AssertionError, etree.LxmlError) as error:
        raise _refused("SYNTAX", str(error) or "this is not XML", bundle.main, 1) from None
    source = XmlSource(bundle.main, data, root)
    _check_declarations(source)
    _check_instructions(source)
    _check_sizes(source)
    return source


def _check_declarations(source: XmlSource) -> None:
    document = source.root.getroottree().docinfo
    if not document.doctype:
        return
    line = source.data.partition(b"<!DOCTYPE")[0].count(b"\n") + 1
    declared = document.internalDTD
    if declared is not None and any(True for _ in declared.iterentities()):
        message = "the document declares entities, which are not expanded here"
        raise _refused("ENTITIES", message, source.file, line, 1)
    message = "the document type is not looked at"
    source.findings.append(Finding("DOCTYPE_IGNORED", message, Position(source.file, line)))


def _check_instructions(source: XmlSource) -> None:
    if match := _INSTRUCTION.search(source.data):
        line = source.data.count(b"\n", 0, match.start()) + 1
        message = f"`<?{match['name'].decode('latin-1')} …?>` is not looked at"
        where = Position(source.file, line)
        source.findings.append(Finding("INSTRUCTION_IGNORED", message, where, severity="info"))


def _check_sizes(source: XmlSource) -> None:
    """Bound depths and attributes; libxml2 itself goes deeper than we do."""
    depth = 0
    for event, element in etree.iterwalk(source.root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if event == "start" and depth > MAX_DEPTH:
            raise source.refused("TOO_DEEP", element, f"more than {MAX_DEPTH} elements deep")
    if source.root.xpath("boolean(//@*[string-length() > $most])", most=_MAX_ATTRIBUTE):
        raise source.refused("TOO_LARGE", source.root, "an attribute of more than 1 MiB")
    if source.root.xpath("boolean(//*[count(@*) > $most])", most=_MAX_ATTRIBUTES):
        message = f"an element with more than {_MAX_ATTRIBUTES} attributes"
        raise source.refused("TOO_LARGE", source.root, message)


def _refused(code: str, message: str, file: str, line: int = 0, column: int = 0) -> Refused:
    return Refused(Finding(code, message, Position(file, line, column), severity="error"))


def root_name(data: bytes) -> tuple[str, str]:
    """The local name of the document's element and its attributes, as text, without parsing."""
    match = _ROOT.match(data[:65_536].replace(b"\0", b""))
    if match is None:
        return "", ""
    decode = "utf-8", "replace"
    return match["name"].decode(*decode), match["attributes"].decode(*decode)


def children(element: etree._Element) -> Iterator[etree._Element]:
    """The elements directly within."""
    return (child for child in element if isinstance(child.tag, str))


def local_name(element: etree._Element) -> str:
    """The element's name without its namespace."""
    name = str(element.tag)
    return name[name.rfind("}") + 1 :]


def namespace(element: etree._Element) -> str:
    """The element's namespace; empty: none."""
    name = str(element.tag)
    return name[1 : name.rfind("}")] if name.startswith("{") else ""
