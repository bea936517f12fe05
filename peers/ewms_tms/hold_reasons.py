"""HTCondor's HoldReasonCode in words, the same for all workers that are held for the same. Pure."""

from __future__ import annotations

from ewms_tms.job_events import HoldCode

__all__ = ["POLICY_MEMORY", "POLICY_STARTS", "asked_for", "hold_words"]

# Subcodes of our own policies, whose code is JOB_POLICY.
POLICY_MEMORY, POLICY_STARTS = 34, 128
_POLICIES = {
    POLICY_MEMORY: "memory usage exceeds what was asked for",
    POLICY_STARTS: "ended by a signal each time it was started",
}
_USER_REQUEST, _SUBMITTED_ON_HOLD, _SPOOLING = 1, 15, 16
_REASONS = {
    _USER_REQUEST: "put on hold by request",
    3: "a periodic hold expression became true",
    4: "the credentials are invalid",
    5: "a policy expression is undefined",
    6: "the job could not be started",
    7: "the output file could not be opened",
    8: "the input file could not be opened",
    9: "the output stream could not be opened",
    10: "the input stream could not be opened",
    11: "a file transfer was not acknowledged",
    12: "output files could not be transferred",
    13: "input files could not be transferred",
    14: "there is no initial working directory",
    _SUBMITTED_ON_HOLD: "submitted on hold",
    _SPOOLING: "input files are being spooled",
    17: "the shadow does not fit the job",
    18: "a file transfer was not allowed to go on",
    19: "the worker's hook for preparing the job failed",
    20: "the time of the start was missed",
    21: "the worker's machine put it on hold",
    22: "the job event log cannot be written",
    23: "the account's files cannot be reached",
    24: "no shadow fits the job",
    25: "the repetition settings are invalid",
    26: "a system hold expression became true",
    27: "a system policy expression is undefined",
    28: "the sandbox could not be given to the account",
    29: "the sandbox could not be given to the account",
    30: "the sandbox could not be taken back from the account",
    31: "the sandbox could not be taken back from the account",
    32: "the input files are larger than allowed",
    33: "the output files are larger than allowed",
    34: "memory usage exceeds the limit",
    35: "the container image is invalid",
    36: "the checkpoint failed",
    43: "the script before the job failed",
    44: "the script after the job failed",
    45: "containers do not work on the worker's machine",
    46: "the allowed job duration was exceeded",
    47: "the allowed execution time was exceeded",
    48: "the shadow's hook for preparing the job failed",
}


def hold_words(code: int, subcode: int, text: str) -> str:
    """Why a worker is held; `text`, which may differ from one to the next, for unknown codes."""
    policy = _POLICIES.get(subcode) if code == HoldCode.JOB_POLICY else None
    return policy or _REASONS.get(code, text or "no reason given")


def asked_for(code: int) -> bool:
    """Whether the hold is somebody's wish, and no fault."""
    return code in (_USER_REQUEST, _SUBMITTED_ON_HOLD, _SPOOLING)
