"""What every part of the reader needs of a file: its text, and where findings go."""

from __future__ import annotations

from typing import NoReturn

from wms_grpc.gateway.model import Finding, FindingSeverity, Position, Refused

__all__ = ["Findings", "decoded", "refuse"]


class Findings:
    """Collects findings, each once: a submit file that a thousand nodes name has one."""

    def __init__(self) -> None:
        self._findings: dict[Finding, None] = {}

    def add(
        self,
        code: str,
        message: str,
        position: Position,
        subject: str = "",
        severity: FindingSeverity = "warning",
    ) -> None:
        """Add a finding that is not there yet."""
        self._findings.setdefault(Finding(code, message, position, subject, severity))

    def all(self) -> tuple[Finding, ...]:
        """Return them by their place."""
        by_place = sorted(
            self._findings, key=lambda f: (f.position.file, f.position.line, f.position.column)
        )
        return tuple(by_place)


def refuse(code: str, message: str, position: Position, subject: str = "") -> NoReturn:
    """Raise Refused."""
    raise Refused(Finding(code, message, position, subject, severity="error"))


def decoded(file: str, content: bytes, findings: Findings) -> str:
    """Return the text: UTF-8, or Latin-1 with a finding where it is not. Refuses binary files."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        text = content.decode("latin-1")
        where = _place(file, text, error.start)
        findings.add("ENCODING", "the file is not UTF-8; it is read as Latin-1", where)
    if (at := text.find("\0")) >= 0:
        refuse("NOT_TEXT", "the file is not a text: it has a zero byte", _place(file, text, at))
    if text.startswith("\ufeff"):
        message = "the file begins with a byte order mark, which HTCondor takes for a word"
        refuse("BYTE_ORDER_MARK", message, Position(file, 1, 1))
    return text


def _place(file: str, text: str, at: int) -> Position:
    return Position(file, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))
