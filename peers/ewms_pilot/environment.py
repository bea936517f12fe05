"""From the environment to a `PilotConfig`: every variable that a pilot knows, with its default.

Reading is pure but for `take_env_file`, which removes the file that it reads: it holds secrets.
Every problem is a `ConfigurationError` that names its variable. Secrets are kept out of `repr`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NewType, TypeVar, get_args

from ewms_pilot.errors import ConfigurationError

__all__ = [
    "ChirpConfig",
    "ChirpDestination",
    "Command",
    "Mqid",
    "PilotConfig",
    "QueueAddress",
    "RunnerKind",
    "read_config",
    "take_env_file",
]

Mqid = NewType("Mqid", str)
RunnerKind = Literal["apptainer", "docker", "process"]
ChirpDestination = Literal["JOB_EVENT_LOG", "JOB_ATTR"]

_T = TypeVar("_T", bound=str)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class QueueAddress:
    """A queue, where its broker is, and the token it came with (None: fetch one)."""

    mqid: Mqid
    broker_address: str
    broker_tls: bool = False
    auth_token: str | None = field(default=None, repr=False)
    broker_type: str = "postgres"


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: an image, its arguments with their placeholders, and its environment."""

    image: str
    args: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChirpConfig:
    """Whether, where to and how status is told to the pool."""

    is_enabled: bool = False
    destination: ChirpDestination = "JOB_EVENT_LOG"
    socket: Path | None = None


@dataclass(frozen=True, slots=True)
class PilotConfig:
    """All settings of a pilot. Times are in seconds; None means no limit."""

    task: Command
    init: Command | None
    incoming: tuple[QueueAddress, ...]
    outgoing: tuple[QueueAddress, ...]
    scratch_base: Path
    runner: RunnerKind = "apptainer"
    credential: str | None = field(default=None, repr=False)
    mqs_address: str = ""
    mqs_tls: bool = False
    mqs_ca: str | None = None
    infile_ext: str = ".in"
    outfile_ext: str = ".out"
    prefetch: int = 1
    max_concurrent_tasks: int = 1
    first_message_timeout: float | None = None
    incoming_timeout: float | None = None
    task_timeout: float | None = None
    init_timeout: float | None = None
    stop_listening_on_task_error: bool = False
    okay_errors: tuple[str, ...] = ()
    quarantine_time: float = 0.0
    chirp: ChirpConfig = ChirpConfig()


