"""What a PNML file is: its namespace, its net, and the type of that."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from lxml import etree

from wms_grpc.gateway.gworkflowdl_parts import NAME
from wms_grpc.gateway.pnml_labels import PNML, PT_NET, check_attributes
from wms_grpc.gateway.xml_source import XmlSource, children, local_name, namespace

__all__ = ["net_element", "outer_identity"]

_EARLIER_TYPES: Final = frozenset(
    {"ptnet", "ptnet.pntd", "ptnetb", "p/t net", "place/transition net"}
)


def net_element(source: XmlSource) -> etree._Element:
    """Check what the file is, and return its net."""
    root = source.root
    if local_name(root) != "pnml":
        message = f"a PNML file is a `pnml`, not a `{local_name(root)}`"
        raise source.refused("WRONG_LANGUAGE", root, message)
    if namespace(root) != PNML:
        source.find("NAMESPACE", root, f"the namespace is `{namespace(root)}`, not {PNML}")
    for child in children(root):
        if local_name(child) != "net":
            message = f"`{local_name(child)}` beside the nets is not read"
            source.find("UNKNOWN_ELEMENT", child, message, local_name(child))
    nets = [child for child in children(root) if local_name(child) == "net"]
    if not nets:
        raise source.refused("NO_NET", root, "there is no net in the file")
    for other in nets[1:]:
        message = "a workflow is one net, the file's first; this one is not read"
        source.find("MORE_NETS", other, message, other.get("id", ""))
    net = nets[0]
    check_attributes(source, net, ("id", "type"))
    kind = net.get("type", "")
    if kind.strip() != PT_NET:
        name = kind.strip().rstrip("/").lower()
        if name not in _EARLIER_TYPES and name.rpartition("/")[2] not in _EARLIER_TYPES:
            message = f"a net of type `{kind[:200]}` is not a place/transition net"
            raise source.refused("NET_TYPE", net, message, kind)
        message = f"`{kind[:200]}` is read as the type {PT_NET}"
        source.find("OLD_VERSION", net, message, kind)
    return net


def outer_identity(source: XmlSource, element: etree._Element, used: Collection[str]) -> str:
    """Return the id of a net or a page; empty, with a finding, if it cannot be one."""
    what = local_name(element)
    identity = " ".join(element.get("id", "").split())
    if not identity:
        source.find("MISSING_ID", element, f"a {what} has an id")
    elif identity in used:
        message = f"`{identity}` is the id of a {what}, and of something else"
        source.find("ID_TWICE", element, message, identity)
        return ""
    elif not NAME.fullmatch(identity):
        source.find("ID_NOT_NAME", element, f"`{identity}` is no id of a {what}", identity)
        return ""
    return identity
