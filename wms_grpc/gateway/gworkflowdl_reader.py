"""GWorkflowDL 2.0, read: a high-level net whose tokens are XML and whose expressions are XPath.

Read leniently: each departure from the language's schema is a finding, and a file is refused only
where it cannot be told what it says. What the model has no field for is kept in the annotations,
under `gworkflowdl`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from lxml import etree

from wms_grpc.domain.nets import Arc, ArcMode, Net, Place, Transition
from wms_grpc.domain.tasks import Task
from wms_grpc.gateway.gworkflowdl_arcs import check_expressions, merged
from wms_grpc.gateway.gworkflowdl_operations import annotation_of, read_operation, work_of
from wms_grpc.gateway.gworkflowdl_parts import NAME, Part, read_part, simple_text
from wms_grpc.gateway.gworkflowdl_tokens import read_token
from wms_grpc.gateway.model import MAX_EXPRESSION, MAX_NODES, Bundle, Translation, Workflow
from wms_grpc.gateway.xml_source import (
    XmlSource,
    local_name,
    namespace,
    parsed,
    root_name,
)
from wms_grpc.gateway.xpath import STANDARD_PREFIXES, WORKFLOW

__all__ = ["GWorkflowDL"]

_LOCATION: Final = "{http://www.w3.org/2001/XMLSchema-instance}schemaLocation"
_OLD: Final = re.compile(r"gworkflowdl(?:_operationclass)?_([01])_(\d)\.xsd")
_MODES: Final[Mapping[str, ArcMode]] = {
    "readPlace": "read",
    "inputPlace": "take",
    "writePlace": "write",
    "outputPlace": "put",
}


class GWorkflowDL:
    """The language."""

    @property
    def name(self) -> str:
        return "gworkflowdl"

    def claims(self, bundle: Bundle) -> bool:
        name, attributes = root_name(bundle.files.get(bundle.main, b""))
        if name == "workflow" and "gworkflowdl" in attributes:
            return True
        return posixpath.splitext(bundle.main)[1].lower() == ".gwdl"

    def read(self, bundle: Bundle) -> Translation:
        source = parsed(bundle)
        reader = _Reader(source, bundle)
        workflow = reader.workflow()
        return Translation(self.name, workflow, source.all_findings())


class _Reader:
    def __init__(self, source: XmlSource, bundle: Bundle) -> None:
        self._source = source
        self._bundle = bundle
        self._ids: dict[str, str] = {}
        self._place_names: dict[str, str] = {}
        self._places: dict[str, Place] = {}
        self._transitions: dict[str, Transition] = {}
        self._arcs: list[Arc] = []
        self._tasks: list[Task] = []
        self._prefixes: dict[str, str] = {}

    def workflow(self) -> Workflow:
        root = self._source.root
        self._check_root(root)
        part = read_part(self._source, root, "workflow")
        name = self._identified(root, part, "workflow", lambda: self._bundle.main)
        if len(part.of("place")) + len(part.of("transition")) > MAX_NODES:
            message = f"more than {MAX_NODES} places and transitions"
            raise self._source.refused("TOO_LARGE", root, message)
        self._declare(root)
        # Transitions may stand before the places that they name.
        for child in part.of("place"):
            self._place(child)
        for child in part.of("transition"):
            self._transition(child)
        said = dict(part.annotations)
        if location := root.get(_LOCATION):
            said["schemaLocation"] = " ".join(location.split())
        net = Net(
            tuple(self._places.values()),
            tuple(self._transitions.values()),
            tuple(self._arcs),
            "gworkflowdl",
            {"gworkflowdl": {"prefixes": self._prefixes}} if self._prefixes else {},
        )
        annotations = {"gworkflowdl": said} if said else {}
        return Workflow(name, tuple(self._tasks), given_net=net, annotations=annotations)

    def _declare(self, element: etree._Element) -> None:
        """Remember the prefixes that expressions may use; the first of a name is it."""
        for prefix, uri in element.nsmap.items():
            if not prefix or not uri or STANDARD_PREFIXES.get(prefix) == uri:
                continue
            if self._prefixes.setdefault(prefix, uri) != uri:
                message = f"the prefix `{prefix}` is declared twice, and one of them is taken"
                self._source.find("PREFIX_TWICE", element, message, prefix)

    def _check_root(self, root: etree._Element) -> None:
        if local_name(root) != "workflow":
            message = f"a GWorkflowDL file is a `workflow`, not a `{local_name(root)}`"
            raise self._source.refused("WRONG_LANGUAGE", root, message)
        if namespace(root) != WORKFLOW:
            message = f"the namespace is `{namespace(root)}`, not {WORKFLOW}"
            self._source.find("NAMESPACE", root, message)
        if old := _OLD.search(root.get(_LOCATION, "")):
            message = f"the file is of version {old[1]}.{old[2]}, and is read as one of 2.0"
            self._source.find("OLD_VERSION", root, message)

    def _identified(
        self, element: etree._Element, part: Part, what: str, default: Callable[[], str]
    ) -> str:
        """Return the ID of a part: its name. IDs are names in XML, and unique in the document."""
        name = part.original_id or element.get("ID")
        if name is None or not name.strip():
            self._source.find("MISSING_ID", element, f"a {what} has an ID")
            return default()
        name = " ".join(name.split())
        if part.original_id is not None:
            return part.original_id
        if not NAME.fullmatch(name):
            message = f"`{name}` is no ID: that is a letter or `_`, then letters, digits, `.-_`"
            self._source.find("ID_NOT_NAME", element, message, name)
        if (other := self._ids.setdefault(name, what)) != what:
            message = f"`{name}` is the ID of a {other}, too"
            self._source.find("ID_TWICE", element, message, name)
        return name

    def _place(self, element: etree._Element) -> None:
        part = read_part(self._source, element, "place")
        name = self._identified(element, part, "place", lambda: f"place-{len(self._places) + 1}")
        if name in self._places:
            message = f"there are two places `{name}`"
            raise self._source.refused("DUPLICATE_NAME", element, message, name)
        self._place_names[" ".join(element.get("ID", name).split())] = name
        tokens = tuple(read_token(self._source, child) for child in part.of("token"))
        said = dict(part.annotations)
        capacity = self._capacity(element, name, said)
        if capacity is not None and len(tokens) > capacity:
            message = f"{len(tokens)} tokens in a place for {capacity}"
            self._source.find("OVER_CAPACITY", element, message, name)
        self._places[name] = Place(
            name, name, part.place_kind, capacity, tokens, _annotations(said, part)
        )

    def _capacity(self, element: etree._Element, name: str, said: dict[str, object]) -> int | None:
        text = element.get("capacity")
        if text is None:
            return None
        if re.fullmatch(r"\s*\+?\d{1,9}\s*", text, re.ASCII):
            return int(text)
        message = f"the capacity `{text[:100]}` is no number of tokens: any number is taken"
        self._source.find("BAD_VALUE", element, message, name)
        said["capacity"] = text
        return None

    def _transition(self, element: etree._Element) -> None:
        source = self._source
        part = read_part(source, element, "transition")
        number = len(self._transitions) + 1
        name = self._identified(element, part, "transition", lambda: f"transition-{number}")
        if name in self._transitions:
            message = f"there are two transitions `{name}`"
            raise source.refused("DUPLICATE_NAME", element, message, name)
        arcs = [
            (child, self._arc(child, name))
            for child in part.elements
            if local_name(child) in _MODES
        ]
        conditions = [(child, self._condition(child)) for child in part.of("condition")]
        operations = part.of("operation")
        check_expressions(source, name, arcs, conditions, has_operation=bool(operations))
        said = dict(part.annotations)
        task = None
        if operations:
            task = self._task(operations[0], name, [arc for _, arc in arcs], said)
        self._arcs.extend(merged(arc for _, arc in arcs))
        texts = tuple(text for _, text in conditions)
        self._transitions[name] = Transition(name, name, task, texts, _annotations(said, part))

    def _arc(self, element: etree._Element, transition: str) -> Arc:
        read_part(self._source, element, "arc")
        place = element.get("placeID")
        if place is None:
            message = "an arc has a placeID"
            raise self._source.refused("MISSING_PLACE", element, message, transition)
        known = self._place_names.get(" ".join(place.split()))
        if known is None:
            message = f"there is no place `{place[:200]}`"
            raise self._source.refused("UNKNOWN_PLACE", element, message, transition)
        expression = element.get("edgeExpression", "").strip()
        self._check_expression(element, expression)
        return Arc(known, transition, _MODES[local_name(element)], 1, expression)

    def _condition(self, element: etree._Element) -> str:
        text = simple_text(self._source, element).strip()
        self._check_expression(element, text)
        return text

    def _check_expression(self, element: etree._Element, expression: str) -> None:
        if len(expression.encode()) > MAX_EXPRESSION:
            message = f"an expression of more than {MAX_EXPRESSION} bytes"
            raise self._source.refused("TOO_LARGE", element, message)
        if ":" in expression:
            self._declare(element)

    def _task(
        self,
        element: etree._Element,
        transition: str,
        arcs: Sequence[Arc],
        said: dict[str, object],
    ) -> str | None:
        """Read what the transition does; return its task's name, the transition's own."""
        operation = read_operation(self._source, element)
        # What was written as `ewms.json` says more: the schema has one element in an operation.
        said.setdefault("operation", annotation_of(operation))
        work = work_of(self._source, element, operation, arcs, self._bundle, transition)
        if work is None:
            return None
        self._tasks.append(Task(transition, work))
        return transition


def _annotations(said: Mapping[str, object], part: Part) -> dict[str, object]:
    own = {"gworkflowdl": dict(said)} if said else {}
    return {**own, **part.other_languages}
