"""The operations of GWorkflowDL: what a transition does, and by which of its candidates.

An operation has a class, and the class has candidates. Of those, `cli` is a batch job, and a type
that is called `workflow` (with anything before a `/`) is a sub-workflow if its file is in the
bundle; all others belong to engines that are not here. The candidates stand in the transition's
annotations in any case.

A `cli` is called as the language's own engine does it: the resource is the program; each input
with a name is an argument `-name text`, its text that of the token, written here as
`$(token:name)`; each output with a name is an argument `-name file`. `stdin`, `stdout`, `stderr`
and `exitcode` are what they say.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lxml import etree

from wms_grpc.domain.nets import Arc
from wms_grpc.domain.tasks import BatchWork, SubWorkflowWork, Work
from wms_grpc.gateway.gworkflowdl_parts import check_outside, simple_text
from wms_grpc.gateway.model import Bundle
from wms_grpc.gateway.xml_source import XmlSource, children, local_name, namespace
from wms_grpc.gateway.xml_text import fragment
from wms_grpc.gateway.xpath import OPERATION_CLASS
from wms_grpc.gateway.xpath_scan import scan

__all__ = ["Candidate", "Operation", "annotation_of", "read_operation", "work_of"]

_ENGINE_VARIABLE: Final = re.compile(r"\$\{|\$\w")
_FLOAT: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|INF|-INF|NaN")
_ORDER: Final = ("read", "take", "write", "put")
_LANGUAGES: Final = {".dag": "dagman", ".jdl": "jdl", ".pnml": "pnml"}
_STREAMS: Final = ("stdout", "stderr", "exitcode")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to do an operation; the texts as they stand in the file."""

    type: str = ""
    operation_name: str = ""
    resource_name: str = ""
    quality: str = ""
    is_selected: bool = False
    owl: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """What stands in `operation`. `xml` is what is no operation class, as text."""

    name: str | None = None
    owl: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    xml: tuple[str, ...] = ()
    is_class: bool = False


def read_operation(source: XmlSource, element: etree._Element) -> Operation:
    """Read an `operation` element, with findings for what its schema does not know."""
    operation = Operation()
    check_outside(source, element, "operation")
    for n, child in enumerate(children(element)):
        if n == 1:
            source.find("DUPLICATE_ELEMENT", child, "an operation has one element")
        if namespace(child) == OPERATION_CLASS and local_name(child) == "operationClass" and n == 0:
            operation = _read_class(source, child)
        else:
            operation = replace(operation, xml=(*operation.xml, fragment(child)))
    return operation


def _read_class(source: XmlSource, element: etree._Element) -> Operation:
    owl: list[str] = []
    candidates: list[Candidate] = []
    _check_attributes(source, element, ("name",))
    for child in children(element):
        name = local_name(child)
        if namespace(child) == OPERATION_CLASS and name == "owl":
            if candidates:
                source.find("ELEMENT_ORDER", child, "`owl` stands before the candidates")
            owl.append(simple_text(source, child))
            continue
        if namespace(child) != OPERATION_CLASS or name != "operationCandidate":
            message = f"`{name}` is no operationCandidate, and is read as one of that type"
            source.find("UNKNOWN_ELEMENT", child, message, name)
        candidates.append(_read_candidate(source, child))
    return Operation(element.get("name"), tuple(owl), tuple(candidates), is_class=True)


def _read_candidate(source: XmlSource, element: etree._Element) -> Candidate:
    known = ("type", "operationName", "resourceName", "quality", "selected")
    _check_attributes(source, element, known)
    quality = " ".join(element.get("quality", "").split())
    if quality and not _FLOAT.fullmatch(quality):
        source.find("BAD_VALUE", element, f"the quality `{quality}` is no number", quality)
        quality = ""
    selected = element.get("selected", "false").strip()
    if selected not in ("true", "false", "1", "0"):
        source.find("BAD_VALUE", element, f"selected is true or false, not `{selected}`", selected)
    owl: list[str] = []
    for child in children(element):
        if local_name(child) == "owl" and namespace(child) == OPERATION_CLASS:
            owl.append(simple_text(source, child))
        else:
            name = local_name(child)
            source.find("UNKNOWN_ELEMENT", child, f"`{name}` is not read in a candidate", name)
    default = "" if local_name(element) == "operationCandidate" else local_name(element)
    return Candidate(
        element.get("type", default),
        element.get("operationName", ""),
        element.get("resourceName", ""),
        quality,
        selected in ("true", "1"),
        tuple(owl),
    )


