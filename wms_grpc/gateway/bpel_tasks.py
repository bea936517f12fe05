"""The tasks of a BPEL process: one for each activity that the net does not look into."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from lxml import etree

from wms_grpc.domain.tasks import CustomWork, NoopWork, Task, WaitWork, Work
from wms_grpc.gateway.bpel_links import condition_of
from wms_grpc.gateway.model import MAX_TOKEN, Position
from wms_grpc.gateway.xml_source import XmlSource, children, local_name

__all__ = ["Tasks", "seconds_of"]

_QUIET: Final = ("invoke", "empty", "wait")
_WHY: Final = {
    "exit": "it ends the process; here what follows goes on",
    "terminate": "it ends the process; here what follows goes on",
    "throw": "there are no faults here; what follows goes on",
    "rethrow": "there are no faults here; what follows goes on",
    "pick": "what it waits for is not told apart: it is one task",
    "forEach": "its rounds are not told apart: it is one task",
}
_DURATION: Final = re.compile(
    r"""['"]?P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?['"]?"""
)


class Tasks:
    """Makes tasks whose names are distinct."""

    def __init__(self, source: XmlSource) -> None:
        self._source = source
        self._counts: Counter[str] = Counter()
        self._tasks: dict[str, Task] = {}
        self.positions: dict[str, Position] = {}

    def all(self) -> tuple[Task, ...]:
        """Return the tasks so far."""
        return tuple(self._tasks.values())

    def task(self, element: etree._Element) -> str:
        """Make the task of an activity and return its name."""
        what = local_name(element)
        name = self._name(element)
        if what not in _QUIET:
            why = _WHY.get(what, "it is one task, of which nothing more is known")
            self._source.find("OUTSIDE_SUBSET", element, f"`{what}`: {why}", name)
        for child in children(element):
            if local_name(child) in ("catch", "catchAll", "compensationHandler"):
                words = f"`{local_name(child)}`: there are no handlers here; it is kept as it is"
                self._source.find("OUTSIDE_SUBSET", child, words, name)
        self._tasks[name] = Task(name, self._work(element), annotations=self._said(element))
        self.positions[name] = self._source.position(element)
        return name

    def _name(self, element: etree._Element) -> str:
        said = " ".join(element.get("name", "").split())
        base = said or element.get("operation", "").strip() or local_name(element)
        name = base
        while name in self._tasks:
            self._counts[base] += 1
            name = f"{base}#{self._counts[base] + 1}"
        return name

    def _work(self, element: etree._Element) -> Work:
        what = local_name(element)
        if what == "empty":
            return NoopWork()
        if what == "wait":
            seconds = seconds_of(condition_of(element, self._source, "for"))
            if seconds is not None:
                return WaitWork(seconds=seconds)
            self._source.find(
                "OUTSIDE_SUBSET",
                element,
                "`wait`: not a number of seconds",
                element.get("name", ""),
            )
        attributes = {etree.QName(key).localname: str(v) for key, v in element.attrib.items()}
        return CustomWork(f"bpel:{what}", attributes)

    def _said(self, element: etree._Element) -> dict[str, object]:
        """Keep what an activity says within, but for its links, which the net has."""
        if not any(local_name(c) not in ("sources", "targets") for c in children(element)):
            return {}
        text = etree.tostring(element, encoding="unicode", with_tail=False)
        if len(text) > MAX_TOKEN:
            words = f"what it says is longer than {MAX_TOKEN} characters and is not kept"
            self._source.find("TOO_LARGE", element, words, element.get("name", ""))
            return {}
        return {"bpel": {"element": text}}


def seconds_of(duration: str) -> float | None:
    """Return the seconds of a literal duration (`PT5S`); None: it is none."""
    found = _DURATION.fullmatch(duration)
    if found is None or not any(found.groups()) or len(duration) > 100:
        return None
    days, hours, minutes, seconds = (float(group or 0) for group in found.groups())
    return days * 86_400 + hours * 3_600 + minutes * 60 + seconds
