"""The findings of one translation, a bounded number of each code."""

from __future__ import annotations

from collections import Counter
from typing import Final

from wms_grpc.gateway.model import Finding, FindingSeverity, Position

__all__ = ["MOST_OF_A_CODE", "Report"]

MOST_OF_A_CODE: Final = 100


class Report:
    """Gathers findings; of the same code, what is beyond a bound is counted in a last one."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._counts: Counter[tuple[str, FindingSeverity]] = Counter()

    def tell(
        self,
        code: str,
        message: str,
        position: Position,
        subject: str = "",
        severity: FindingSeverity = "warning",
    ) -> None:
        """Add a finding."""
        self._counts[code, severity] += 1
        if self._counts[code, severity] <= MOST_OF_A_CODE:
            self._findings.append(Finding(code, message, position, subject, severity))

    def findings(self) -> tuple[Finding, ...]:
        """Return them, by where they stand, and then the counts of those beyond the bound."""
        told = sorted(
            self._findings, key=lambda f: (f.position.file, f.position.line, f.position.column)
        )
        for (code, severity), number in self._counts.items():
            if number > MOST_OF_A_CODE:
                words = f"and {number - MOST_OF_A_CODE} more of such"
                told.append(Finding(code, words, severity=severity))
        return tuple(told)
