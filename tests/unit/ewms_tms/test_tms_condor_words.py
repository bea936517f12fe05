"""What HTCondor's words mean, as its bindings 25.14.1 say them, and how holds are told."""

from __future__ import annotations

import pytest

from ewms_tms.grid.condor_messages import FailureKind
from ewms_tms.grid.condor_words import kind_of
from ewms_tms.hold_reasons import POLICY_MEMORY, POLICY_STARTS, hold_words


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (
            "Failed to connect to schedd, errmsg=AUTHENTICATE:1003:Failed to authenticate with any"
            " method|AUTHENTICATE:1004:Failed to authenticate using IDTOKENS",
            FailureKind.REFUSED,
        ),
        (
            "Failed to create job ad, errmsg=Submit:-1:Parse error in expression: \n\tRequestCpus",
            FailureKind.REFUSED,
        ),
        (
            'SECMAN:2010:Received "DENIED" from server for user nobody@ewms.test',
            FailureKind.REFUSED,
        ),
        (
            "Failed to connect to schedd, errmsg=SECMAN:2011:Connection closed during command"
            " authorization. Probably due to an unknown command.",
            FailureKind.NOTHING_DONE,
        ),
        ("Failed communication with collector.", FailureKind.NOTHING_DONE),
        (
            "Failed to connect to schedd, errmsg=AUTHENTICATE:1003:Failed to authenticate with any"
            " method|CEDAR:6001:Failed to connect to <127.0.0.1:9618>",
            FailureKind.NOTHING_DONE,
        ),
        (
            "Failed to fetch ads from schedd, errmsg=SECMAN:2007:Failed to end classad message.",
            FailureKind.UNAVAILABLE,
        ),
        ("Unable to commit transaction, ", FailureKind.UNAVAILABLE),
        (
            "Unable to commit transaction, QMGMT:40:no more than ten workers",
            FailureKind.REFUSED,
        ),
        ("Error when performing action on the schedd.", FailureKind.UNAVAILABLE),
        ("", FailureKind.UNAVAILABLE),
    ],
)
def test_words_are_a_refusal_only_if_trying_again_cannot_help(
    words: str, kind: FailureKind
) -> None:
    assert kind_of(words) is kind


def test_a_hold_by_a_policy_of_ours_says_which() -> None:
    assert "memory" in hold_words(3, POLICY_MEMORY, "Memory usage is 5 MB.")
    assert "signal" in hold_words(3, POLICY_STARTS, "")
    assert hold_words(3, 0, "") == "a periodic hold expression became true"
    assert hold_words(4711, 0, "the moon") == "the moon"
