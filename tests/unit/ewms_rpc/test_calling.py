"""The small parts on both sides of a call: addresses, waits, contexts, logs, running."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal

import pytest
import structlog

from ewms_rpc import logs
from ewms_rpc.addresses import NotAnAddress, is_loopback, require_address
from ewms_rpc.backoff import Backoff
from ewms_rpc.context import CallContext, current_call
from ewms_rpc.running import run


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:1", "127.8.9.10:0", "[::1]:1", "localhost:1", "unix:/run/x", "dns:///localhost:1"],
)
def test_addresses_that_stay_on_this_machine(address):
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost.example:1", ":1", "", "127.1:1"]
)
def test_addresses_that_others_may_reach(address):
    assert not is_loopback(address)


@pytest.mark.parametrize(
    "address", ["nonsense", "", "localhost", "localhost:", "h:65536", "h:-1", "::1:50051"]
)
def test_what_has_not_the_form_of_an_address(address):
    with pytest.raises(NotAnAddress, match="not HOST:PORT"):
        require_address(address)


@pytest.mark.parametrize("address", ["h:0", ":1", "127.0.0.1:65535", "[::]:1", "unix:/run/x"])
def test_what_has_the_form_of_an_address(address):
    require_address(address)


def test_waits_double_up_to_their_limit_and_start_again():
    backoff = Backoff(first=1, limit=5, jitter=0)
    assert [backoff.next_wait() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next_wait() == 1


def test_chance_only_shortens_a_wait():
    backoff = Backoff(first=4, limit=4, jitter=0.5)
    waits = [backoff.next_wait() for _ in range(200)]
    assert all(2 <= wait <= 4 for wait in waits)
    assert len(set(waits)) > 100


async def test_attempts_are_counted():
    seen = []
    async for attempt in Backoff(first=0.001, limit=0.001):
        seen.append(attempt)
        if attempt == 3:
            break
    assert seen == [1, 2, 3]


def test_a_request_id_is_the_clients_if_it_is_a_sound_one():
    assert CallContext(metadata=(("x-request-id", "r-1"),)).request_id == "r-1"
    fresh = CallContext(metadata=(("x-request-id", "two\nlines"),))
    assert len(fresh.request_id) == 32
    assert fresh.request_id == fresh.request_id


@pytest.fixture
def restored_logging():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("restored_logging")
def test_a_line_names_its_call_and_no_local_variable(capfd):
    logs.configure(json=True, level="info")
    token = current_call.set(CallContext("/x.Y/Z", metadata=(("x-request-id", "r-1"),)))
    try:
        fail_with_a_secret()
    except ValueError:
        structlog.get_logger("ours").exception("failed")
        logging.getLogger("theirs").warning("so %s", "what")
        structlog.get_logger("ours").debug("unheard")
    finally:
        current_call.reset(token)

    ours, theirs = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert (ours["event"], ours["method"], ours["request_id"]) == ("failed", "/x.Y/Z", "r-1")
    assert ours["exception"][0]["exc_type"] == "ValueError"
    assert "hunter2" not in json.dumps(ours)
    assert (theirs["event"], theirs["level"]) == ("so what", "warning")


def fail_with_a_secret():
    password = "hunter2"
    raise ValueError(f"a password of {len(password)} characters")


def test_the_first_signal_asks_and_the_second_one_insists():
    asked = []

    async def stubborn(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        asked.append(True)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        run(stubborn)
    assert asked == [True]


def test_a_program_that_ends_returns_its_value():
    async def quick(stop):
        return 7

    assert run(quick) == 7
