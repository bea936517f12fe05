"""A task as a job description, and what is lost by it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from wms_grpc.domain.nets import Annotations
from wms_grpc.domain.tasks import BatchWork, NoopWork, Recovery, Script, Task
from wms_grpc.gateway.jdl_quoting import quoted_name, quoted_text
from wms_grpc.gateway.jdl_syntax import Text, as_written, parse_jdl
from wms_grpc.gateway.jdl_words import is_about_glue, joined_arguments, split_arguments
from wms_grpc.gateway.model import MAX_TOKEN, Finding, FindingSeverity, Position, Refused
from wms_grpc.gateway.sources import Source

__all__ = ["Lines", "Losses", "Places", "attributes_of", "job_lines", "quoted", "refused"]

Lines = list[tuple[str, str]]
"""Attributes, each with its value as it is written."""

_MAPPED: Final = frozenset(
    {
        "arguments",
        "cpunumber",
        "environment",
        "epilogue",
        "epiloguearguments",
        "executable",
        "inputsandbox",
        "inputsandboxbaseuri",
        "outputsandbox",
        "prologue",
        "prologuearguments",
        "retrycount",
        "stderror",
        "stdinput",
        "stdoutput",
        "type",
    }
)
_LONGEST: Final = 4_096
"""Of a name with a slash in it, that a reference may begin with."""
_ASSIGNED: Final = re.compile(r"[^=\s](?:[^=]*[^=\s])?")


def refused(code: str, message: str, subject: str) -> Refused:
    """Return the refusal of a task or a workflow."""
    return Refused(Finding(code, message, Position(), subject, "error"))


def quoted(text: str, subject: str) -> str:
    """Return a text as JDL says it. Raises Refused for what it cannot say."""
    if "\0" in text:
        raise refused("BAD_CHARACTER", "a NUL character has no form in this language", subject)
    said = quoted_text(text)
    if len(said) > MAX_TOKEN:
        raise refused("TOO_LARGE", f"a text longer than {MAX_TOKEN} bytes", subject)
    return said


@dataclass(slots=True)
class Losses:
    """What could not be said."""

    _findings: list[Finding] = field(default_factory=list)

    def add(
        self, what: str, message: str, subject: str, severity: FindingSeverity = "warning"
    ) -> None:
        """Keep a loss."""
        self._findings.append(
            Finding("NO_COUNTERPART", f"{what}: {message}", Position(), subject, severity)
        )

    def foreign(self, annotations: Annotations, subject: str) -> None:
        """Keep the loss of what other languages said."""
        for language in annotations:
            if language != "jdl":
                self.add(language, "annotations of another language are left out", subject)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them."""
        return tuple(self._findings)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the outputs of tasks stand: tasks by name, the names of their nodes, and the numbers
    of the outputs of those that were asked for.
    """

    tasks: Mapping[str, Task]
    keys: Mapping[str, str]
    numbers: dict[str, dict[str, int]] = field(default_factory=dict)

    def path(self, reference: str) -> str | None:
        """Return the path to an output, `task:<name>/<file>`; None where nobody has it."""
        said = reference.removeprefix("task:")
        at = said.find("/")
        while 0 <= at < _LONGEST:
            task = self.tasks.get(said[:at])
            if task is not None and isinstance(task.work, BatchWork) and task.work.executable:
                found = self._output(task.name, task.work, said[at + 1 :])
                if found:
                    return f"root.nodes.{quoted_name(self.keys[task.name])}.description.{found}"
            at = said.find("/", at + 1)
        return None

    def _output(self, name: str, work: BatchWork, file: str) -> str:
        if name not in self.numbers:
            numbered = reversed(list(enumerate(work.outputs)))
            self.numbers[name] = {output: number for number, output in numbered}
        number = self.numbers[name].get(file)
        if number is not None:
            return f"OutputSandbox[{number}]"
        if file and file == work.stdout:
            return "StdOutput"
        return "StdError" if file and file == work.stderr else ""


def attributes_of(
    annotations: Annotations, part: str, subject: str, losses: Losses
) -> dict[str, str]:
    """Return what was kept of a job description; what is no JDL is reported and left out."""
    said = annotations.get("jdl")
    kept = said.get(part) if isinstance(said, Mapping) else None
    attributes: dict[str, str] = {}
    for name, text in kept.items() if isinstance(kept, Mapping) else ():
        if isinstance(name, str) and isinstance(text, str) and _is_value(text) and name:
            attributes[name] = text
        else:
            losses.add(str(name), "its annotation is no value of this language", subject)
    return attributes


def job_lines(task: Task, places: Places, losses: Losses) -> Lines:
    """Return the attributes of a job. Raises Refused where it has nothing to execute."""
    kept = attributes_of(task.annotations, "attributes", task.name, losses)
    raw = {name.lower(): text for name, text in kept.items()}
    if isinstance(task.work, NoopWork):
        losses.add("noop", "a job that does nothing stands for it", task.name)
        lines: Lines = [("Executable", '"/bin/true"')]
    else:
        assert isinstance(task.work, BatchWork)
        lines = list(_work_lines(task.work, task.name, raw, places, losses))
        _report_work(task.work, task.name, losses)
    lines += _script_lines("Prologue", task.pre, task.name, raw, losses)
    lines += _script_lines("Epilogue", task.post, task.name, raw, losses)
    if task.recovery.max_tries != 1:
        lines.append(("RetryCount", str(task.recovery.max_tries - 1)))
    _report_task(task, losses)
    written = {name.lower(): text for name, text in lines}
    for name, text in kept.items():
        if name.lower() not in _MAPPED and name.lower() not in written:
            lines.append((name, text))
        elif written.get(name.lower()) != text:
            message = "its annotation says otherwise than the task, and is left out"
            losses.add(name, message, task.name)
    return lines


def _work_lines(
    work: BatchWork, name: str, raw: Mapping[str, str], places: Places, losses: Losses
) -> Iterator[tuple[str, str]]:
    if not work.executable:
        raise refused("NO_EXECUTABLE", "a job without an executable has no form", name)
    yield "Executable", quoted(work.executable, name)
    if work.arguments:
        yield "Arguments", _arguments(work.arguments, raw.get("arguments", ""), name)
    for word, file in (
        ("StdInput", work.stdin),
        ("StdOutput", work.stdout),
        ("StdError", work.stderr),
    ):
        if file:
            yield word, quoted(file, name)
    inputs = list(_inputs(work.inputs, name, places, losses))
    if inputs:
        yield "InputSandbox", _list(inputs)
    if work.outputs:
        yield "OutputSandbox", _list(quoted(file, name) for file in work.outputs)
    assigned = [
        quoted(f"{word}={value}", name)
        for word, value in work.environment.items()
        if _ASSIGNED.fullmatch(word)
    ]
    if len(assigned) < len(work.environment):
        losses.add("environment", "names with blanks or '=' are left out", name)
    if assigned:
        yield "Environment", _list(assigned)
    if work.n_cores is not None:
        yield "CPUNumber", str(work.n_cores)
    for word, text in (("Requirements", work.requirements), ("Rank", work.rank)):
        if text and not is_about_glue(text):
            yield word, text if _is_expression(text) else quoted(text, name)
        elif text:
            losses.add(word, "over GLUE attributes, will be read as an annotation", name)
            yield word, text if _is_expression(text) else quoted(text, name)


def _inputs(files: Iterable[str], name: str, places: Places, losses: Losses) -> Iterator[str]:
    for file in files:
        if not file.startswith("task:"):
            yield quoted(file, name)
            continue
        path = places.path(file)
        if path is None:
            losses.add("inputs", f"no task has the output {file}; it is left out", name)
        else:
            yield path


def _script_lines(
    word: str, script: Script | None, name: str, raw: Mapping[str, str], losses: Losses
) -> Iterator[tuple[str, str]]:
    if script is None:
        return
    yield word, quoted(script.executable, name)
    if script.arguments:
        said = raw.get(f"{word}Arguments".lower(), "")
        yield f"{word}Arguments", _arguments(script.arguments, said, name)
    if script.defer_status is not None:
        losses.add(word, "cannot be deferred", name)


def _arguments(arguments: tuple[str, ...], raw: str, name: str) -> str:
    # As it was written, if that still says the same: a shell may make more of it than words.
    value = parse_jdl(Source("", f"x = {raw}")).attributes[0].value if raw else None
    if isinstance(value, Text) and split_arguments(value.text) == arguments:
        return raw
    return quoted(joined_arguments(arguments), name)


def _report_work(work: BatchWork, name: str, losses: Losses) -> None:
    plain = BatchWork()
    for what in (
        "image",
        "n_procs",
        "memory",
        "disk",
        "max_runtime",
        "cluster_locations",
        "attributes",
        "success",
    ):
        if getattr(work, what) != getattr(plain, what):
            losses.add(what, "has no counterpart", name)


def _report_task(task: Task, losses: Losses) -> None:
    plain = Task(task.name, NoopWork())
    for what in ("pre_skip", "abort", "priority", "category", "is_done"):
        if getattr(task, what) != getattr(plain, what):
            losses.add(what, "has no counterpart", task.name)
    recovery = Recovery()
    for what in ("backoff", "retry_on", "never_on", "then", "task"):
        if getattr(task.recovery, what) != getattr(recovery, what):
            losses.add(f"recovery.{what}", "has no counterpart", task.name)
    losses.foreign(task.annotations, task.name)


def _list(items: Iterable[str]) -> str:
    return f"{{ {', '.join(items)} }}"


def _is_value(text: str) -> bool:
    source = Source("", f"x = {text}")
    try:
        record = parse_jdl(source)
    except Refused:
        return False
    only = record.attributes
    return len(only) == 1 and as_written(source, only[0].value) == text


def _is_expression(text: str) -> bool:
    if not _is_value(text):
        return False
    return not isinstance(parse_jdl(Source("", f"x = {text}")).attributes[0].value, Text)
