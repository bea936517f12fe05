"""The job event log's text, written and read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewms_tms import event_text
from ewms_tms.event_log import EventParser
from ewms_tms.job_events import EventKind, JobEvent
from ewms_tms.log_file import LogFile

EVENTS = [
    event_text.cluster_submitted(7, "<host>", "ewms taskforce=TF-1 attempt=2 n_workers=3"),
    event_text.job_submitted(7, 0, "<host>"),
    event_text.executing(7, 0, "host"),
    event_text.generic(7, 0, 'HTChirpEWMSPilotStatus: "Tasking"'),
    event_text.evicted(7, 0, "The worker was killed.", 9),
    event_text.exited(7, 0, 3),
    event_text.aborted(7, 1, "finished by the user"),
    event_text.held(7, 2, "Too much memory.", 34),
    event_text.released(7, 2, "go on"),
    event_text.factory_paused(7, "paused by the user", 1),
    event_text.factory_resumed(7),
    event_text.cluster_removed(7, 2, 3),
]


def parse(text: str) -> list[JobEvent]:
    return list(EventParser().feed(text.encode()))


def test_every_event_that_is_written_is_read_with_all_that_it_says() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    text = event_text.evicted(12, 4, "The worker was killed.", 9)
    (evicted,) = parse(text)
    assert (evicted.kind, evicted.cluster, evicted.proc) == (EventKind.EVICTED, 12, 4)
    assert (evicted.signal, evicted.text) == (9, "The worker was killed.")
    assert before - timedelta(milliseconds=1) <= evicted.time <= datetime.now(UTC)

    events = parse("".join(EVENTS))
    assert [event.kind for event in events] == [
        EventKind.CLUSTER_SUBMIT, EventKind.SUBMIT, EventKind.EXECUTE, EventKind.GENERIC,
        EventKind.EVICTED, EventKind.TERMINATED, EventKind.ABORTED, EventKind.HELD,
        EventKind.RELEASED, EventKind.FACTORY_PAUSED, EventKind.FACTORY_RESUMED,
        EventKind.CLUSTER_REMOVE,
    ]  # fmt: skip
    assert events[0].text == "ewms taskforce=TF-1 attempt=2 n_workers=3"
    assert events[3].text == 'HTChirpEWMSPilotStatus: "Tasking"'
    assert events[5].exit_code == 3
    assert (events[7].text, events[7].hold_code) == ("Too much memory.", 34)
    assert (events[9].text, events[9].hold_code) == ("paused by the user", 1)
    assert events[11].proc == -1


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('Setting job attribute A to "Started"', 'A: "Started"'),
        ("Setting job attribute A to 3", "A: 3"),
        ('Changing job attribute A from "x" to "y"', 'A: "y"'),
        (r'Changing job attribute A from "x\" to z" to "y to z"', 'A: "y to z"'),
        ("Changing job attribute A from 2 to 3", "A: 3"),
    ],
)
def test_an_attribute_that_a_job_sets_is_told_with_its_new_value(line: str, text: str) -> None:
    (event,) = parse(f"033 (230.001.000) 2026-11-25 08:33:32 {line}\n...\n")
    assert (event.kind, event.proc, event.text) == (EventKind.ATTRIBUTE_UPDATE, 1, text)


HTCONDOR = """\
035 (15004600.-01.000) 2026-10-10 01:32:16 Cluster submitted from host: <10.0.0.1:9618?alias=x>
    DAGMan says
    ewms taskforce=TF-9 attempt=1 n_workers=2
