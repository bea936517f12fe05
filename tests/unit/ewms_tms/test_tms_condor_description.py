"""A taskforce as a submit description of HTCondor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewms_tms.grid import Refused, Submission, TaskforceUuid, WorkerLimits
from ewms_tms.grid.condor_description import (
    ENV_FILE,
    JobFiles,
    describe,
    escaped,
    quoted,
    string,
    submit_text,
)
from ewms_tms.submission_notes import SubmissionNotes

FILES = JobFiles(
    folder=Path("/data/TF-1/attempt-2"),
    log=Path("/data/logs/2026-11-25.tms.jel"),
    executable="/opt/ewms-pilot",
    arguments=(),
    input_files=("/in/a.txt", "https://example.org/b"),
)
SUBMISSION = Submission(
    taskforce=TaskforceUuid("TF-1"),
    attempt=2,
    n_workers=500,
    limits=WorkerLimits(1, 1 << 30, 1 << 30, 600, 50),
    keep_output=False,
    input_files=(),
    description={
        "universe": "vanilla",
        "request_cpus": "2",
        "request_memory": "1024",
        "allowed_job_duration": "600",
        "accounting_group_user": "https://idp.org/users|ada",
        "+EWMSTaskforceUUID": '"TF-1"',
        "priority": "50 - (25 * ProcId) / 499",
        "requirements": "(HasGpu)",
        "transfer_input_files": "/etc/passwd",
        "executable": "/bin/rm",
    },
    environment={"EWMS_PILOT_QUEUE_CREDENTIAL": "C-secret"},
)


def lines(submission: Submission = SUBMISSION, files: JobFiles = FILES) -> dict[str, str]:
    return dict(describe(submission, files))


def test_a_plain_process_is_shipped_and_a_container_names_its_image() -> None:
    vanilla = lines()
    assert vanilla["universe"] == "vanilla"
    assert (vanilla["executable"], vanilla["transfer_executable"]) == ("/opt/ewms-pilot", "true")
    container = lines(files=replace(FILES, image="/images/pilot:1.sif"))
    assert container["universe"] == "container"
    assert container["container_image"] == "/images/pilot:1.sif"
    assert container["transfer_executable"] == "false"


def test_the_ids_stand_in_the_cluster_and_in_its_event() -> None:
    made = lines()
    assert made["+EWMSTaskforceUUID"] == '"TF-1"'
    assert made["+EWMSAttempt"] == "2"
    assert SubmissionNotes.parse(made["submit_event_notes"]) == SubmissionNotes(
        TaskforceUuid("TF-1"), 2, 500
    )


def test_a_schedd_keeps_no_more_procs_than_it_needs() -> None:
    assert lines()["max_idle"] == "200"
    assert lines(replace(SUBMISSION, n_workers=3))["max_idle"] == "3"


def test_the_priority_falls_over_the_procs() -> None:
    made = lines()
    assert made["ewms_priority"] == "50 - (25 * $(ProcId)) / 499"
    assert made["priority"] == "$INT(ewms_priority)"


def test_no_secret_is_in_it_only_its_files_name() -> None:
    text = submit_text(describe(SUBMISSION, FILES))
    assert "C-secret" not in text
    assert f"EWMS_PILOT_ENV_FILE={ENV_FILE}" in text
    assert lines()["transfer_input_files"].startswith(f"/data/TF-1/attempt-2/{ENV_FILE}, ")


def test_what_the_taskforce_may_not_say_is_not_taken_over() -> None:
    text = submit_text(describe(SUBMISSION, FILES))
    assert "/etc/passwd" not in text
    assert "/bin/rm" not in text
    assert "requirements" not in text


def test_the_owner_is_an_accounting_name() -> None:
    assert lines()["accounting_group_user"] == "https___idp.org_users_ada"


def test_a_worker_that_a_signal_ends_goes_back_and_is_held_after_five_starts() -> None:
    made = lines()
    assert "ExitBySignal" in made["on_exit_remove"]
    assert "128" in made["on_exit_remove"]
    assert made["on_exit_hold"].endswith("NumJobStarts >= 5")
    assert "MemoryUsage > RequestMemory" in made["periodic_hold"]


def test_output_is_kept_for_each_worker_if_it_is_asked_for() -> None:
    assert "output" not in lines()
    kept = lines(replace(SUBMISSION, keep_output=True))
    assert (kept["output"], kept["error"]) == ("$(ProcId).out", "$(ProcId).err")


def test_a_comma_would_make_two_files_of_one() -> None:
    with pytest.raises(Refused, match="comma"):
        lines(files=replace(FILES, input_files=("/in/a,b",)))


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "a\\", "a\\  "])
def test_a_value_that_would_not_stay_one_is_refused(value: str) -> None:
    with pytest.raises(Refused):
        escaped(value)


def test_macros_in_values_stand_for_themselves() -> None:
    assert escaped("$(HOME) and $ENV(X)") == "$(DOLLAR)(HOME) and $(DOLLAR)ENV(X)"
    assert quoted("it's", 'a "b"') == "\"'it''s' 'a \"\"b\"\"'\""
    assert string('a "b"') == '"a \\"b\\""'


def test_a_line_that_would_be_two_is_never_written() -> None:
    for name, value in (("a b", "c"), ("a", "b\nc"), ("a", "b\\"), ("", "a"), ("a=b", "c")):
        with pytest.raises(ValueError, match="no line"):
            submit_text([(name, value)])


@given(st.text(max_size=40))
def test_whatever_a_value_is_it_is_one_line_or_refused(value: str) -> None:
    try:
        text = submit_text([("name", escaped(value))])
    except (Refused, ValueError):
        return
    assert text.count("\n") == 1
    assert "$(" not in text.replace("$(DOLLAR)", "")
