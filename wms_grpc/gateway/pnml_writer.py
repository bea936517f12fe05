"""PNML (ISO/IEC 15909-2), written: a place/transition net on one page.

What the standard's type has no room for stands in `toolspecific` of the tool `ewms`, so that it is
there again when we read the file: capacities, queues, and that an arc reads or writes, which
other tools see as the loop that it stands for. Colours, conditions and tasks are not written, and
found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from lxml import etree

from wms_grpc.domain.nets import Annotations, Arc, Net, Place, Transition
from wms_grpc.gateway.gworkflowdl_parts import NAME
from wms_grpc.gateway.losses import no_counterpart, work_losses, workflow_losses
from wms_grpc.gateway.model import Bundle, Finding, Workflow, Written
from wms_grpc.gateway.pnml_labels import PNML, PT_NET, TOOL
from wms_grpc.gateway.pnml_reader import DEFAULT_NET, DEFAULT_PAGE
from wms_grpc.gateway.unique_names import UniqueNames
from wms_grpc.gateway.xml_text import (
    file_name,
    free_of_default,
    indent,
    is_safe,
    plain_name,
    safe_text,
)

__all__ = ["PnmlWriter"]

_LANGUAGE: Final = "pnml"
_OURS: Final = ("name", "id", "text", "page", "arcs", "initialMarking", "inscription")


class PnmlWriter:
    """Writes the net of any workflow."""

    @property
    def name(self) -> str:
        return _LANGUAGE

    def write(self, workflow: Workflow) -> Written:
        net = workflow.net
        root = _Writing(workflow, net).written()
        data = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
        path = f"{file_name(workflow.name)}.pnml"
        findings = (*workflow_losses(_LANGUAGE, workflow), *_losses(workflow, net))
        return Written(Bundle({path: data + b"\n"}, path), findings)


def _losses(workflow: Workflow, net: Net) -> Iterator[Finding]:
    yield from work_losses(_LANGUAGE, workflow)
    for place in net.places:
        name = place.name or place.id
        if any(token.value is not None for token in place.tokens):
            yield no_counterpart(_LANGUAGE, f"the place `{name}`", ["the tokens' values"], name)
        if place.capacity is not None:
            message = "a capacity is not of place/transition nets: other tools do not see it"
            yield Finding("NOT_ISO", message, subject=name)
    expressions = {arc.transition for arc in net.arcs if arc.expression}
    for transition in net.transitions:
        name = transition.name or transition.id
        lost = ["conditions"] if transition.conditions else []
        if transition.id in expressions:
            lost.append("its arcs' expressions")
        if lost:
            yield no_counterpart(_LANGUAGE, f"the transition `{name}`", lost, name)


class _Writing:
    def __init__(self, workflow: Workflow, net: Net) -> None:
        self._workflow = workflow
        self._net = net
        self._said = _own(net.annotations)
        self._names = UniqueNames()
        self._ids: dict[tuple[str, str], str] = {}

    def written(self) -> etree._Element:
        root = etree.Element(_tag("pnml"), None, {None: PNML})
        net = etree.SubElement(root, _tag("net"), {"type": PT_NET})
        net.set("id", self._id("net", "", str(self._said.get("id") or DEFAULT_NET)))
        # A net that was read has a name only if it had one; any other is named as the workflow.
        if "name" in self._said or not self._said:
            self._label(net, "name", self._workflow.name, self._said.get("name"))
        self._extras(net, self._said)
        said = _mapping(self._said.get("page"))
        page = etree.SubElement(net, _tag("page"))
        page.set("id", self._id("page", "", str(said.get("id") or DEFAULT_PAGE)))
        if "name" in said:
            self._label(page, "name", str(said.get("text", "")), said["name"])
        self._extras(page, said)
        for place in self._net.places:
            self._place(page, place)
        for transition in self._net.transitions:
            self._transition(page, transition)
        known = self._said.get("arcs")
        entries = known if isinstance(known, list) and len(known) == len(self._net.arcs) else []
        for n, arc in enumerate(self._net.arcs):
            self._arc(page, arc, _mapping(entries[n]) if entries else {"id": f"a{n + 1}"})
        free_of_default(root)
        indent(root, ())
        return root

    def _id(self, kind: str, key: str, wanted: str) -> str:
        """Choose an id that is a name and that nothing else has, and remember it."""
        valid = wanted if NAME.fullmatch(wanted) else plain_name(wanted)
        chosen = self._names.given(valid)
        self._ids[kind, key] = chosen
        return chosen

    def _unsaid(self, kind: str, identity: str, name: str) -> dict[str, object]:
        """A name that XML cannot hold; the id of a node without a name, if it is no ID."""
        if name:
            return {} if is_safe(name) else {"name": name}
        return {} if self._ids[kind, identity] == identity else {"id": identity}

    def _place(self, page: etree._Element, place: Place) -> None:
        element = etree.SubElement(page, _tag("place"))
        element.set("id", self._id("place", place.id, place.id))
        said = _own(place.annotations)
        if place.name or "name" in said:
            self._label(element, "name", place.name, said.get("name"))
        self._extras(element, said)
        if place.tokens or "initialMarking" in said:
            text = str(len(place.tokens))
            self._label(element, "initialMarking", text, said.get("initialMarking"))
        ours = self._unsaid("place", place.id, place.name)
        if place.capacity is not None:
            ours["capacity"] = place.capacity
        if place.kind != "control":
            ours["kind"] = place.kind
        self._object(element, ours, place.annotations)

    def _transition(self, page: etree._Element, transition: Transition) -> None:
        element = etree.SubElement(page, _tag("transition"))
        element.set("id", self._id("transition", transition.id, transition.id))
        said = _own(transition.annotations)
        if transition.name or "name" in said:
            self._label(element, "name", transition.name, said.get("name"))
        self._extras(element, said)
        ours = self._unsaid("transition", transition.id, transition.name)
        self._object(element, ours, transition.annotations)

    def _arc(self, page: etree._Element, arc: Arc, said: Mapping[str, object]) -> None:
        ends = self._ids["place", arc.place], self._ids["transition", arc.transition]
        ways = [ends[::-1]] if arc.mode == "put" else [ends]
        if arc.mode in ("read", "write"):
            ways.append(ends[::-1])
        for source, target in ways:
            element = etree.SubElement(page, _tag("arc"))
            ours: dict[str, object] = {"mode": arc.mode} if len(ways) > 1 else {}
            wanted = str(said.get("id", ""))
            element.set("id", self._id("arc", "", wanted or "a1"))
            if element.get("id") != wanted:
                ours["id"] = wanted
            element.set("source", source)
            element.set("target", target)
            if arc.weight > 1 or "inscription" in said:
                self._label(element, "inscription", str(arc.weight), said.get("inscription"))
            self._extras(element, said)
            self._object(element, ours, {})

    def _label(self, parent: etree._Element, name: str, text: str, said: object) -> None:
        element = etree.SubElement(parent, _tag(name))
        etree.SubElement(element, _tag("text")).text = safe_text(text)
        self._extras(element, _mapping(said))

    def _extras(self, element: etree._Element, said: Mapping[str, object]) -> None:
        """Write again what was kept as text."""
        for name, texts in said.items():
            if name not in _OURS and isinstance(texts, list):
                for text in texts:
                    _append_text(element, str(text))

    def _object(
        self, element: etree._Element, said: dict[str, object], annotations: Annotations
    ) -> None:
        if others := {key: value for key, value in annotations.items() if key != _LANGUAGE}:
            said["annotations"] = others
        if said:
            ours = etree.SubElement(element, _tag("toolspecific"))
            ours.set("tool", TOOL)
            ours.set("version", "1")
            etree.SubElement(ours, _tag("json")).text = json.dumps(said, sort_keys=True)


def _append_text(parent: etree._Element, text: str) -> None:
    try:
        child = etree.fromstring(text, etree.XMLParser(resolve_entities=False, no_network=True))
    except (etree.LxmlError, ValueError):
        return
    parent.append(child)


def _tag(name: str) -> str:
    return f"{{{PNML}}}{name}"


def _own(annotations: Annotations) -> Mapping[str, object]:
    return _mapping(annotations.get(_LANGUAGE))


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
