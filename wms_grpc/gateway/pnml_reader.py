"""PNML (ISO/IEC 15909-2), read: place/transition nets, with weights.

Other types of nets are refused by their names. Pages and reference nodes are flattened: a
reference is the node that it stands for. What a net says beside its places, transitions and arcs
is kept in the annotations, under `pnml`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Final

from lxml import etree

from wms_grpc.domain.nets import Arc, ArcMode, Net, Place, PlaceKind, Token, Transition
from wms_grpc.gateway.gworkflowdl_parts import NAME
from wms_grpc.gateway.model import MAX_NODES, Bundle, Translation, Workflow
from wms_grpc.gateway.pnml_document import net_element, outer_identity
from wms_grpc.gateway.pnml_labels import (
    check_attributes,
    extras,
    label,
    label_text,
    number,
    own_object,
)
from wms_grpc.gateway.xml_source import (
    XmlSource,
    children,
    local_name,
    parsed,
    root_name,
)

__all__ = ["DEFAULT_NET", "DEFAULT_PAGE", "Pnml"]

DEFAULT_NET: Final = "ewms.net"
DEFAULT_PAGE: Final = "ewms.page"
"""The ids in what is written here, unless the net was read from a file with ids of its own."""

_NODES: Final = ("place", "transition")
_REFERENCES: Final = {"referencePlace": "place", "referenceTransition": "transition"}
_ATTRIBUTES: Final = {
    "place": ("id",),
    "transition": ("id",),
    "arc": ("id", "source", "target"),
}
_READ_TYPES: Final = ("read", "test")


class Pnml:
    """The language."""

    @property
    def name(self) -> str:
        return "pnml"

    def claims(self, bundle: Bundle) -> bool:
        name, _ = root_name(bundle.files.get(bundle.main, b""))
        return name == "pnml" or posixpath.splitext(bundle.main)[1].lower() == ".pnml"

    def read(self, bundle: Bundle) -> Translation:
        source = parsed(bundle)
        workflow = _Reader(source, net_element(source)).workflow()
        return Translation(self.name, workflow, source.all_findings())


class _Reader:
    def __init__(self, source: XmlSource, net: etree._Element) -> None:
        self._source = source
        self._net = net
        self._ids: set[str] = set()
        self._model_ids: dict[str, str] = {}
        self._places: dict[str, Place] = {}
        self._transitions: dict[str, Transition] = {}
        self._references: dict[str, tuple[str, etree._Element]] = {}
        self._arc_elements: list[etree._Element] = []
        self._arcs: list[Arc] = []
        self._arc_annotations: list[dict[str, object]] = []
        self._n_tokens = 0

    def workflow(self) -> Workflow:
        known = ("name", "page", "place", "transition", "arc", *_REFERENCES)
        said = extras(self._source, self._net, known, "net")
        pages = list(self._pages())
        for page_element in pages or [self._net]:
            self._collect(page_element)
        for element in self._arc_elements:
            self._arc(element)
        if len(pages) != 1:
            self._flattened(pages)
        elif page := self._page(pages[0]):
            said["page"] = page
        name = self._named(self._net, said)
        if identity := self._outer(self._net, DEFAULT_NET):
            said["id"] = identity
        if self._arc_annotations:
            said["arcs"] = self._arc_annotations
        net = Net(
            tuple(self._places.values()),
            tuple(self._transitions.values()),
            tuple(self._arcs),
            "pnml",
            {"pnml": said},
        )
        return Workflow(name or identity or "net", (), given_net=net)

    def _outer(self, element: etree._Element, default: str) -> str:
        """The id of a net or a page, if it has one of its own."""
        identity = outer_identity(self._source, element, self._ids)
        self._ids.add(identity)
        return "" if identity == default else identity

    def _pages(self) -> Iterator[etree._Element]:
        """All pages, those within others too, in the order of the file; none: all is in the net."""
        pages = [p for p in self._net.iter("{*}page") if self._is_of_the_net(p)]
        direct = [c for c in children(self._net) if local_name(c) in (*_NODES, "arc", *_REFERENCES)]
        if direct:
            message = "nodes and arcs are on a page, not directly in a net"
            self._source.find("NO_PAGE", direct[0], message)
            pages.insert(0, self._net)
        yield from pages if pages != [self._net] else []

    def _is_of_the_net(self, page: etree._Element) -> bool:
        """Not a `page` that some tool has written into its own part."""
        return all(local_name(above) in ("page", "net", "pnml") for above in page.iterancestors())

    def _page(self, page: etree._Element) -> dict[str, object]:
        said = extras(self._source, page, ("name", "page", *_NODES, "arc", *_REFERENCES), "page")
        if name := self._named(page, said):
            said["text"] = name
        if identity := self._outer(page, DEFAULT_PAGE):
            said["id"] = identity
        return said

    def _flattened(self, pages: list[etree._Element]) -> None:
        for page in pages:
            if page is not self._net:
                name = self._named(page, {}) or page.get("id", "")
                message = f"the page `{name}` is not kept, only what is on it"
                self._source.find("PAGE_FLATTENED", page, message, name, "info")

    def _named(self, element: etree._Element, said: dict[str, object]) -> str:
        """Return the text of the name, and keep what else its label has."""
        child = label(self._source, element, "name")
        if child is None:
            return ""
        said["name"] = extras(self._source, child, ("text", "value"), "name")
        return label_text(child) or ""

    def _collect(self, page: etree._Element) -> None:
        if len(self._ids) + len(page) > 2 * MAX_NODES:
            message = f"more than {MAX_NODES} nodes or arcs"
            raise self._source.refused("TOO_LARGE", page, message)
        for child in children(page):
            name = local_name(child)
            if name == "arc":
                self._arc_elements.append(child)
                self._identity(child, "arc")
            elif name == "place":
                self._place(child)
            elif name == "transition":
                self._transition(child)
            elif name in _REFERENCES:
                identity, target = self._identity(child, name), child.get("ref", "")
                self._references[identity] = (target, child)
                message = f"the {name} `{identity}` is the {_REFERENCES[name]} `{target}`"
                self._source.find("REFERENCE_FLATTENED", child, message, identity, "info")

    def _identity(self, element: etree._Element, what: str) -> str:
        check_attributes(self._source, element, _ATTRIBUTES.get(what, ("id", "ref")))
        identity = " ".join(element.get("id", "").split())
        if not identity and what != "arc":
            raise self._source.refused("MISSING_ID", element, f"a {what} has an id")
        if not identity:
            self._source.find("MISSING_ID", element, "an arc has an id")
        elif identity in self._ids:
            message = f"there are two nodes or arcs `{identity}`"
            raise self._source.refused("DUPLICATE_NAME", element, message, identity)
        elif not NAME.fullmatch(identity):
            message = f"`{identity}` is no id: that is a letter or `_`, then letters, digits, `.-_`"
            self._source.find("ID_NOT_NAME", element, message, identity)
        self._ids.add(identity)
        return identity

    def _restored(self, identity: str, ours: Mapping[str, object]) -> str:
        """The id that a node had before it was written here."""
        before = ours.get("id")
        restored = identity
        if isinstance(before, str) and before not in self._ids:
            self._ids.add(before)
            restored = before
        self._model_ids[identity] = restored
        return restored

    def _place(self, element: etree._Element) -> None:
        identity = self._identity(element, "place")
        said = extras(self._source, element, ("name", "initialMarking", "capacity"), "place")
        name = self._named(element, said)
        n_tokens, capacity = 0, None
        if (marking := label(self._source, element, "initialMarking")) is not None:
            n_tokens = number(self._source, marking, "marking", 0)
            if more := extras(self._source, marking, ("text", "value"), "marking"):
                said["initialMarking"] = more
        if (bound := label(self._source, element, "capacity")) is not None:
            message = "ISO place/transition nets have no capacities; this one is kept"
            self._source.find("NOT_ISO", bound, message, name or identity)
            capacity = number(self._source, bound, "capacity", 0) or None
        self._n_tokens += n_tokens
        if self._n_tokens > MAX_NODES:
            message = f"more than {MAX_NODES} tokens"
            raise self._source.refused("TOO_LARGE", element, message, identity)
        ours = own_object(element)
        name = str(ours.get("name", name))
        if isinstance(own := ours.get("capacity"), int):
            capacity = own
        kind: PlaceKind = "data" if ours.get("kind") == "data" else "control"
        annotations = _annotations(said, ours.get("annotations"))
        tokens = (Token(),) * n_tokens
        identity = self._restored(identity, ours)
        self._places[identity] = Place(identity, name, kind, capacity, tokens, annotations)

    def _transition(self, element: etree._Element) -> None:
        identity = self._identity(element, "transition")
        said = extras(self._source, element, ("name",), "transition")
        name = self._named(element, said)
        ours = own_object(element)
        name = str(ours.get("name", name))
        annotations = _annotations(said, ours.get("annotations"))
        identity = self._restored(identity, ours)
        self._transitions[identity] = Transition(identity, name, annotations=annotations)

    def _arc(self, element: etree._Element) -> None:
        source, target = (self._resolved(element, end) for end in ("source", "target"))
        mode: ArcMode
        if source in self._places and target in self._transitions:
            place, transition, mode = source, target, "take"
        elif source in self._transitions and target in self._places:
            place, transition, mode = target, source, "put"
        else:
            message = f"an arc joins a place and a transition, not `{source}` and `{target}`"
            raise self._source.refused("BAD_ARC", element, message, element.get("id", ""))
        ours = own_object(element)
        if ours.get("mode") in ("read", "write"):
            # It is written as the loop that it stands for; the way back says nothing new.
            if mode == "put":
                return
            mode = "read" if ours["mode"] == "read" else "write"
        said, weight = {"id": ours.get("id", " ".join(element.get("id", "").split()))}, 1
        more = extras(self._source, element, ("inscription", "type", "arctype"), "arc")
        if (inscription := label(self._source, element, "inscription")) is not None:
            weight = number(self._source, inscription, "weight", 1)
            more["inscription"] = extras(self._source, inscription, ("text", "value"), "weight")
        for name in ("type", "arctype"):
            if (kind := label(self._source, element, name)) is not None:
                mode = self._mode(kind, mode)
        self._arcs.append(Arc(place, transition, mode, weight))
        self._arc_annotations.append({**said, **more})

    def _mode(self, element: etree._Element, mode: ArcMode) -> ArcMode:
        """Read the type of an arc, which is no part of this type of nets."""
        kind = (element.get("value") or label_text(element) or "normal").strip().lower()
        if kind == "normal":
            return mode
        if kind in _READ_TYPES and mode == "take":
            message = "ISO place/transition nets have no read arcs; this one is kept"
            self._source.find("NOT_ISO", element, message)
            return "read"
        message = f"an arc of type `{kind[:100]}` is none of a place/transition net"
        raise self._source.refused("NO_COUNTERPART", element, message)

    def _resolved(self, element: etree._Element, end: str) -> str:
        """The node at an end of an arc, through any references."""
        identity = " ".join(element.get(end, "").split())
        passed: list[str] = []
        while identity in self._references:
            target, reference = self._references[identity]
            passed.append(identity)
            if len(passed) > len(self._references):
                message = f"the reference to `{identity}` leads to itself"
                raise self._source.refused("CYCLE", reference, message, identity)
            identity = target
        for name in passed:
            # The next one that asks has but one step to go.
            self._references[name] = (identity, self._references[name][1])
        identity = self._model_ids.get(identity, identity)
        if identity not in self._places and identity not in self._transitions:
            message = f"the {end} `{identity[:200]}` of an arc is not in the net"
            raise self._source.refused("UNKNOWN_NODE", element, message, identity)
        return identity


def _annotations(said: dict[str, object], others: object) -> dict[str, object]:
    own: dict[str, object] = {"pnml": said} if said else {}
    return {**own, **(others if isinstance(others, dict) else {})}
