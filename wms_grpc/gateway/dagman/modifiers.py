"""Commands that say something about nodes and the DAG, each from the words of its line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from wms_grpc.gateway.dagman.commands import (
    Abort,
    Category,
    Command,
    Connect,
    Done,
    Edges,
    MaxJobs,
    Moment,
    Pin,
    Placement,
    PreSkip,
    Priority,
    Reject,
    Retry,
    SavePoint,
    ScriptCommand,
    Setting,
    Tolerance,
    Vars,
)
from wms_grpc.gateway.dagman.lines import split_blanks
from wms_grpc.gateway.dagman.names import ALL_NODES, read_name
from wms_grpc.gateway.dagman.words import Words
from wms_grpc.gateway.model import Position

__all__ = ["MODIFIERS", "Reader"]

Reader = Callable[[Words, Position], Command]

_MAX_INT: Final = 2**31 - 1
_MOMENTS: Final[Mapping[str, Moment]] = {"PRE": "PRE", "POST": "POST", "HOLD": "HOLD"}
_PLACEMENTS: Final[Mapping[str, Placement]] = {"PREPEND": "PREPEND", "APPEND": "APPEND"}
_DEBUG_STREAMS: Final = ("STDOUT", "STDERR", "ALL")


def _weak(words: Words, at: Position) -> Edges:
    if words.word().upper() != "PARENT":
        words.fail("WEAK without PARENT")
    return _edges(words, at, is_weak=True)


def _edges(words: Words, at: Position, is_weak: bool = False) -> Edges:
    sides: tuple[list[str], list[str]] = ([], [])
    side = 0
    while word := words.word():
        if word.upper() == "CHILD":
            side = 1
            if words.is_at_end():
                words.fail("CHILD without a child")
        else:
            sides[side].append(read_name(word))
    if not sides[0]:
        words.fail("PARENT without a parent")
    if not sides[1]:
        words.fail("PARENT without a CHILD")
    parents, children = (tuple(dict.fromkeys(names)) for names in sides)
    return Edges(parents, children, is_weak, at)


def _script(words: Words, at: Position) -> ScriptCommand:
    defer: tuple[int, int] | None = None
    debug: tuple[str, str] | None = None
    while (option := words.word().upper()) in ("DEFER", "DEBUG"):
        if option == "DEFER":
            status = words.number("the status of DEFER")
            defer = (status, words.number("the seconds of DEFER", 0))
        else:
            file = words.required("the file of DEBUG")
            stream = words.word().upper()
            if stream not in _DEBUG_STREAMS:
                words.fail("DEBUG takes STDOUT, STDERR or ALL")
            debug = (file, stream)
    moment = _MOMENTS.get(option)
    if moment is None:
        words.fail("SCRIPT takes PRE, POST or HOLD, with DEFER and DEBUG before it")
    node = words.node()
    command = tuple(split_blanks(words.rest()))
    if not command:
        words.fail("the script is missing")
    return ScriptCommand(node, moment, command, defer, debug, at)


def _retry(words: Words, at: Position) -> Retry:
    node = words.node()
    n_retries = words.number("the number of retries", 0)
    code = _option(words, "UNLESS-EXIT")
    return Retry(node, n_retries, code, at)


def _abort(words: Words, at: Position) -> Abort:
    node = words.node()
    code = words.number("the exit code")
    return Abort(node, code, _option(words, "RETURN", 0, 255), at)


def _option(words: Words, name: str, least: int = -_MAX_INT, most: int = _MAX_INT) -> int | None:
    option = words.word()
    if not option:
        return None
    if option.upper() != name:
        words.fail(f"{option!r} is not {name}")
    value = words.number(f"the value of {name}", least, most)
    words.end()
    return value


def _vars(words: Words, at: Position) -> Vars:
    node = words.node()
    placement: Placement = ""
    if not words.is_at_end() and not words.is_key():
        word = words.word().upper()
        if word not in _PLACEMENTS:
            words.fail(f"{word!r} is no key=value")
        placement = _PLACEMENTS[word]
    pairs: list[tuple[str, str]] = []
    while not words.is_at_end():
        key, value = words.pair()
        if key == "+":
            words.fail("a + without the name of an attribute")
        if key.lower().startswith("queue"):
            words.fail(f"the name {key} begins with `queue`")
        pairs.append((key, value))
    if not pairs:
        words.fail("VARS without a key=value")
    return Vars(node, tuple(pairs), placement, at)


def _priority(words: Words, at: Position) -> Priority:
    node, priority = words.node(), words.number("the priority")
    words.end()
    return Priority(node, priority, at)


def _pre_skip(words: Words, at: Position) -> PreSkip:
    node, code = words.node(), words.number("the exit code")
    words.end()
    return PreSkip(node, code, at)


def _tolerance(words: Words, at: Position) -> Tolerance:
    node = words.node()
    value, is_percent = words.measure("the tolerance", 0, _MAX_INT, "%")
    if is_percent and value > 100:
        words.report("INEXACT_NUMBER", f"a tolerance of {value}% is one of all")
        value = 100
    mode = words.word().upper()
    if mode not in ("", "FAIL-FAST", "WAIT"):
        words.fail(f"{mode!r} is not FAIL-FAST or WAIT")
    words.end()
    return Tolerance(node, value, is_percent, mode, at)


def _category(words: Words, at: Position) -> Category:
    node, category = words.node(), words.required("the category")
    words.end()
    return Category(node, category, at)


def _max_jobs(words: Words, at: Position) -> MaxJobs:
    category = words.required("the category")
    limit = words.number("the limit", 0)
    words.end()
    return MaxJobs(category, limit, at)


def _done(words: Words, at: Position) -> Done:
    node = words.node()
    if node == ALL_NODES:
        words.fail("DONE takes one node, not ALL_NODES")
    words.end()
    return Done(node, at)


def _save_point(words: Words, at: Position) -> SavePoint:
    node = words.node()
    if node == ALL_NODES:
        words.fail("SAVE_POINT_FILE takes one node, not ALL_NODES")
    file = words.word()
    words.end()
    return SavePoint(node, file, at)


def _pin_in(words: Words, at: Position) -> Pin:
    return _pin(words, at, is_out=False)


def _pin_out(words: Words, at: Position) -> Pin:
    return _pin(words, at, is_out=True)


def _pin(words: Words, at: Position, *, is_out: bool) -> Pin:
    node, number = words.node(), words.number("the number of the pin", 1)
    words.end()
    return Pin(node, number, is_out, at)


def _connect(words: Words, at: Position) -> Connect:
    source = read_name(words.required("the first splice"))
    target = read_name(words.required("the second splice"))
    words.end()
    return Connect(source, target, at)


def _file_setting(keyword: str) -> Reader:
    def read(words: Words, at: Position) -> Setting:
        file = words.required("the file")
        words.end()
        return Setting(keyword, (file,), at)

    return read


def _dot(words: Words, at: Position) -> Setting:
    said = [words.required("the file")]
    while option := words.word():
        if option.upper() not in ("UPDATE", "DONT-UPDATE", "OVERWRITE", "DONT-OVERWRITE"):
            if option.upper() != "INCLUDE":
                words.fail(f"{option!r} is no option of DOT")
            said += ["INCLUDE", words.required("the file of INCLUDE")]
        else:
            said.append(option.upper())
    return Setting("DOT", tuple(said), at)


def _node_status(words: Words, at: Position) -> Setting:
    said = [words.required("the file")]
    while not words.is_at_end():
        if words.peek().upper() == "ALWAYS-UPDATE":
            said.append(words.word().upper())
        else:
            said.append(str(words.number("the seconds between updates")))
    return Setting("NODE_STATUS_FILE", tuple(said), at)


def _env(words: Words, at: Position) -> Setting:
    action = words.word().upper()
    if action not in ("SET", "GET"):
        words.fail("ENV takes SET or GET")
    variables = words.rest()
    if not variables:
        words.fail(f"ENV {action} without a variable")
    return Setting("ENV", (action, variables), at)


def _set_job_attr(words: Words, at: Position) -> Setting:
    said = words.rest()
    if not said:
        words.fail("SET_JOB_ATTR without an attribute")
    return Setting("SET_JOB_ATTR", (said,), at)


def _reject(words: Words, at: Position) -> Reject:
    words.end()
    return Reject(at)


MODIFIERS: Final[Mapping[str, Reader]] = {
    "WEAK": _weak,
    "PARENT": _edges,
    "SCRIPT": _script,
    "RETRY": _retry,
    "ABORT_DAG_ON": _abort,
    "VARS": _vars,
    "PRIORITY": _priority,
    "PRE_SKIP": _pre_skip,
    "TOLERANCE": _tolerance,
    "CATEGORY": _category,
    "MAXJOBS": _max_jobs,
    "DONE": _done,
    "SAVE_POINT_FILE": _save_point,
    "PIN_IN": _pin_in,
    "PIN_OUT": _pin_out,
    "CONNECT": _connect,
    "CONFIG": _file_setting("CONFIG"),
    "JOBSTATE_LOG": _file_setting("JOBSTATE_LOG"),
    "DOT": _dot,
    "NODE_STATUS_FILE": _node_status,
    "ENV": _env,
    "SET_JOB_ATTR": _set_job_attr,
    "REJECT": _reject,
}
"""How each command that stands on one line, and defines no node, is read."""
