"""Every variable of a pilot: its default, its form, and the error that names it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ewms_pilot.environment import PilotConfig, read_config, take_env_file
from ewms_pilot.errors import ConfigurationError

LEAST = {
    "EWMS_PILOT_TASK_IMAGE": "/cvmfs/image:1",
    "EWMS_PILOT_QUEUE_INCOMING": "q1",
    "EWMS_PILOT_QUEUE_INCOMING_BROKER_ADDRESS": "mqs:7777",
    "EWMS_PILOT_QUEUE_CREDENTIAL": "secret",
    "_CONDOR_SCRATCH_DIR": "/scratch",
}


def read(**settings: str) -> PilotConfig:
    return read_config({**LEAST, **{f"EWMS_PILOT_{key}": value for key, value in settings.items()}})


def test_the_least_environment_gives_the_documented_defaults() -> None:
    config = read()
    assert config.runner == "apptainer"
    assert config.init is None
    assert config.outgoing == ()
    assert (config.infile_ext, config.outfile_ext) == (".in", ".out")
    assert (config.prefetch, config.max_concurrent_tasks) == (1, 1)
    assert config.first_message_timeout is config.incoming_timeout is None
    assert config.task_timeout is config.init_timeout is None
    assert config.stop_listening_on_task_error is False
    assert config.okay_errors == ()
    assert config.quarantine_time == 0
    assert not config.chirp.is_enabled
    assert config.scratch_base == Path("/scratch")


def test_lists_are_joined_by_semicolons() -> None:
    config = read(
        QUEUE_INCOMING="a; b",
        QUEUE_INCOMING_BROKER_ADDRESS="h1:1;h2:2",
        QUEUE_INCOMING_BROKER_TYPE="postgres;postgres",
        QUEUE_INCOMING_AUTH_TOKEN="t1;",
        QUEUE_INCOMING_BROKER_TLS="false;TRUE",
        OKAY_ERRORS="3; no hits found ;",
    )
    first, second = config.incoming
    assert (first.mqid, first.broker_address, first.auth_token) == ("a", "h1:1", "t1")
    assert (second.mqid, second.broker_address, second.auth_token) == ("b", "h2:2", None)
    assert (first.broker_tls, second.broker_tls) == (False, True)
    assert config.okay_errors == ("3", "no hits found")


def test_arguments_are_split_as_a_shell_would_without_being_one() -> None:
    config = read(TASK_ARGS="run --in {{INFILE}} 'two words' $HOME;ls")
    assert config.task.args == ("run", "--in", "{{INFILE}}", "two words", "$HOME;ls")


def test_the_first_messages_timeout_is_the_others_unless_it_is_set() -> None:
    assert read(TIMEOUT_QUEUE_INCOMING="5").first_message_timeout == 5
    both = read(TIMEOUT_QUEUE_INCOMING="5", TIMEOUT_QUEUE_WAIT_FOR_FIRST_MESSAGE="60.5")
    assert (both.first_message_timeout, both.incoming_timeout) == (60.5, 5)


def test_a_process_needs_arguments_and_a_container_an_image() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(RUNNER="process")
    assert caught.value.variable == "EWMS_PILOT_TASK_ARGS"
    with pytest.raises(ConfigurationError) as caught:
        read(INIT_ARGS="setup")
    assert caught.value.variable == "EWMS_PILOT_INIT_IMAGE"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUEUE_INCOMING", ""),
        ("QUEUE_INCOMING_BROKER_ADDRESS", ""),
        ("QUEUE_INCOMING_BROKER_ADDRESS", "a;b"),
        ("QUEUE_INCOMING_BROKER_TYPE", "pulsar"),
        ("QUEUE_INCOMING_BROKER_TLS", "perhaps"),
        ("TASK_IMAGE", ""),
        ("TASK_ARGS", "a 'b"),
        ("TASK_ENV_JSON", "[]"),
        ("TASK_ENV_JSON", '{"A": ["x"]}'),
        ("TASK_ENV_JSON", '{"A-B": "x"}'),
        ("TASK_ENV_JSON", '{"A": "x\\u0000y"}'),
        ("INFILE_EXT", "/../x"),
        ("PREFETCH", "-1"),
        ("PREFETCH", "1.5"),
        ("MAX_CONCURRENT_TASKS", "0"),
        ("TASK_TIMEOUT", "soon"),
        ("TASK_TIMEOUT", "nan"),
        ("STOP_LISTENING_ON_TASK_ERROR", "perhaps"),
        ("RUNNER", "podman"),
        ("HTCHIRP_DEST", "NOWHERE"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(**{name: value})
    assert caught.value.variable == f"EWMS_PILOT_{name}"


def test_without_a_credential_each_queue_needs_a_token() -> None:
    with pytest.raises(ConfigurationError, match="INCOMING_AUTH_TOKEN"):
        read(QUEUE_CREDENTIAL="")
    assert read(QUEUE_CREDENTIAL="", QUEUE_INCOMING_AUTH_TOKEN="t").incoming[0].auth_token == "t"


def test_queues_on_rabbitmq_need_the_mqs_that_has_their_tokens() -> None:
    with pytest.raises(ConfigurationError, match="EWMS_PILOT_MQS_ADDRESS"):
        read(QUEUE_INCOMING_BROKER_TYPE="rabbitmq")
    config = read(QUEUE_INCOMING_BROKER_TYPE="rabbitmq", MQS_ADDRESS="mqs:1")
    assert config.incoming[0].broker_type == "rabbitmq"
    assert (config.mqs_address, config.mqs_tls) == ("mqs:1", False)
    assert read(MQS_ADDRESS="mqs:1", MQS_CA="pem").mqs_tls
    assert read(MQS_ADDRESS="mqs:1", MQS_TLS="true").mqs_tls


def test_secrets_are_in_no_representation() -> None:
    config = read(QUEUE_INCOMING_AUTH_TOKEN="my-token", TASK_ENV_JSON='{"PASSWORD": "my-word"}')
    assert not any(secret in repr(config) for secret in ("my-token", "my-word", "'secret'"))


def test_the_env_file_wins_and_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "env.json"
    path.write_text(json.dumps({"EWMS_PILOT_QUEUE_CREDENTIAL": "from file", "N": 1}))
    merged = take_env_file({**LEAST, "EWMS_PILOT_ENV_FILE": str(path)})
    assert merged["EWMS_PILOT_QUEUE_CREDENTIAL"] == "from file"
    assert merged["N"] == "1"
    assert "EWMS_PILOT_ENV_FILE" not in merged
    assert not path.exists()


def test_a_bad_env_file_is_removed_too_and_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "env.json"
    path.write_text('{"EWMS_PILOT_QUEUE_CREDENTIAL": "hush"')
    with pytest.raises(ConfigurationError) as caught:
        take_env_file({"EWMS_PILOT_ENV_FILE": str(path)})
    assert "hush" not in str(caught.value)
    assert not path.exists()
    with pytest.raises(ConfigurationError, match="EWMS_PILOT_ENV_FILE"):
        take_env_file({"EWMS_PILOT_ENV_FILE": str(path)})
