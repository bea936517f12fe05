"""GWorkflowDL 2.0, written: valid by the language's schemas, whatever the net is.

A part whose name is no ID has it in the property `ewms.id`, and what the schema has no element
for in `ewms.json`, so that reading the file gives the same net. An arc of weight n is written n
times: the language has no weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from lxml import etree

from wms_grpc.domain.nets import Annotations, Arc, Net, Place, Transition
from wms_grpc.domain.tasks import Task
from wms_grpc.gateway.gworkflowdl_parts import ID_PROPERTY, JSON_PROPERTY
from wms_grpc.gateway.gworkflowdl_tasks import operation_of_task, written_operation
from wms_grpc.gateway.gworkflowdl_tokens import VALUE_PROPERTY, written_token
from wms_grpc.gateway.losses import workflow_losses
from wms_grpc.gateway.model import MAX_NODES, Bundle, Finding, Refused, Workflow, Written
from wms_grpc.gateway.unique_names import UniqueNames
from wms_grpc.gateway.xml_text import (
    file_name,
    free_of_default,
    indent,
    is_safe,
    plain_name,
    safe_text,
)
from wms_grpc.gateway.xpath import OPERATION_CLASS, STANDARD_PREFIXES, WORKFLOW

__all__ = ["GWorkflowDLWriter"]

_LOCATION: Final = f"{{{STANDARD_PREFIXES['xsi']}}}schemaLocation"
_ELEMENTS: Final = (
    ("read", "readPlace"),
    ("take", "inputPlace"),
    ("write", "writePlace"),
    ("put", "outputPlace"),
)
_VERBATIM: Final = frozenset({f"{{{WORKFLOW}}}data"})


class GWorkflowDLWriter:
    """Writes any workflow: its net, with what its tasks do as operations."""

    @property
    def name(self) -> str:
        return "gworkflowdl"

    def write(self, workflow: Workflow) -> Written:
        net = workflow.net
        if len(net.places) + len(net.transitions) + sum(a.weight for a in net.arcs) > MAX_NODES:
            message = "the language has no weights, and so many arcs are not written"
            raise Refused(Finding("TOO_LARGE", message, severity="error"))
        writing = _Writing(workflow, net)
        root = writing.written()
        free_of_default(root)
        indent(root, _VERBATIM)
        for parent, child in writing.verbatim:
            parent.append(child)
        data = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
        path = f"{file_name(workflow.name)}.gwdl"
        return Written(Bundle({path: data + b"\n"}, path), tuple(writing.findings))


class _Writing:
    def __init__(self, workflow: Workflow, net: Net) -> None:
        self._workflow = workflow
        self._net = net
        self._tasks: Mapping[str, Task] = {task.name: task for task in workflow.tasks}
        self._names = UniqueNames()
        self._place_ids: dict[str, str] = {}
        self._arcs: dict[str, list[Arc]] = {transition.id: [] for transition in net.transitions}
        for arc in net.arcs:
            self._arcs[arc.transition].append(arc)
        self.verbatim: list[tuple[etree._Element, etree._Element]] = []
        self.findings: list[Finding] = list(workflow_losses("gworkflowdl", workflow))

    def written(self) -> etree._Element:
        said = _own(self._workflow.annotations)
        prefixes = _own(self._net.annotations).get("prefixes")
        nsmap: dict[str | None, str] = {None: WORKFLOW, "oc": OPERATION_CLASS}
        if isinstance(prefixes, dict):
            nsmap.update({str(prefix): str(uri) for prefix, uri in prefixes.items()})
        if "schemaLocation" in said:
            nsmap["xsi"] = STANDARD_PREFIXES["xsi"]
        root = etree.Element(f"{{{WORKFLOW}}}workflow", None, nsmap)
        if "schemaLocation" in said:
            root.set(_LOCATION, safe_text(str(said["schemaLocation"])))
        for uri in _list(said.get("owl")):
            _text_element(root, "owl", str(uri))
        self._describe(root, self._workflow.name or "workflow", said, {})
        for place in self._net.places:
            self._place(root, place)
        for transition in self._net.transitions:
            self._transition(root, transition)
        for task in self._workflow.tasks:
            if task.role != "node":
                message = f"a task that is {task.role} has no counterpart in a net"
                self.findings.append(Finding("NO_COUNTERPART", message, subject=task.name))
        return root

    def _describe(
        self,
        element: etree._Element,
        name: str,
        said: Annotations,
        further: Mapping[str, object],
    ) -> str:
        """Write ID, description and properties; return the ID."""
        chosen = self._names.given(plain_name(name))
        element.set("ID", chosen)
        if "description" in said:
            _text_element(element, "description", str(said["description"]))
        for entry in _list(said.get("properties")):
            if isinstance(entry, (list, tuple)) and len(entry) == 2:
                _property(element, str(entry[0]), str(entry[1]))
        unsaid = dict(further)
        own = {key: said[key] for key in ("attributes", "other", "capacity") if key in said}
        if own:
            before = unsaid.get("gworkflowdl")
            unsaid["gworkflowdl"] = {**own, **(before if isinstance(before, dict) else {})}
        if chosen != name and is_safe(name):
            _property(element, ID_PROPERTY, name)
        elif chosen != name:
            unsaid["id"] = name
        if unsaid:
            _property(element, JSON_PROPERTY, json.dumps(unsaid, sort_keys=True))
        return chosen

    def _place(self, root: etree._Element, place: Place) -> None:
        said = _own(place.annotations)
        element = etree.SubElement(root, f"{{{WORKFLOW}}}place")
        further: dict[str, object] = {} if place.kind == "control" else {"kind": place.kind}
        if others := _others(place.annotations):
            further["annotations"] = others
        name = place.name or place.id
        self._place_ids[place.id] = self._describe(element, name, said, further)
        if place.capacity is not None:
            element.set("capacity", str(place.capacity))
        if isinstance(token_class := said.get("tokenClass"), dict):
            inner = etree.SubElement(element, f"{{{WORKFLOW}}}tokenClass")
            if "type" in token_class:
                inner.set("type", safe_text(str(token_class["type"])))
            for uri in _list(token_class.get("owl")):
                _text_element(inner, "owl", str(uri))
        for token in place.tokens:
            written = written_token(token)
            element.append(written)
            if written.find(f"{{{WORKFLOW}}}property[@name='{VALUE_PROPERTY}']") is not None:
                message = "a token that is no data of this language stands in a property"
                self.findings.append(Finding("TOKEN_AS_PROPERTY", message, subject=name))

    def _transition(self, root: etree._Element, transition: Transition) -> None:
        said = _own(transition.annotations)
        element = etree.SubElement(root, f"{{{WORKFLOW}}}transition")
        others = _others(transition.annotations)
        further: dict[str, object] = {"annotations": others} if others else {}
        arcs = self._arcs[transition.id]
        for mode, tag in _ELEMENTS:
            for arc in arcs:
                if arc.mode == mode:
                    for _ in range(arc.weight):
                        self._arc(element, tag, arc)
        for condition in transition.conditions:
            _text_element(element, "condition", condition)
        operation = said.get("operation")
        task = None if transition.task is None else self._tasks.get(transition.task)
        if not isinstance(operation, dict) and task is not None:
            operation, losses = operation_of_task(task)
            self.findings.extend(losses)
        if isinstance(operation, dict):
            inner = etree.SubElement(element, f"{{{WORKFLOW}}}operation")
            as_it_is, is_all = written_operation(inner, operation)
            self.verbatim.extend((inner, child) for child in as_it_is)
            if not is_all:
                further["gworkflowdl"] = {"operation": operation}
        # Description and properties come first in the element, and are known last.
        name = transition.name or transition.id
        inside = list(element)
        self._describe(element, name, said, further)
        element.extend(inside)

    def _arc(self, element: etree._Element, tag: str, arc: Arc) -> None:
        inner = etree.SubElement(element, f"{{{WORKFLOW}}}{tag}")
        inner.set("placeID", self._place_ids[arc.place])
        if arc.expression:
            inner.set("edgeExpression", safe_text(arc.expression))


def _own(annotations: Annotations) -> Annotations:
    said = annotations.get("gworkflowdl")
    return said if isinstance(said, dict) else {}


def _others(annotations: Annotations) -> dict[str, object]:
    return {key: value for key, value in annotations.items() if key != "gworkflowdl"}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()


def _text_element(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, f"{{{WORKFLOW}}}{name}").text = safe_text(text)


def _property(parent: etree._Element, name: str, value: str) -> None:
    element = etree.SubElement(parent, f"{{{WORKFLOW}}}property", {"name": safe_text(name)})
    element.text = safe_text(value)