def _check_attributes(source: XmlSource, element: etree._Element, known: Iterable[str]) -> None:
    for name, value in element.attrib.items():
        if name not in known:
            message = f"the attribute `{name}` (`{value[:100]}`) is not read here"
            source.find("UNKNOWN_ATTRIBUTE", element, message, str(name))


def work_of(
    source: XmlSource,
    element: etree._Element,
    operation: Operation,
    arcs: Sequence[Arc],
    bundle: Bundle,
    transition: str,
) -> Work | None:
    """Return what the transition's task does; None, and a finding, if nothing here can do it."""
    ordered = sorted(operation.candidates, key=_preference)
    for candidate in ordered:
        work = _work(source, element, candidate, arcs, bundle, transition)
        if work is not None:
            if candidate.is_selected is False and ordered[0].is_selected:
                message = f"the selected candidate is of type `{ordered[0].type}`: another is taken"
                source.find("OTHER_CANDIDATE", element, message, transition, "info")
            return work
    types = ", ".join(sorted({f"`{c.type}`" for c in operation.candidates})) or "no candidate"
    message = f"no engine here does this operation ({types}): the net is not submitted"
    source.find("NO_OPERATION", element, message, transition, "error")
    return None


def _preference(candidate: Candidate) -> tuple[bool, float]:
    try:
        quality = float(candidate.quality.replace("INF", "inf") or 0.0)
    except ValueError:
        quality = 0.0
    return not candidate.is_selected, -quality if quality == quality else 0.0


def _work(
    source: XmlSource,
    element: etree._Element,
    candidate: Candidate,
    arcs: Sequence[Arc],
    bundle: Bundle,
    transition: str,
) -> Work | None:
    kind = candidate.type.rsplit("/", 1)[-1].lower()
    if kind == "cli" and candidate.resource_name.strip():
        if _ENGINE_VARIABLE.search(candidate.resource_name):
            message = f"`{candidate.resource_name}` has a variable of the engine that it was for"
            source.find("ENGINE_VARIABLE", element, message, transition, "error")
        return _command(candidate, arcs)
    if kind in ("workflow", "subworkflow"):
        path = _in_bundle(candidate.operation_name, bundle)
        if path is not None:
            ending = posixpath.splitext(path)[1].lower()
            return SubWorkflowWork(_LANGUAGES.get(ending, "gworkflowdl"), path)
        message = f"the sub-workflow `{candidate.operation_name}` is not in the bundle"
        source.find("MISSING_FILE", element, message, candidate.operation_name)
    return None


def _in_bundle(name: str, bundle: Bundle) -> str | None:
    beside = posixpath.normpath(posixpath.join(posixpath.dirname(bundle.main), name))
    return next((path for path in (beside, name) if name and path in bundle.files), None)


def _command(candidate: Candidate, arcs: Sequence[Arc]) -> BatchWork:
    arguments: list[str] = []
    outputs: list[str] = []
    streams: dict[str, str] = {}
    for arc in sorted(arcs, key=lambda arc: _ORDER.index(arc.mode)):
        name = arc.expression.strip()
        if not scan(name).is_plain or " " in name:
            continue
        if arc.mode in ("take", "read", "write") and name != "stdin":
            arguments += [f"-{name}", f"$(token:{name})"]
        elif name == "stdin" and arc.mode != "put":
            streams["stdin"] = "$(token:stdin)"
        elif name in _STREAMS:
            streams[name] = name
        else:
            arguments += [f"-{name}", f"{name}.dat"]
            outputs.append(f"{name}.dat")
    return BatchWork(
        executable=candidate.resource_name.strip(),
        arguments=tuple(arguments),
        stdin=streams.get("stdin", ""),
        stdout=streams.get("stdout", ""),
        stderr=streams.get("stderr", ""),
        outputs=tuple(outputs),
    )


def annotation_of(operation: Operation) -> Mapping[str, object]:
    """The operation as values that JSON knows."""
    said: dict[str, object] = {}
    if operation.is_class:
        said["class"] = operation.name
        said["candidates"] = [
            {
                "type": candidate.type,
                "operationName": candidate.operation_name,
                "resourceName": candidate.resource_name,
                "quality": candidate.quality,
                "selected": candidate.is_selected,
                "owl": list(candidate.owl),
            }
            for candidate in operation.candidates
        ]
    if operation.owl:
        said["owl"] = list(operation.owl)
    if operation.xml:
        said["xml"] = list(operation.xml)
    return said