def take_env_file(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with what `EWMS_PILOT_ENV_FILE` adds to it; the file is removed.

    The file is a JSON object of strings and wins over the environment. It is removed even when it
    is no such object: whatever it holds, it must not be left behind for the tasks to read.
    """
    name = "EWMS_PILOT_ENV_FILE"
    merged = dict(environ)
    path = merged.pop(name, "")
    if not path:
        return merged
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(name, f"cannot be read: {error}") from error
    finally:
        Path(path).unlink(missing_ok=True)
    merged.update(_string_map(name, text))
    return merged


def read_config(environ: Mapping[str, str]) -> PilotConfig:
    """The settings of `environ`. Raises ConfigurationError for the first that is wrong."""
    read = _Reader(environ)
    runner = read.choice("EWMS_PILOT_RUNNER", get_args(RunnerKind), "apptainer")
    incoming_timeout = read.seconds("EWMS_PILOT_TIMEOUT_QUEUE_INCOMING")
    first_timeout = read.seconds("EWMS_PILOT_TIMEOUT_QUEUE_WAIT_FOR_FIRST_MESSAGE")
    incoming = read.queues("EWMS_PILOT_QUEUE_INCOMING")
    if not incoming:
        raise ConfigurationError("EWMS_PILOT_QUEUE_INCOMING", "is required")
    task = read.command("EWMS_PILOT_TASK", runner)
    if task is None:
        raise ConfigurationError("EWMS_PILOT_TASK_IMAGE", "is required")
    config = PilotConfig(
        task=task,
        init=read.command("EWMS_PILOT_INIT", runner),
        incoming=incoming,
        outgoing=read.queues("EWMS_PILOT_QUEUE_OUTGOING"),
        scratch_base=Path(environ.get("_CONDOR_SCRATCH_DIR") or Path.cwd() / "tmp").absolute(),
        runner=runner,
        credential=read.text("EWMS_PILOT_QUEUE_CREDENTIAL") or None,
        mqs_address=read.text("EWMS_PILOT_MQS_ADDRESS"),
        mqs_tls=read.boolean("EWMS_PILOT_MQS_TLS") or bool(read.text("EWMS_PILOT_MQS_CA")),
        mqs_ca=read.text("EWMS_PILOT_MQS_CA") or None,
        infile_ext=read.extension("EWMS_PILOT_INFILE_EXT", ".in"),
        outfile_ext=read.extension("EWMS_PILOT_OUTFILE_EXT", ".out"),
        prefetch=read.integer("EWMS_PILOT_PREFETCH", 1, least=0),
        max_concurrent_tasks=read.integer("EWMS_PILOT_MAX_CONCURRENT_TASKS", 1, least=1),
        first_message_timeout=incoming_timeout if first_timeout is None else first_timeout,
        incoming_timeout=incoming_timeout,
        task_timeout=read.seconds("EWMS_PILOT_TASK_TIMEOUT"),
        init_timeout=read.seconds("EWMS_PILOT_INIT_TIMEOUT"),
        stop_listening_on_task_error=read.boolean("EWMS_PILOT_STOP_LISTENING_ON_TASK_ERROR"),
        okay_errors=read.items("EWMS_PILOT_OKAY_ERRORS"),
        quarantine_time=read.seconds("EWMS_PILOT_QUARANTINE_TIME") or 0.0,
        chirp=read.chirp(),
    )
    _require_access(config)
    return config


class _Reader:
    """Typed reading of single variables; blank means absent."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def integer(self, name: str, default: int, *, least: int) -> int:
        text = self.text(name)
        if not text:
            return default
        if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < least:
            raise ConfigurationError(name, f"must be a whole number from {least} on, not {text!r}")
        return int(text)

    def seconds(self, name: str) -> float | None:
        text = self.text(name)
        if not text:
            return None
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
            raise ConfigurationError(name, f"must be a number of seconds, not {text!r}")
        return float(text)

    def boolean(self, name: str) -> bool:
        text = self.text(name).lower()
        if text in _TRUE:
            return True
        if not text or text in _FALSE:
            return False
        raise ConfigurationError(name, f"must be true or false, not {text!r}")

    def choice(self, name: str, choices: tuple[_T, ...], default: _T) -> _T:
        text = self.text(name) or default
        for choice in choices:
            if text == choice:
                return choice
        raise ConfigurationError(name, f"must be one of {', '.join(choices)}, not {text!r}")

    def extension(self, name: str, default: str) -> str:
        text = self.text(name) or default
        if "/" in text or "\0" in text:
            raise ConfigurationError(name, f"must be a file name's ending, not {text!r}")
        return text

    def items(self, name: str) -> tuple[str, ...]:
        return tuple(item.strip() for item in self.text(name).split(";") if item.strip())

    def chirp(self) -> ChirpConfig:
        socket = self.text("EWMS_PILOT_CHIRP_SOCKET")
        return ChirpConfig(
            is_enabled=self.boolean("EWMS_PILOT_HTCHIRP"),
            destination=self.choice(
                "EWMS_PILOT_HTCHIRP_DEST", get_args(ChirpDestination), "JOB_EVENT_LOG"
            ),
            socket=Path(socket) if socket else None,
        )

    def command(self, prefix: str, runner: RunnerKind) -> Command | None:
        image, args = self.text(f"{prefix}_IMAGE"), self.text(f"{prefix}_ARGS")
        if not image and not args:
            return None
        if runner == "process" and not args:
            raise ConfigurationError(f"{prefix}_ARGS", "is the command, and is required")
        if runner != "process" and not image:
            raise ConfigurationError(f"{prefix}_IMAGE", f"is required by the runner {runner}")
        try:
            split = tuple(shlex.split(args))
        except ValueError as error:
            raise ConfigurationError(f"{prefix}_ARGS", f"cannot be split: {error}") from error
        env_name = f"{prefix}_ENV_JSON"
        return Command(image, split, _string_map(env_name, self.text(env_name) or "{}"))

    def queues(self, prefix: str) -> tuple[QueueAddress, ...]:
        mqids = self.items(prefix)
        if not mqids:
            return ()
        types = self._one_for_each(f"{prefix}_BROKER_TYPE", len(mqids))
        addresses = self._one_for_each(f"{prefix}_BROKER_ADDRESS", len(mqids))
        tokens = self._one_for_each(f"{prefix}_AUTH_TOKEN", len(mqids))
        tls = self._one_for_each(f"{prefix}_BROKER_TLS", len(mqids))
        for broker_type in types:
            if broker_type not in ("", "postgres", "rabbitmq"):
                raise ConfigurationError(
                    f"{prefix}_BROKER_TYPE", f"this pilot cannot speak to {broker_type!r}"
                )
        for is_tls in tls:
            if is_tls.lower() not in _TRUE | _FALSE | {""}:
                raise ConfigurationError(f"{prefix}_BROKER_TLS", "must be true or false for each")
        if not all(addresses):
            raise ConfigurationError(f"{prefix}_BROKER_ADDRESS", "is required for each queue")
        return tuple(
            QueueAddress(
                Mqid(mqid), address, is_tls.lower() in _TRUE, token or None, kind or "postgres"
            )
            for mqid, address, token, is_tls, kind in zip(
                mqids, addresses, tokens, tls, types, strict=True
            )
        )

    def _one_for_each(self, name: str, count: int) -> list[str]:
        text = self.text(name)
        values = [value.strip() for value in text.split(";")] if text else [""] * count
        if len(values) != count:
            raise ConfigurationError(name, f"has {len(values)} values for {count} queues")
        return values


def _string_map(name: str, text: str) -> dict[str, str]:
    try:
        value = json.loads(text)
    except ValueError as error:
        # Without the parser's words: they may quote a secret.
        raise ConfigurationError(name, "is no JSON") from error
    if not isinstance(value, dict):
        raise ConfigurationError(name, "must be a JSON object")
    for key, item in value.items():
        if not _ENV_NAME.fullmatch(key):
            raise ConfigurationError(name, f"{key!r} is no name of a variable")
        if not isinstance(item, str | int | float) or isinstance(item, bool):
            raise ConfigurationError(name, f"{key} must be a string or a number")
        if "\0" in str(item):
            raise ConfigurationError(name, f"{key} holds a NUL character")
    return {key: str(item) for key, item in value.items()}


def _require_access(config: PilotConfig) -> None:
    queues = (*config.incoming, *config.outgoing)
    if any(queue.broker_type == "rabbitmq" for queue in queues) and not config.mqs_address:
        raise ConfigurationError("EWMS_PILOT_MQS_ADDRESS", "is required for queues on RabbitMQ")
    if config.credential:
        return
    for name, queues in (("INCOMING", config.incoming), ("OUTGOING", config.outgoing)):
        if not all(queue.auth_token for queue in queues):
            raise ConfigurationError(
                f"EWMS_PILOT_QUEUE_{name}_AUTH_TOKEN",
                "is required for each queue without EWMS_PILOT_QUEUE_CREDENTIAL",
            )
