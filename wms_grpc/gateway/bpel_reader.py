"""A structured subset of BPEL: sequence, flow with links, if, while and invoke.

After WS-BPEL 2.0 (OASIS, 2007), and BPEL4WS 1.1 where it has the same under other names. The
process becomes a net that is analysed and never submitted, since nothing here executes `invoke`:
`NO_OPERATION` is an error of every process. Other activities are a task each, and told; handlers
are told and kept.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from wms_grpc.gateway.bpel_activities import (
    DECLARATIONS,
    HANDLERS,
    activity_children,
    described,
    is_part,
)
from wms_grpc.gateway.bpel_links import links_of
from wms_grpc.gateway.bpel_net import NetBuilder
from wms_grpc.gateway.bpel_tasks import Tasks
from wms_grpc.gateway.model import MAX_TOKEN, Bundle, Translation, Workflow
from wms_grpc.gateway.xml_source import (
    XmlSource,
    children,
    local_name,
    namespace,
    parsed,
    root_name,
)

__all__ = ["Bpel"]

_NAME: Final = "bpel"
_NAMESPACES: Final = (
    "http://docs.oasis-open.org/wsbpel/2.0/process/executable",
    "http://docs.oasis-open.org/wsbpel/2.0/process/abstract",
    "http://schemas.xmlsoap.org/ws/2003/03/business-process/",
)


_TEXTS: Final = ("condition", "links", "sources", "targets", "source", "target")
"""Parts whose children are looked at elsewhere."""


class Bpel:
    """Reads BPEL."""

    name = _NAME

    def claims(self, bundle: Bundle) -> bool:
        """Whether the main file is XML with the root of a process, or has the ending."""
        found, attributes = root_name(bundle.files.get(bundle.main, b""))
        is_process = found == "process" and any(space in attributes for space in _NAMESPACES)
        return is_process or bundle.main.lower().endswith(".bpel")

    def read(self, bundle: Bundle) -> Translation:
        """Translate. Raises Refused."""
        source = parsed(bundle)
        root = source.root
        _check_root(source)
        activities = activity_children(root)
        if not activities:
            raise source.refused("MISSING_FIELD", root, "the process has no activity")
        for other in activities[1:]:
            words = "a process holds one activity; this one is left out"
            source.find("DUPLICATE_ELEMENT", other, words, severity="error")
        name = root.get("name", "").strip() or bundle.main.rpartition("/")[2].rpartition(".")[0]
        source.find(
            "NO_OPERATION",
            root,
            "nothing here executes the activities of BPEL: it is analysed and not submitted",
            name,
            "error",
        )
        said = _said(source)
        tasks = Tasks(source)
        net, made = NetBuilder(source, links_of(root, source), tasks).built(activities[0])
        workflow = Workflow(
            name or "process",
            made,
            given_net=net,
            annotations={_NAME: said} if said else {},
        )
        return Translation(self.name, workflow, source.all_findings(), tasks.positions)


def _check_root(source: XmlSource) -> None:
    root = source.root
    if local_name(root) != "process":
        words = f"a BPEL file is a `process`, not a `{local_name(root)[:100]}`"
        raise source.refused("WRONG_LANGUAGE", root, words)
    if namespace(root) not in _NAMESPACES:
        words = f"the namespace is `{namespace(root)[:200]}`, which is not one of BPEL"
        source.find("NAMESPACE", root, words)


def _said(source: XmlSource) -> dict[str, object]:
    """Return what the net does not say: attributes of structures, declarations and handlers."""
    said: dict[str, object] = {}
    structures: list[dict[str, str]] = []
    declarations: list[str] = []
    for element in described(source.root):
        name = local_name(element)
        attributes = {etree.QName(key).localname: str(v) for key, v in element.attrib.items()}
        if element is source.root:
            said |= attributes
        elif attributes and name not in ("source", "target"):
            structures.append({"element": name, **attributes})
        if name in _TEXTS:
            continue
        for child in children(element):
            if not is_part(child):
                _tell_of_part(child, element, source)
                declarations.extend(_kept(child, source))
    if structures:
        said["structures"] = structures
    if declarations:
        said["declarations"] = declarations
    return said


def _tell_of_part(child: etree._Element, element: etree._Element, source: XmlSource) -> None:
    name = local_name(child)
    if name in HANDLERS:
        words = f"`{name}`: there are no handlers here; it is kept and not looked at"
        source.find("OUTSIDE_SUBSET", child, words, element.get("name", ""))
    elif name not in DECLARATIONS:
        words = f"`{name[:100]}` is nothing that is known here; it is kept"
        source.find("UNKNOWN_ELEMENT", child, words, name)


def _kept(element: etree._Element, source: XmlSource) -> list[str]:
    text = etree.tostring(element, encoding="unicode", with_tail=False)
    if len(text) <= MAX_TOKEN:
        return [text]
    words = f"`{local_name(element)}` is longer than {MAX_TOKEN} characters and is not kept"
    source.find("TOO_LARGE", element, words)
    return []
