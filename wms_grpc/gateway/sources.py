"""The text of one file of a bundle, and where in it something stands."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property

from wms_grpc.gateway.model import Finding, FindingSeverity, Position, Refused

__all__ = ["Source"]


class Source:
    """A file's text. Offsets count characters from 0; positions count from 1."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text

    @classmethod
    def decoded(cls, file: str, data: bytes) -> Source:
        """Return the text of UTF-8, with or without a byte order mark.

        Raises Refused for other encodings and for NUL, which nothing here can keep.
        """
        try:
            source = cls(file, data.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            before = cls(file, data[: error.start].decode("utf-8", "replace"))
            raise before.refused(
                "NOT_UTF8",
                f"the byte {data[error.start]:#04x} is not UTF-8: convert the file, by iconv say",
                len(before.text),
            ) from None
        at = source.text.find("\0")
        if at >= 0:
            raise source.refused("BAD_CHARACTER", "a NUL character: this is not a text", at)
        return source

    def position(self, offset: int) -> Position:
        """Return the position of an offset."""
        line = bisect_right(self._starts, offset)
        return Position(self.file, line, offset - self._starts[line - 1] + 1)

    def finding(
        self,
        code: str,
        message: str,
        offset: int,
        subject: str = "",
        severity: FindingSeverity = "warning",
    ) -> Finding:
        """Return a finding at an offset."""
        return Finding(code, message, self.position(offset), subject, severity)

    def refused(self, code: str, message: str, offset: int, subject: str = "") -> Refused:
        """Return the refusal for what stands at an offset."""
        return Refused(self.finding(code, message, offset, subject, "error"))

    @cached_property
    def _starts(self) -> list[int]:
        starts, at = [0], self.text.find("\n")
        while at >= 0:
            starts.append(at + 1)
            at = self.text.find("\n", at + 1)
        return starts