...
000 (15004600.000.000) 10/10 01:32:16 Job submitted from host: <10.0.0.1:9618?alias=x>
...
006 (15004600.000.000) 2026-10-10 01:32:20 Image size of job updated: 72
\t4  -  MemoryUsage of job (MB)
...
004 (15004600.000.000) 2026-10-10 01:33:02.125 Job was evicted. Code 1008 Subcode 0
\t(0) CPU times
\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Run Remote Usage
\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Run Local Usage
\t0  -  Run Bytes Sent By Job
\t0  -  Run Bytes Received By Job
\tReason: Job not found at execution machine
...
012 (15004600.000.000) 2026-10-10T01:33:02+02:00 Job was held.
\tError from slot1: memory usage exceeded request_memory
\tCode 34 Subcode 102
...
"""


def test_htcondors_own_forms_are_read() -> None:
    submitted, job, evicted, held = parse(HTCONDOR)
    assert "taskforce=TF-9" in submitted.text
    assert (job.time.astimezone().month, job.time.astimezone().hour) == (10, 1)
    assert evicted.text == "Job not found at execution machine"
    assert evicted.signal is None
    assert evicted.time.microsecond == 125_000
    assert (held.hold_code, held.hold_subcode) == (34, 102)
    assert held.text == "Error from slot1: memory usage exceeded request_memory"
    assert held.time == datetime(2026, 10, 9, 23, 33, 2, tzinfo=UTC)


@given(st.lists(st.integers(1, 400), max_size=40))
def test_how_the_bytes_are_cut_does_not_matter(cuts: list[int]) -> None:
    text = "".join(EVENTS).encode()
    parser, events, place = EventParser(), [], 0
    for cut in cuts:
        events += parser.feed(text[place : place + cut])
        place += cut
    events += parser.feed(text[place:])
    assert events == parse("".join(EVENTS))
    assert parser.n_corrupt == 0


@pytest.mark.parametrize("keep", range(1, 95, 7))
def test_a_half_written_event_is_waited_for_and_skipped_once_another_follows(keep: int) -> None:
    whole = event_text.held(1, 0, "Too much memory.", 34)
    torn, rest = whole[:keep], whole[keep:]
    parser = EventParser()
    assert list(parser.feed(torn.encode())) == []
    assert parser.n_corrupt == 0
    assert [event.kind for event in parser.feed(rest.encode())] == [EventKind.HELD]

    parser = EventParser()
    following = ("\n" + event_text.exited(1, 1, 0)).encode()
    assert [event.proc for event in parser.feed(torn.encode() + following)] == [1]
    assert parser.n_corrupt == 1


def test_an_event_right_behind_a_torn_one_in_the_same_line_is_read() -> None:
    parser = EventParser()
    text = "005 (1.000.000) 2026-11-2" + event_text.exited(1, 1, 0)
    assert [event.proc for event in parser.feed(text.encode())] == [1]
    assert parser.n_corrupt == 1


def test_an_end_without_a_result_is_corrupt_but_only_once_another_event_follows() -> None:
    parser = EventParser()
    text = "005 (1.000.000) 2026-11-23 10:00:00 Job terminated.\n\t(1) Nor\n...\n"
    assert list(parser.feed(text.encode())) == []
    assert parser.n_corrupt == 0
    assert len(list(parser.feed(event_text.exited(1, 1, 0).encode()))) == 1
    assert parser.n_corrupt == 1


@given(st.binary(max_size=400))
def test_whatever_stands_before_it_a_whole_event_is_read(garbage: bytes) -> None:
    parser = EventParser()
    events = list(parser.feed(garbage + b"\n" + event_text.exited(5, 6, 7).encode()))
    assert [(event.cluster, event.proc, event.exit_code) for event in events] == [(5, 6, 7)]


@given(st.text(max_size=300))
def test_no_text_of_a_worker_can_end_an_event_or_begin_one(text: str) -> None:
    spoof = f"{text}\n...\n005 (7.000.000) 2026-11-23 10:00:00 Job terminated.\n{text}"
    for event in (
        event_text.generic(7, 0, spoof),
        event_text.held(7, 0, spoof, 1),
        event_text.aborted(7, 0, spoof),
        event_text.cluster_submitted(7, "h", spoof),
    ):
        parser = EventParser()
        assert len(list(parser.feed((event + EVENTS[2]).encode(errors="replace")))) == 2
        assert parser.n_corrupt == 0


def test_a_log_is_read_further_as_it_grows_and_anew_when_it_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = LogFile(path)
    assert list(file.read()) == []
    event_text.append(str(path), *EVENTS[:2])
    assert len(list(file.read())) == 2
    event_text.append(str(path), EVENTS[2])
    assert [event.kind for event in file.read()] == [EventKind.EXECUTE]
    path.write_text(EVENTS[2])
    assert [event.kind for event in file.read()] == [EventKind.EXECUTE]
    path.rename(tmp_path / "rotated")
    path.write_text("".join(EVENTS))
    assert len(list(file.read())) == len(EVENTS)
