"""What the attributes of job descriptions mean, by gLite's specification (EGEE-JRA1-TEC-590869)."""

from __future__ import annotations

import re
import shlex
from typing import Final

from wms_grpc.gateway.model import FindingSeverity

__all__ = [
    "INHERITED",
    "is_about_glue",
    "is_expanded",
    "joined_arguments",
    "split_arguments",
    "why_without_counterpart",
]

INHERITED: Final = frozenset(
    {
        "arguments",
        "cpunumber",
        "environment",
        "epilogue",
        "epiloguearguments",
        "executable",
        "inputsandbox",
        "inputsandboxbaseuri",
        "jobtype",
        "outputsandbox",
        "prologue",
        "prologuearguments",
        "rank",
        "requirements",
        "stderror",
        "stdinput",
        "stdoutput",
    }
)
"""What a dag says for those of its nodes that do not say it; all else is said of the dag itself."""

_INFO: Final = "kept, and without effect here: "
_WITHOUT_COUNTERPART: Final[dict[str, tuple[FindingSeverity, str]]] = {
    "virtualorganisation": ("info", _INFO + "there are no virtual organisations"),
    "myproxyserver": ("info", _INFO + "there are no proxies to renew"),
    "hlrlocation": ("info", _INFO + "there is no DGAS accounting"),
    "lbaddress": ("info", _INFO + "the history is kept by the WMS itself"),
    "jobprovenance": ("info", _INFO + "the history is kept by the WMS itself"),
    "usertags": ("info", _INFO + "labels belong to workflows"),
    "allowzippedisb": ("info", _INFO + "files are staged one by one"),
    "perusalfileenable": ("warning", "files cannot be looked at while the job runs"),
    "perusaltimeinterval": ("warning", "files cannot be looked at while the job runs"),
    "perusalfilesdesturi": ("warning", "files cannot be looked at while the job runs"),
    "requirements": ("warning", "GLUE attributes, which the machines here do not have"),
    "rank": ("warning", "GLUE attributes, which the machines here do not have"),
    "fuzzyrank": ("info", _INFO + "the best match is taken"),
    "shallowretrycount": ("warning", "a start that failed counts as a try, as RetryCount says"),
    "smpgranularity": ("warning", "cores are asked for on one machine, never spread over several"),
    "hostnumber": ("warning", "a job runs on one machine"),
    "nodenumber": ("warning", "a job runs on one machine"),
    "wholenodes": ("warning", "machines are shared"),
    "inputdata": ("warning", "data are not looked up in a catalogue"),
    "datarequirements": ("warning", "data are not looked up in a catalogue"),
    "dataaccessprotocol": ("warning", "data are not looked up in a catalogue"),
    "datacatalog": ("warning", "data are not looked up in a catalogue"),
    "storageindex": ("warning", "data are not looked up in a catalogue"),
    "outputdata": ("warning", "results are not registered in a catalogue"),
    "outputse": ("warning", "results are not stored at a storage element"),
    "outputsandboxdesturi": ("warning", "outputs stay in the workflow's store"),
    "outputsandboxbasedesturi": ("warning", "outputs stay in the workflow's store"),
    "inputsandboxdestfilename": ("warning", "inputs keep their names"),
    "expirytime": ("warning", "a job does not expire while it waits"),
    "shortdeadlinejob": ("warning", "there are no short queues"),
    "ce_id": ("warning", "there are no computing elements"),
    "submitto": ("warning", "there are no computing elements"),
    "cerequirements": ("warning", "there are no computing elements"),
    "batchsystem": ("warning", "there are no computing elements"),
    "queuename": ("warning", "there are no computing elements"),
    "listenerport": ("warning", "nothing listens to a job"),
    "listenerhost": ("warning", "nothing listens to a job"),
    "listenerpipename": ("warning", "nothing listens to a job"),
    "jobsteps": ("warning", "a job does not save states of its own"),
    "currentstep": ("warning", "a job does not save states of its own"),
    "jobstate": ("warning", "a job does not save states of its own"),
    "nodescollocation": ("warning", "nodes run where there is room"),
    "parameters": ("warning", "holds only with JobType Parametric"),
    "parameterstart": ("warning", "holds only with JobType Parametric"),
    "parameterstep": ("warning", "holds only with JobType Parametric"),
}

_QUOTES: Final = re.compile(r"[\"'\\]")
_BLANKS: Final = re.compile(r"[ \t\r\n]+")


def why_without_counterpart(name: str) -> tuple[FindingSeverity, str]:
    """Return how grave it is that an attribute has no counterpart, and why it has none."""
    unknown: tuple[FindingSeverity, str] = ("warning", "nothing here knows this attribute")
    return _WITHOUT_COUNTERPART.get(name.lower(), unknown)


_GLUE: Final = re.compile(r"\bother\s*\.|\bglue[A-Za-z]", re.IGNORECASE)
_EXPANDED: Final = re.compile(r"'[^']*'|\\.|\"(?:[^\"\\$`]|\\.)*\"|([$`*?\[~<>|&;(])", re.DOTALL)


def is_about_glue(expression: str) -> bool:
    """Whether an expression asks for what only gLite's information system has."""
    return _GLUE.search(expression) is not None


def is_expanded(arguments: str) -> bool:
    """Whether a shell would make something else of the arguments than their words."""
    return any(found[1] for found in _EXPANDED.finditer(arguments))


def split_arguments(arguments: str) -> tuple[str, ...] | None:
    """Return the words of arguments as a shell splits them, None where a quote is not closed."""
    if not _QUOTES.search(arguments):
        return tuple(word for word in _BLANKS.split(arguments) if word)
    try:
        return tuple(shlex.split(arguments))
    except ValueError:
        return None


def joined_arguments(arguments: tuple[str, ...]) -> str:
    """Return the arguments, quoted so that a shell splits them as they are."""
    return shlex.join(arguments)
