"""What HTCondor's words mean: whether trying again can help. Pure.

The bindings raise one kind of error for everything and say the rest in words. Whatever is not known
for a refusal counts as an infrastructure that does not work now: it is settled, and tried again.
"""

from __future__ import annotations

import re

from ewms_tms.grid.condor_messages import FailureKind

__all__ = ["is_at_the_end", "kind_of"]

_REFUSALS = re.compile(
    r"AUTHENTICATE|DENIED|SECMAN:2010|not authorized|authorization fail|permission"
    r"|Failed to create (?:a cluster|job) ad|Failed to make submit digest|invalid queue statement"
    r"|parse_up_to_q_line|submit requirement"
    r"|Unable to commit transaction, (?!.*(?:connect|timed))\S",
    re.IGNORECASE,
)
# A daemon that is away while a token is looked for is away, whatever else is said.
_AWAY = re.compile(r"connection refused|timed out|CEDAR:6001|failed to connect to <", re.IGNORECASE)
# Before a queue is open nothing can have been done to it.
_NO_CONNECTION = re.compile(r"failed to connect to schedd|communication with collector", re.I)


def kind_of(words: str) -> FailureKind:
    """What a failure in these words is."""
    if _AWAY.search(words) is None and _REFUSALS.search(words) is not None:
        return FailureKind.REFUSED
    if _NO_CONNECTION.search(words) is not None:
        return FailureKind.NOTHING_DONE
    return FailureKind.UNAVAILABLE


def is_at_the_end(words: str) -> bool:
    """Whether it was the submission's last step that failed, so that words alone prove nothing."""
    return "commit" in words
