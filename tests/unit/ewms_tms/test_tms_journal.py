"""The journal of an agent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ewms_tms.grid import Cluster, TaskforceUuid
from ewms_tms.job_events import ClusterId
from ewms_tms.journal import Intent, Journal

INTENT = Intent(TaskforceUuid("TF-1"), 2, {"universe": "container"})
CLUSTER = Cluster(ClusterId(7), TaskforceUuid("TF-1"), 2, 3, datetime.now(UTC), "/log")


def test_an_intent_is_open_until_it_is_settled_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal(path).intend(INTENT)
    assert Journal(path).open_intents == [INTENT]
    again = Journal(path)
    again.settle(INTENT, ClusterId(7))
    assert Journal(path).open_intents == []
    assert Journal(path).description(ClusterId(7)) == {"universe": "container"}


def test_what_the_wms_knows_is_remembered_until_the_cluster_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.intend(INTENT)
    journal.settle(INTENT, ClusterId(7))
    journal.announce(CLUSTER)
    assert Journal(path).announced == {7: ("TF-1", 2)}
    assert Journal(path).description(ClusterId(7)) == {}
    journal.finish(ClusterId(7))
    assert Journal(path).announced == {}
    assert Journal(path).finished == {7}
    journal.forget([ClusterId(7)])
    assert Journal(path).finished == frozenset()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("keep", [1, 10, 40])
def test_a_torn_line_was_never_written_and_spoils_no_other(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.announce(CLUSTER)
    line = json.dumps({"intend": "TF-9", "attempt": 1, "description": {}}).encode()
    with path.open("ab") as file:
        file.write(line[:keep])
    journal.intend(INTENT)
    again = Journal(path)
    assert again.open_intents == [INTENT]
    assert again.announced == {7: ("TF-1", 2)}


def test_the_journal_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal(path).intend(INTENT)
    assert path.stat().st_mode & 0o777 == 0o600
