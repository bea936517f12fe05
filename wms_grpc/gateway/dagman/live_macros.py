"""Macros that stay as they are: what only the submission, the run or a queue's items give them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["LIVE", "item_names"]

LIVE: Final[Mapping[str, str]] = {
    name.lower(): canonical
    for name, canonical in {
        "Process": "Process",
        "ProcId": "Process",
        "Cluster": "Cluster",
        "ClusterId": "Cluster",
        "Step": "Step",
        "Row": "Row",
        "Item": "Item",
        "ItemIndex": "ItemIndex",
        "Node": "Node",
        "RETRY": "RETRY",
        "FAILED_COUNT": "FAILED_COUNT",
        "DAG_STATUS": "DAG_STATUS",
        "DAGManJobId": "DAGManJobId",
        "DAG_PARENT_NAMES": "DAG_PARENT_NAMES",
        "SUBMIT_TIME": "SUBMIT_TIME",
        "SUBMIT_FILE": "SUBMIT_FILE",
        "YEAR": "YEAR",
        "MONTH": "MONTH",
        "DAY": "DAY",
    }.items()
}
"""Macros whose value is not known before the job is submitted, by their names in lower case."""

_ITEMS = re.compile(r"(?:\S+\s+)?([\w\s,]*?)\s*\b(in|from|matching)\b", re.IGNORECASE)


def item_names(queue: str) -> frozenset[str]:
    """Return the names, in lower case, that a queue statement gives its items."""
    match = _ITEMS.match(queue)
    return frozenset(re.split(r"[\s,]+", match[1].lower())) - {""} if match else frozenset()
