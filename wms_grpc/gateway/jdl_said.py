"""Attributes of a job description as their readers want them: by name, and typed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from wms_grpc.gateway.jdl_quoting import quoted_text
from wms_grpc.gateway.jdl_syntax import (
    Attribute,
    List,
    Number,
    Path,
    Record,
    Text,
    Value,
    as_written,
)
from wms_grpc.gateway.model import Finding, FindingSeverity, Position, Refused
from wms_grpc.gateway.sources import Source

__all__ = ["Report", "Said", "Sayings", "sayings_of"]

MAX_MADE: Final = 256 * 1024 * 1024
"""Bytes of values made of a description: a short file may hand a long list to many nodes."""

PARAMETER: Final = "_PARAM_"
_DIGITS: Final = re.compile(r"\s*[+-]?[0-9]{1,18}\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Said:
    """An attribute in its file. `filled` is its text where a parameter was put in."""

    name: str
    value: Value
    start: int
    source: Source
    filled: str = ""

    @property
    def written(self) -> str:
        """The value as it is written, on one line."""
        return self.filled or as_written(self.source, self.value)

    def text(self) -> str:
        """Return the value, a text; a number is taken as its text, one item as itself."""
        value = self.value
        if isinstance(value, List) and len(value.items) == 1:
            value = value.items[0]
        return self.text_of(value)

    def texts(self) -> tuple[str, ...]:
        """Return the value, a list of texts or a single one."""
        return tuple(self.text_of(value) for value in self.items())

    def items(self) -> Sequence[Value]:
        """Return the items of a list, or the value as the only one."""
        return self.value.items if isinstance(self.value, List) else [self.value]

    def text_of(self, value: Value) -> str:
        """Return an item as a text."""
        if isinstance(value, Text):
            return value.text
        if isinstance(value, Number):
            return as_written(self.source, value)
        raise self.refused("WRONG_TYPE", f"{self.name} must be a text", value.start)

    def integer(self) -> int:
        """Return the value, an integer; a text of digits is taken as one."""
        value = self.value
        if isinstance(value, Number) and isinstance(value.number, int):
            return value.number
        if isinstance(value, Text) and _DIGITS.fullmatch(value.text):
            return int(value.text)
        raise self.refused("WRONG_TYPE", f"{self.name} must be an integer", value.start)

    def record(self) -> Record:
        """Return the value, a record."""
        if isinstance(self.value, Record):
            return self.value
        raise self.refused("WRONG_TYPE", f"{self.name} must be a record, [ … ]", self.value.start)

    def refused(self, code: str, message: str, offset: int | None = None) -> Refused:
        """Return a refusal, of the value unless an offset is given."""
        start = self.value.start if offset is None else offset
        return self.source.refused(code, message, start, self.name)

    def with_parameter(self, parameter: str) -> Said:
        """Return the attribute with the parameter's value put in."""
        written = self.written
        if PARAMETER not in written:
            return self
        return Said(
            self.name,
            _with_parameter(self.value, parameter),
            self.start,
            self.source,
            written.replace(PARAMETER, quoted_text(parameter)[1:-1]),
        )


Sayings = Mapping[str, Said]
"""Attributes by their names in lower case."""


@dataclass(slots=True)
class Report:
    """What is found, the same at the same place once; and how much has been made of it."""

    _findings: dict[tuple[str, Position, str], Finding] = field(default_factory=dict)
    _n_made: int = 0

    def add(self, finding: Finding) -> None:
        """Keep a finding."""
        key = (finding.code, finding.position, finding.message)
        self._findings.setdefault(key, finding)

    def note(
        self, said: Said, code: str, message: str, severity: FindingSeverity = "warning"
    ) -> None:
        """Keep a finding about an attribute."""
        self.add(said.source.finding(code, message, said.start, said.name, severity))

    def made(self, said: Said, n_bytes: int) -> None:
        """Count what is made of an attribute. Raises Refused where it comes to too much."""
        self._n_made += n_bytes
        if self._n_made > MAX_MADE:
            raise said.refused("TOO_LARGE", "too much is made of this file by repetition")

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them."""
        return tuple(self._findings.values())


def sayings_of(source: Source, attributes: Iterable[Attribute], report: Report) -> dict[str, Said]:
    """Return the attributes by name. Of two with one name the later holds, as in ClassAds."""
    sayings: dict[str, Said] = {}
    for attribute in attributes:
        said = Said(attribute.name, attribute.value, attribute.start, source)
        before = sayings.pop(said.name.lower(), None)
        if before is not None:
            line = source.position(said.start).line
            message = f"{before.name} is given again in line {line}; only that one holds"
            report.note(before, "DUPLICATE_ATTRIBUTE", message)
        sayings[said.name.lower()] = said
    return sayings


def _with_parameter(value: Value, parameter: str) -> Value:
    match value:
        case Text():
            return Text(value.start, value.end, value.text.replace(PARAMETER, parameter))
        case List():
            items = [_with_parameter(item, parameter) for item in value.items]
            return List(value.start, value.end, items)
        case Path() if value.parts == (PARAMETER,):
            return Text(value.start, value.end, parameter)
        case _:
            return value
