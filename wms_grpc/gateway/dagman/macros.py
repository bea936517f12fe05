"""The macros of a submit description: what is assigned, conditions, and `$(name)` in values.

A macro stands for its last value, wherever it is used; an assignment that names itself takes its
value so far. What only a submission or a machine knows (`$(Process)`, `$(Cluster)`, `$$(OpSys)`,
`$ENV(HOME)`, `$INT(x)`) stays as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from wms_grpc.gateway.dagman.conditions import truth
from wms_grpc.gateway.dagman.lines import BLANKS
from wms_grpc.gateway.dagman.live_macros import LIVE, item_names
from wms_grpc.gateway.dagman.submit import (
    Assignment,
    Queue,
    SubmitDescription,
    Test,
    lookup_name,
)
from wms_grpc.gateway.dagman.text import Findings
from wms_grpc.gateway.model import MAX_DEPTH, MAX_TOKEN, Position

__all__ = ["Macros"]

_MACRO = re.compile(r"\$\$\(|\$([A-Za-z_]\w*)?\(")
_SIMPLE = re.compile(r"\$\(([\w.]+)\)")
_BRACKET = re.compile(r"[()]")
_BODY = re.compile(r"([\w.]+)(?::(.*))?", re.DOTALL)


@dataclass(slots=True)
class _Block:
    """A conditional part that is open: whether its lines count now, did before, and its `else`."""

    is_taken: bool
    was_taken: bool
    has_else: bool = False


class Macros:
    """The macros of one node's description.

    Parameters
    ----------
    fixed
        Macros that nothing overrides, by their names in lower case.

    `used` are the names that values and conditions have asked for, `given` the assignments from
    outside of the description that count.
    """

    def __init__(self, fixed: Mapping[str, str], findings: Findings) -> None:
        self._fixed = fixed
        self._findings = findings
        self._values: dict[str, Assignment] = {}
        self._expanded: dict[str, str] = {}
        self._live: Mapping[str, str] = LIVE
        self.used: set[str] = set()
        self.given: dict[str, Assignment] = {}
        self.queue: Queue | None = None

    def run(
        self,
        before: Iterable[Assignment],
        description: SubmitDescription,
        after: Iterable[Assignment],
    ) -> None:
        """Take the assignments before, those of the description, and those after."""
        for assignment in before:
            self._assign(assignment)
            self.given[assignment.name] = assignment
        if description.values is not None:
            self._values.update(description.values)
            self._queued(description.queue)
        else:
            self._step(description)
        self._report_overridden()
        for assignment in after:
            self._assign(assignment)
            self.given[assignment.name] = assignment

    def _report_overridden(self) -> None:
        for name, given in list(self.given.items()):
            if self._values[name].position != given.position:
                message = (
                    f"{given.key} from VARS comes before the description, which sets it itself"
                )
                self._findings.add("OVERRIDDEN", message, given.position, given.key)
                del self.given[name]

    def _step(self, description: SubmitDescription) -> None:
        blocks: list[_Block] = []
        for statement in description.statements:
            match statement:
                case Test():
                    self._test(statement, blocks)
                case Assignment() if all(block.is_taken for block in blocks):
                    self._assign(statement)
                case Queue() if all(block.is_taken for block in blocks):
                    self._queued(statement)
        if blocks:
            message = "an if without its endif"
            self._findings.add("SUBMIT_SYNTAX", message, description.position, severity="error")

    def _queued(self, queue: Queue | None) -> None:
        self.queue = queue
        items = item_names(queue.said) if queue is not None else ()
        self._live = {**LIVE, **{name: name for name in items}} if items else LIVE

    @property
    def keys(self) -> Iterable[str]:
        """Return the keys that have a value, in lower case, in their order."""
        return self._values.keys()

    def name(self, key: str) -> str:
        """Return the key as it was last written."""
        return self._values[key].key

    def position(self, key: str) -> Position:
        """Return where the key got its value."""
        return self._values[key].position

    def value(self, key: str) -> str:
        """Return the value of a key, its macros replaced; an empty string where it has none."""
        if key not in self._expanded:
            value = self._values.get(key)
            self._expanded[key] = self.expanded(value.value, value.position) if value else ""
        return self._expanded[key].strip(BLANKS)

    def expanded(self, text: str, at: Position, within: tuple[str, ...] = ()) -> str:
        """Return the text with its macros replaced."""
        if "$" not in text:
            return text
        parts = _SIMPLE.split(text)
        if any("$" in part for part in parts[::2]):
            parts = self._parts(text, at, within)
        else:
            parts[1::2] = [self._named(word, None, at, within) for word in parts[1::2]]
        if sum(map(len, parts)) > MAX_TOKEN:
            message = f"its macros make a value of more than {MAX_TOKEN} characters"
            self._findings.add("TOO_LARGE", message, at, severity="error")
            return ""
        return "".join(parts)

    def _parts(self, text: str, at: Position, within: tuple[str, ...]) -> list[str]:
        """Return the parts of the text with their macros replaced, up to the bound."""
        closing = _closing(text)
        parts: list[str] = []
        start = size = 0
        for match in _MACRO.finditer(text):
            end = closing.get(match.end() - 1)
            if end is None or match.start() < start:
                continue
            body = text[match.end() : end]
            parts += text[start : match.start()], self._macro(match, body, at, within)
            size += len(parts[-1]) + len(parts[-2])
            start = end + 1
            if size > MAX_TOKEN:
                return parts
        return [*parts, text[start:]]

    def _macro(self, match: re.Match[str], body: str, at: Position, within: tuple[str, ...]) -> str:
        if "$" in body and len(within) < MAX_DEPTH:
            body = self.expanded(body, at, (*within, ""))
        if match[0] == "$$(":
            return f"$$({body})"
        if match[1]:
            self._report_function(match[1], body, at)
            return f"${match[1]}({body})"
        said = _BODY.fullmatch(body)
        return f"$({body})" if said is None else self._named(said[1], said[2], at, within)

    def _named(self, word: str, default: str | None, at: Position, within: tuple[str, ...]) -> str:
        name = word.lower()
        self.used.add(name)
        if name == "dollar":
            return "$"
        if name in self._live:
            self._report_live(self._live[name], at)
            return f"$({self._live[name]})"
        return self._known(name, default, at, within)

    def _known(self, name: str, default: str | None, at: Position, within: tuple[str, ...]) -> str:
        if name in self._fixed:
            return self._fixed[name]
        value = self._values.get(name)
        if value is None:
            if default is None:
                message = f"the macro $({name}) has no value, and is replaced by nothing"
                self._findings.add("UNDEFINED_MACRO", message, at, name)
            return default or ""
        if name in self._expanded:
            return self._expanded[name]
        if name in within or len(within) >= MAX_DEPTH:
            message = f"the macro $({name}) stands for itself"
            self._findings.add("MACRO_CYCLE", message, value.position, name, severity="error")
            return ""
        self._expanded[name] = self.expanded(value.value, value.position, (*within, name))
        return self._expanded[name]

    def _assign(self, assignment: Assignment) -> None:
        if assignment.is_own:
            said = self._with_itself(assignment)
            assignment = replace(assignment, value=said, is_own=False)
        self._values[assignment.name] = assignment
        self._expanded.clear()

    def _with_itself(self, assignment: Assignment) -> str:
        said, at = assignment.value, assignment.position
        name = re.escape(assignment.name)
        itself = re.compile(rf"\$\({name}(?::([^()$]*))?\)", re.IGNORECASE)
        old = self._values.get(assignment.name)
        if old is not None and len(itself.findall(said)) * len(old.value) > MAX_TOKEN:
            message = f"it makes a value of more than {MAX_TOKEN} characters"
            self._findings.add("TOO_LARGE", message, at, severity="error")
            return ""
        return itself.sub(lambda match: old.value if old else match[1] or "", said)

    def _test(self, test: Test, blocks: list[_Block]) -> None:
        if test.word == "if":
            holds = all(block.is_taken for block in blocks) and self._holds(test)
            blocks.append(_Block(is_taken=holds, was_taken=holds))
        elif not blocks or (blocks[-1].has_else and test.word != "endif"):
            message = f"{test.word} without an if" if not blocks else f"{test.word} after an else"
            self._findings.add("SUBMIT_SYNTAX", message, test.position, severity="error")
        elif test.word == "endif":
            blocks.pop()
        else:
            block = blocks[-1]
            block.has_else = test.word == "else"
            is_open = all(outer.is_taken for outer in blocks[:-1]) and not block.was_taken
            block.is_taken = is_open and (block.has_else or self._holds(test))
            block.was_taken |= block.is_taken

    def _holds(self, test: Test) -> bool:
        condition = self.expanded(test.condition, test.position).strip(BLANKS)
        is_negated = condition.startswith("!")
        condition = condition.lstrip("! \t").lower()
        if condition.startswith("defined "):
            name = lookup_name(condition.removeprefix("defined ").strip(BLANKS))
            self.used.add(name)
            return (name in self._values or name in self._fixed or name in LIVE) != is_negated
        holds = truth(condition)
        if holds is None:
            message = f"the condition {condition[:40]!r} is not evaluated, and taken for false"
            self._findings.add("CONDITION", message, test.position, severity="error")
            return False
        return holds != is_negated

    def _report_function(self, name: str, body: str, at: Position) -> None:
        code = "NEEDS_ACCESS_POINT" if name.upper() == "ENV" else "NO_COUNTERPART"
        message = f"${name}({body[:40]}) is left as it is: only the access point knows its value"
        self._findings.add(code, message, at, f"${name}")

    def _report_live(self, name: str, at: Position) -> None:
        if name != "Process":
            message = f"$({name}) is known at the submission only, and is left as it is"
            self._findings.add("RUNTIME_MACRO", message, at, name, severity="info")


def _closing(text: str) -> dict[int, int]:
    """Return where each bracket that is closed is closed, by where it is opened."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACKET.finditer(text):
        if match[0] == "(":
            opened.append(match.start())
        elif opened:
            closing[opened.pop()] = match.start()
    return closing
