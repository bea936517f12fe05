"""What a JSDL job asks of a machine: numbers for cores, memory and disk, an expression for others.

The expression is one of ClassAds, over the attributes that HTCondor's machines have, since JSDL
has no expressions of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lxml import etree

from wms_grpc.gateway.jsdl_parts import Left, Parts, text_of
from wms_grpc.gateway.xml_source import XmlSource

__all__ = ["Resources", "read_resources"]

_SYSTEMS: Final[Mapping[str, str]] = {
    "LINUX": "LINUX",
    "MACOS": "macOS",
    "WINNT": "WINDOWS",
    "WIN2000": "WINDOWS",
    "WINXP": "WINDOWS",
    "Windows_XP": "WINDOWS",
    "FreeBSD": "FREEBSD",
}
_ARCHITECTURES: Final[Mapping[str, str]] = {
    "x86": "INTEL",
    "x86_32": "INTEL",
    "x86_64": "X86_64",
    "ia64": "IA64",
    "powerpc": "PPC",
    "arm": "aarch64",
}
_MEBI: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Resources:
    """What is asked for; sizes as `WorkerConfig` has them."""

    n_cores: int | None = None
    memory: str = ""
    disk: str = ""
    requirements: str = ""


def read_resources(element: etree._Element | None, source: XmlSource, left: Left) -> Resources:
    """Return what is asked for; what cannot be said here is told and kept."""
    if element is None:
        return Resources()
    parts = Parts(source, element, left)
    n_hosts = _least(parts, "TotalResourceCount", left)
    if n_hosts is not None and n_hosts > 1:
        source.find(
            "NO_COUNTERPART", element, "a job runs on one machine here", "TotalResourceCount"
        )
    n_cores = _first(parts, left, "IndividualCPUCount", "TotalCPUCount")
    resources = Resources(
        n_cores=math.ceil(n_cores) if n_cores else None,
        memory=_size(_first(parts, left, "IndividualPhysicalMemory", "TotalPhysicalMemory")),
        disk=_size(_first(parts, left, "IndividualDiskSpace", "TotalDiskSpace")),
        requirements=" && ".join(_conditions(parts, source, left)),
    )
    parts.finish()
    return resources


def _conditions(parts: Parts, source: XmlSource, left: Left) -> Iterator[str]:
    hosts = parts.one("CandidateHosts")
    if hosts is not None:
        inner = Parts(source, hosts, left)
        names = [text_of(host) for host in inner.all("HostName")]
        inner.finish()
        if names:
            joined = " || ".join(f"Machine == {_quoted(name)}" for name in names)
            yield f"({joined})" if len(names) > 1 else joined
    system = parts.one("OperatingSystem")
    if system is not None:
        yield from _named(system, "OperatingSystemType", "OpSys", _SYSTEMS, source, left)
    architecture = parts.one("CPUArchitecture")
    if architecture is not None:
        yield from _named(architecture, "", "Arch", _ARCHITECTURES, source, left)


def _named(
    element: etree._Element,
    within: str,
    attribute: str,
    names: Mapping[str, str],
    source: XmlSource,
    left: Left,
) -> Iterator[str]:
    parts = Parts(source, element, left)
    inner = parts
    if within:
        found = parts.one(within)
        inner = parts if found is None else Parts(source, found, left)
    name_of_name = "OperatingSystemName" if within else "CPUArchitectureName"
    named = inner.one(name_of_name)
    if named is not None:
        known = names.get(text_of(named))
        if known is None:
            left.keep(named, f"no machine is known by {text_of(named)[:100]!r}")
        else:
            yield f"{attribute} == {_quoted(known)}"
    if inner is not parts:
        inner.finish()
    parts.finish()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _first(parts: Parts, left: Left, *names: str) -> float | None:
    """Take several elements that say the same; the first that is there counts."""
    numbers = [_least(parts, name, left) for name in names]
    return next((number for number in numbers if number is not None), None)


def _least(parts: Parts, name: str, left: Left) -> float | None:
    """Take a range of values and return the least number in it that the job can do with.

    Of exact values the smallest; a range without a lower bound asks for nothing.
    """
    found = parts.one(name)
    if found is None:
        return None
    numbers = []
    for child in found.iter("{*}Exact", "{*}LowerBoundedRange", "{*}LowerBound"):
        try:
            number = float(text_of(child))
        except ValueError:
            number = math.nan
        if math.isfinite(number) and 0 <= number < 1 << 62:
            numbers.append(number)
        else:
            left.keep(child, "this is no number", "BAD_VALUE")
    if next(found.iter("{*}UpperBoundedRange", "{*}UpperBound"), None) is not None:
        left.keep(found, "upper bounds are not asked for")
    return min(numbers, default=None)


def _size(n_bytes: float | None) -> str:
    """Return a size in mebibytes, rounded up; nothing for nothing."""
    return f"{math.ceil(n_bytes / _MEBI)}M" if n_bytes else ""
