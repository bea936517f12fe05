"""A taskforce as a submit description of HTCondor. Pure.

Guarantees that every value stays one value: control characters are refused, `$` is escaped, nothing
continues a line; and that no secret is in it: the env file is named, never its content. What can
never work is refused, in words. Must never parse a ClassAd expression; HTCondor itself does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ewms_tms.grid import Refused, Submission
from ewms_tms.hold_reasons import POLICY_MEMORY, POLICY_STARTS
from ewms_tms.submission_notes import SubmissionNotes

__all__ = [
    "ENV_FILE",
    "MAX_IDLE",
    "MAX_STARTS",
    "JobFiles",
    "describe",
    "escaped",
    "quoted",
    "string",
    "submit_text",
]

ENV_FILE = "ewms-pilot-env.json"
# Procs that a schedd keeps in its queue ahead of their turn; it makes the others as these start.
MAX_IDLE = 200
# As on the local adapter: a worker that a signal ends runs again, but not for ever.
MAX_STARTS = 5

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NAME = re.compile(r"[+A-Za-z][A-Za-z0-9_.]*")
_NO_ACCOUNT = re.compile(r"[^A-Za-z0-9_.@-]")
# What the taskforce itself says, in HTCondor's terms. The rest of `description` is ours to make.
_TAKEN_OVER = (
    "request_cpus", "request_memory", "request_disk", "allowed_job_duration", "+OriginalTime",
    "+WantIOProxy", "+EWMSTaskforceUUID", "job_ad_information_attrs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Where a cluster's files are, and what its workers run.

    `executable` is shipped from this machine, unless there is an `image`: then it is in there.
    """

    folder: Path
    log: Path
    executable: str
    arguments: tuple[str, ...]
    input_files: tuple[str, ...]
    image: str = ""


def describe(submission: Submission, files: JobFiles) -> tuple[tuple[str, str], ...]:
    """Names and values of the submit description, escaped; without the requirements.

    Raises
    ------
    Refused
        A value that would not stay one value.
    """
    own = submission.description
    lines = [
        *_universe(files),
        *((name, escaped(own[name])) for name in _TAKEN_OVER if own.get(name)),
        ("+EWMSAttempt", str(submission.attempt)),
        ("+EWMSWorkers", str(submission.n_workers)),
        # No `batch_name`: HTCondor would write it into the cluster's event instead of these.
        ("submit_event_notes", escaped(str(_notes(submission)))),
        ("max_idle", str(min(submission.n_workers, MAX_IDLE))),
        ("log", escaped(str(files.log))),
        ("initialdir", escaped(str(files.folder))),
        ("environment", f'"EWMS_PILOT_ENV_FILE={ENV_FILE}"'),
        *_transfer(submission, files),
        *_policy(),
    ]
    if own.get("priority"):
        # A submit description takes a number only; the macro is one for each proc that is made.
        lines += [
            ("ewms_priority", escaped(own["priority"]).replace("ProcId", "$(ProcId)")),
            ("priority", "$INT(ewms_priority)"),
        ]
    owner = _NO_ACCOUNT.sub("_", own.get("accounting_group_user", ""))
    if owner:
        lines.append(("accounting_group_user", owner))
    return tuple(lines)


def _universe(files: JobFiles) -> list[tuple[str, str]]:
    arguments = [("arguments", quoted(*files.arguments))] if files.arguments else []
    if files.image:
        return [
            ("universe", "container"),
            ("container_image", escaped(files.image)),
            ("executable", escaped(files.executable)),
            ("transfer_executable", "false"),
            *arguments,
        ]
    return [
        ("universe", "vanilla"),
        ("executable", escaped(files.executable)),
        ("transfer_executable", "true"),
        *arguments,
    ]


def _transfer(submission: Submission, files: JobFiles) -> list[tuple[str, str]]:
    sources = (str(files.folder / ENV_FILE), *files.input_files)
    if any("," in source for source in sources):
        raise Refused("an input file's name must have no comma")
    lines = [
        ("should_transfer_files", "YES"),
        ("when_to_transfer_output", "ON_EXIT"),
        ("transfer_input_files", escaped(", ".join(sources))),
        # Nothing that a worker leaves behind: its results go through the queues.
        ("transfer_output_files", '""'),
    ]
    if submission.keep_output:
        lines += [("output", "$(ProcId).out"), ("error", "$(ProcId).err")]
    return lines


def _policy() -> list[tuple[str, str]]:
    """What ends a worker, what holds it, and what lets it run again."""
    # A container's runtime turns a signal into an exit code from 128 on.
    by_signal = "(ExitBySignal =?= true || (ExitCode =!= undefined && ExitCode >= 128))"
    return [
        ("on_exit_remove", f"!{by_signal}"),
        ("on_exit_hold", f"{by_signal} && NumJobStarts >= {MAX_STARTS}"),
        (
            "on_exit_hold_reason",
            string(f"The job was started {MAX_STARTS} times and each time ended by a signal."),
        ),
        ("on_exit_hold_subcode", str(POLICY_STARTS)),
        ("periodic_hold", "JobStatus == 2 && MemoryUsage > RequestMemory"),
        ("periodic_hold_reason", string("Memory usage is above what was asked for.")),
        ("periodic_hold_subcode", str(POLICY_MEMORY)),
    ]


def _notes(submission: Submission) -> SubmissionNotes:
    return SubmissionNotes(submission.taskforce, submission.attempt, submission.n_workers)


def escaped(value: str) -> str:
    """A value that HTCondor reads as it stands here.

    Raises
    ------
    Refused
        It has control characters, or would go on in the next line.
    """
    if _CONTROL.search(value):
        raise Refused(f"{value[:64]!r} has control characters")
    if value.rstrip().endswith("\\"):
        raise Refused(f"{value[:64]!r} ends with a backslash")
    return value.replace("$", "$(DOLLAR)")


def quoted(*words: str) -> str:
    """Words as arguments, in HTCondor's new syntax."""
    inner = " ".join("'" + word.replace("'", "''").replace('"', '""') + "'" for word in words)
    return '"' + escaped(inner) + '"'


def string(text: str) -> str:
    """A text as a string of the ClassAd language."""
    return '"' + escaped(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def submit_text(lines: Iterable[tuple[str, str]]) -> str:
    """The submit description's text. Raises ValueError for a line that would be two."""
    made = []
    for name, value in lines:
        if not _NAME.fullmatch(name) or _CONTROL.search(value) or value.endswith("\\"):
            raise ValueError(f"no line of a submit description: {name}")
        made.append(f"{name} = {value}\n")
    return "".join(made)
