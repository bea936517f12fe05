"""What a DAG file says of one node beside its definition, and the annotations it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from wms_grpc.domain.nets import Annotations
from wms_grpc.domain.tasks import BatchWork, Task
from wms_grpc.gateway.dagman.names import written_name
from wms_grpc.gateway.dagman.submit_writer import unplaced
from wms_grpc.gateway.dagman.text import Findings
from wms_grpc.gateway.model import FindingSeverity, Position

__all__ = ["Notes", "node_lines", "quoted"]

_PLAIN = re.compile(r"""[^\s"'\\{@=][^\s"'\\]*""")


def quoted(word: str) -> str:
    """Return the text as one word of a DAG file."""
    if _PLAIN.fullmatch(word):
        return word
    return '"' + re.sub(r'(["\\])', r"\\\1", re.sub(r"[\r\n\0]", " ", word)) + '"'


class Notes:
    """DAGMan's annotations, each in the shape that it must have; what has another is not there."""

    def __init__(self, annotations: Annotations) -> None:
        own = annotations.get("dagman")
        self._own: Mapping[str, object] = own if isinstance(own, Mapping) else {}
        self.other_languages = [name for name in annotations if name != "dagman"]

    def text(self, key: str) -> str:
        """Return a text; an empty one where there is none."""
        said = self._own.get(key)
        return said if isinstance(said, str) else ""

    def has(self, key: str) -> bool:
        """Whether there is such an annotation."""
        return key in self._own

    def texts(self, key: str) -> list[str]:
        """Return a list of texts."""
        return _texts(self._own.get(key))

    def rows(self, key: str) -> list[list[str]]:
        """Return a list of lists of texts."""
        said = self._own.get(key)
        rows = said if isinstance(said, Sequence) and not isinstance(said, str) else []
        return [row for row in map(_texts, rows) if row]

    def pairs(self, key: str) -> Iterator[tuple[list[str], list[str]]]:
        """Yield pairs of lists of texts."""
        said = self._own.get(key)
        for pair in said if isinstance(said, Sequence) and not isinstance(said, str) else []:
            if isinstance(pair, Sequence) and len(pair) == 2:
                yield _texts(pair[0]), _texts(pair[1])

    def table(self, key: str) -> dict[str, str]:
        """Return texts by their keys."""
        said = self._own.get(key)
        return {str(k): str(v) for k, v in said.items()} if isinstance(said, Mapping) else {}

    def part(self, key: str) -> Notes:
        """Return annotations within an annotation."""
        return Notes({"dagman": self._own.get(key)})


def node_lines(task: Task, notes: Notes, findings: Findings) -> Iterator[str]:
    """Yield the commands about the node."""
    yield from _Node(task, notes, findings).lines()


class _Node:
    def __init__(self, task: Task, notes: Notes, findings: Findings) -> None:
        self._task = task
        self._notes = notes
        self._findings = findings
        self._name = written_name(task.name)
        self._folder = notes.text("dir")

    def lines(self) -> Iterator[str]:
        for word, key in (("", "vars"), (" APPEND", "append_vars")):
            for name, value in self._notes.table(key).items():
                yield f"VARS {self._name}{word} {name}={_string(value)}"
        yield from self._scripts()
        yield from self._recovery()
        yield from self._tolerance()
        task = self._task
        if task.pre_skip is not None:
            yield f"PRE_SKIP {self._name} {task.pre_skip}"
        if task.abort is not None:
            returned = "" if task.abort.returned is None else f" RETURN {task.abort.returned}"
            yield f"ABORT-DAG-ON {self._name} {task.abort.exit_code}{returned}"
        if task.priority and self._is_node("a priority"):
            yield f"PRIORITY {self._name} {task.priority}"
        if task.category and self._is_node("a category"):
            yield f"CATEGORY {self._name} {quoted(task.category)}"
        if self._notes.has("save_point_file"):
            file = self._notes.text("save_point_file")
            yield f"SAVE_POINT_FILE {self._name} {quoted(file) if file else ''}".rstrip()

    def _scripts(self) -> Iterator[str]:
        for moment, script in (("PRE", self._task.pre), ("POST", self._task.post)):
            if script is not None:
                defer = (
                    ""
                    if script.defer_status is None
                    else f" DEFER {script.defer_status} {script.defer_seconds}"
                )
                words = [unplaced(self._folder, script.executable), *script.arguments]
                yield self._script(
                    moment, defer, self._notes.texts(f"{moment.lower()}_debug"), words
                )
        hold = self._notes.part("hold_script")
        if words := hold.texts("words"):
            defer = "".join(f" {word}" for word in hold.texts("defer"))
            yield self._script("HOLD", defer and " DEFER" + defer, hold.texts("debug"), words)
        if self._task.recovery.then == "skip" and self._task.post is None:
            self._report("the node succeeds whatever its job does, by a POST script", "info")
            yield f"SCRIPT POST {self._name} /bin/true"

    def _script(self, moment: str, defer: str, debug: list[str], words: list[str]) -> str:
        if any(re.search(r"\s", word) or not word for word in words) or words[-1].endswith("\\"):
            self._report("a script's words cannot be empty, have blanks, or end with a backslash")
            words = [re.sub(r"\s", "_", word) or "_" for word in words]
            words[-1] = words[-1].rstrip("\\") or "_"
        stream = f" DEBUG {quoted(debug[0])} {debug[1]}" if len(debug) == 2 else ""
        return f"SCRIPT{defer}{stream} {moment} {self._name} {' '.join(words)}"

    def _recovery(self) -> Iterator[str]:
        recovery = self._task.recovery
        is_tried = recovery.max_tries > 1 or bool(recovery.never_on)
        if is_tried and self._is_node("retries"):
            unless = f" UNLESS-EXIT {recovery.never_on[0]}" if recovery.never_on else ""
            yield f"RETRY {self._name} {recovery.max_tries - 1}{unless}"
        if len(recovery.never_on) > 1:
            self._report("UNLESS-EXIT takes one exit code", "warning")
        if recovery.backoff:
            self._report("DAGMan retries at once, without a backoff", "warning")
        if recovery.retry_on:
            self._report("DAGMan retries after any failure", "warning")
        if recovery.then in ("fallback", "compensate"):
            self._report(f"DAGMan has no {recovery.then} task: {recovery.task} is a node as others")

    def _tolerance(self) -> Iterator[str]:
        work, mode = self._task.work, self._notes.text("tolerance_mode")
        said = self._notes.text("tolerance")
        if isinstance(work, BatchWork) and not said:
            said = self._tolerated(work)
        if said:
            yield f"TOLERANCE {self._name} {said} {mode}".rstrip()

    def _tolerated(self, work: BatchWork) -> str:
        rule = work.success
        if rule.at_least is not None:
            if rule.at_least > work.n_procs:
                self._report("more procs are to succeed than there are")
            return str(max(work.n_procs - rule.at_least, 0))
        if rule.share is None:
            return ""
        percent = round(100 - rule.share * 100, 6)
        if percent == int(percent):
            return f"{int(percent)}%"
        self._report("a share is a whole number of percent in DAGMan", "warning")
        return str(int(work.n_procs * (1 - rule.share)))

    def _is_node(self, what: str) -> bool:
        if self._task.role == "node":
            return True
        self._report(f"a {self._task.role} node cannot have {what}", "warning")
        return False

    def _report(self, message: str, severity: FindingSeverity = "error") -> None:
        self._findings.add("NO_COUNTERPART", message, Position(), self._task.name, severity)


def _texts(said: object) -> list[str]:
    if not isinstance(said, Sequence) or isinstance(said, str):
        return []
    return [str(each) for each in said]


def _string(value: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", re.sub(r"[\r\n\0]", " ", value)) + '"'
