"""Lines on their way to stderr: passed on, and never in anybody's way."""

from __future__ import annotations

import io
import json
import os
import threading

from wms_grpc.part_logs import PartLogs


def test_each_line_says_its_part() -> None:
    stderr = io.BytesIO()
    with PartLogs(stderr, as_json=False) as logs:
        logs.take("wms", b"listening")
        logs.take("mqs", b"listening, too")
    assert stderr.getvalue() == b"wms | listening\nmqs | listening, too\n"


def test_json_stays_json() -> None:
    stderr = io.BytesIO()
    with PartLogs(stderr, as_json=True) as logs:
        logs.take("wms", b'{"event": "serving"}')
        logs.warn("a part ended", part="wms", exit_code=-9)
    first, second = map(json.loads, stderr.getvalue().splitlines())
    assert first == {"event": "serving"}
    assert (second["event"], second["part"], second["exit_code"]) == ("a part ended", "wms", -9)


def test_a_reader_that_does_not_read_stops_nobody() -> None:
    reading, writing = os.pipe()
    with (
        open(reading, "rb") as reader,
        open(writing, "wb") as writer,
        PartLogs(writer, as_json=False) as logs,
    ):
        for _ in range(50_000):
            logs.take("wms", b"x" * 1000)
        drained = threading.Thread(target=_read_until, args=(reader, b"dropped"))
        drained.start()
        drained.join(30)
        assert not drained.is_alive()


def _read_until(reader: io.BufferedReader, text: bytes) -> None:
    for line in reader:
        if text in line:
            return
