"""What is submitted for an assignment."""

from __future__ import annotations

import json
import re

import pytest

from ewms.wms.v1 import tms_service_pb2 as tms
from ewms_tms.grid import Refused, TaskforceUuid
from ewms_tms.submission import PilotSettings, compose_submission, pilot_environment, size_bytes
from ewms_tms.submission_notes import SubmissionNotes

SECRETS = ("T-one", "T-two", "T-out", "C-secret")


@pytest.fixture
def start() -> tms.StartAssignment:
    start = tms.StartAssignment(attempt=3, pilot_credential="C-secret", owner="ada")
    start.taskforce.taskforce_uuid = "TF-1"
    start.taskforce.n_workers = 11
    start.taskforce.worker_config.worker_memory = "512M"
    start.taskforce.worker_config.worker_disk = "2G"
    start.taskforce.worker_config.priority = 99
    for mqid, token in (("q2", "T-two"), ("q1", "T-one"), ("out", "T-out")):
        start.queues.add(
            mqid=mqid, auth_token=token, broker_type="postgres", broker_address=f"{mqid}:1",
            broker_tls=mqid == "q2",
        )  # fmt: skip
    task = start.task_directive
    task.task_image, task.task_args = "/a.sif", "cp {{INFILE}} {{OUTFILE}}\nsecond line"
    task.task_env["A"] = "b"
    task.input_queues.extend(["q1", "q2"])
    task.output_queues.append("out")
    return start


def test_the_pilot_is_told_its_task_and_its_queues_in_their_order(
    start: tms.StartAssignment,
) -> None:
    start.taskforce.pilot_config.environment["EWMS_PILOT_PREFETCH"] = "4"
    environment = pilot_environment(start, PilotSettings("process"))
    assert environment["EWMS_PILOT_TASK_IMAGE"] == "/a.sif"
    assert environment["EWMS_PILOT_TASK_ARGS"] == "cp {{INFILE}} {{OUTFILE}}\nsecond line"
    assert json.loads(environment["EWMS_PILOT_TASK_ENV_JSON"]) == {"A": "b"}
    assert environment["EWMS_PILOT_QUEUE_INCOMING"] == "q1;q2"
    assert environment["EWMS_PILOT_QUEUE_INCOMING_AUTH_TOKEN"] == "T-one;T-two"
    assert environment["EWMS_PILOT_QUEUE_INCOMING_BROKER_TYPE"] == "postgres;postgres"
    assert environment["EWMS_PILOT_QUEUE_INCOMING_BROKER_ADDRESS"] == "q1:1;q2:1"
    assert environment["EWMS_PILOT_QUEUE_INCOMING_BROKER_TLS"] == "false;true"
    assert environment["EWMS_PILOT_QUEUE_OUTGOING"] == "out"
    assert environment["EWMS_PILOT_QUEUE_CREDENTIAL"] == "C-secret"
    assert environment["EWMS_PILOT_RUNNER"] == "process"
    assert environment["EWMS_PILOT_PREFETCH"] == "4"
    assert not any(name.startswith("EWMS_PILOT_INIT") for name in environment)


def test_the_users_environment_cannot_replace_what_the_system_says(
    start: tms.StartAssignment,
) -> None:
    start.taskforce.pilot_config.environment["EWMS_PILOT_RUNNER"] = "shell"
    start.taskforce.pilot_config.environment["EWMS_PILOT_QUEUE_INCOMING"] = "another"
    environment = pilot_environment(start, PilotSettings("apptainer"))
    assert environment["EWMS_PILOT_RUNNER"] == "apptainer"
    assert environment["EWMS_PILOT_QUEUE_INCOMING"] == "q1;q2"
    start.taskforce.pilot_config.environment["EWMS_PILOT_TASK_ARGS"] = "rm"
    with pytest.raises(Refused, match="EWMS_PILOT_TASK_ARGS"):
        pilot_environment(start, PilotSettings("apptainer"))


def test_no_secret_stands_in_what_may_be_shown(start: tms.StartAssignment) -> None:
    submission = compose_submission(start, PilotSettings("process"))
    for secret in SECRETS:
        assert secret not in str(dict(submission.description))
        assert secret not in repr(submission)
        assert any(secret in value for value in submission.environment.values())


def test_the_description_says_what_a_worker_asks_for(start: tms.StartAssignment) -> None:
    start.taskforce.worker_config.condor_requirements = 'Arch == "X86_64" && (Memory > 1)'
    submission = compose_submission(start, PilotSettings("process"))
    description = submission.description
    assert description["request_memory"] == "512"
    assert description["request_disk"] == str(2 * 1024 * 1024)
    assert description["requirements"] == '(Arch == "X86_64" && (Memory > 1))'
    assert description["allowed_job_duration"] == "86400"
    assert description["+EWMSTaskforceUUID"] == '"TF-1"'
    assert submission.limits.memory_bytes == 512 << 20


def test_job_priority_falls_over_the_procs_to_half_of_it(start: tms.StartAssignment) -> None:
    expression = compose_submission(start, PilotSettings("process")).description["priority"]
    first, factor, last = map(int, re.findall(r"\d+", expression))
    assert first - factor * 0 / last == 99
    assert first - factor * 10 / last == 49
    start.taskforce.n_workers = 1
    assert compose_submission(start, PilotSettings("process")).description["priority"] == "99"


@pytest.mark.parametrize(
    "requirements",
    ["(Arch", "Arch)", 'Arch == "X86', "Arch\n+Owner = 1", "(Arch]", "Memory > 1\x00"],
)
def test_requirements_that_can_never_work_are_refused(
    start: tms.StartAssignment, requirements: str
) -> None:
    start.taskforce.worker_config.condor_requirements = requirements
    with pytest.raises(Refused):
        compose_submission(start, PilotSettings("process"))


def test_an_assignment_that_lacks_a_queue_is_refused(start: tms.StartAssignment) -> None:
    start.task_directive.input_queues.append("q3")
    with pytest.raises(Refused, match="lacks the profile"):
        compose_submission(start, PilotSettings("process"))


@pytest.mark.parametrize(
    ("text", "size"),
    [("512M", 512 << 20), ("1G", 1 << 30), ("1.5 GiB", 3 << 29), ("123", 123), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["12Q", "", "-1", "1e3", "M"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        size_bytes(text)


def test_notes_name_the_taskforce_wherever_they_stand() -> None:
    notes = SubmissionNotes(TaskforceUuid("TF-a.b-1"), 4, 1000)
    assert SubmissionNotes.parse(f"DAGMan was here {notes}") == notes
    assert SubmissionNotes.parse("somebody else's cluster") is None
