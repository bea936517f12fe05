"""Which files a JSDL job has staged in and out."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from lxml import etree

from wms_grpc.gateway.jsdl_parts import Left, Parts, text_of
from wms_grpc.gateway.xml_source import XmlSource

__all__ = ["Staging", "read_staging"]


@dataclass(slots=True)
class Staging:
    """Files with the URLs they come from and go to; and those that come with the submission, or
    stay in the workflow's store.
    """

    sources: list[tuple[str, str]] = field(default_factory=list)
    targets: list[tuple[str, str]] = field(default_factory=list)
    submitted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def local(self) -> set[str]:
        """Return the files that are there when the job starts."""
        return {file for file, _ in self.sources} | set(self.submitted)

    def inputs(self, job: str) -> Iterator[str]:
        """Yield the inputs of the job."""
        for file, _ in self.sources:
            yield f"task:{job}.stage_in/{file}"
        yield from self.submitted

    def outputs(self) -> tuple[str, ...]:
        """Return the outputs of the job."""
        return tuple(dict.fromkeys([*(file for file, _ in self.targets), *self.kept]))


def read_staging(
    elements: Iterable[etree._Element], source: XmlSource, left: Left, files: Container[str]
) -> Staging:
    """Return what is staged; what cannot be said here is told and kept.

    `files` are those of the bundle: what has no URL to come from must be among them.
    """
    staging = Staging()
    for element in elements:
        n_submitted = len(staging.submitted)
        _read_one(element, staging, source, left)
        for file in staging.submitted[n_submitted:]:
            if file not in files:
                words = f"{file[:200]} has no URL to come from, and is not in the bundle"
                source.find("MISSING_FILE", element, words, file, "error")
    return staging


def _read_one(element: etree._Element, staging: Staging, source: XmlSource, left: Left) -> None:
    parts = Parts(source, element, left)
    file = parts.text("FileName").removeprefix("./")
    if not file:
        left.keep(element, "no file is named", "MISSING_FIELD", "error")
        return
    came_from, goes_to = parts.one("Source"), parts.one("Target")
    if came_from is not None:
        url = _url(came_from, source, left)
        staging.sources.append((file, url)) if url else staging.submitted.append(file)
    if goes_to is not None:
        url = _url(goes_to, source, left)
        staging.targets.append((file, url)) if url else staging.kept.append(file)
    flag = parts.one("CreationFlag")
    if flag is not None and text_of(flag) != "overwrite":
        left.keep(flag, "a file that is staged replaces what was there")
    ends = parts.one("DeleteOnTermination")
    if ends is not None and text_of(ends) not in ("true", "1"):
        left.keep(ends, "files are kept by being staged out, and no other way")
    parts.finish("a job has one folder of its own, and no other file systems")


def _url(element: etree._Element, source: XmlSource, left: Left) -> str:
    parts = Parts(source, element, left)
    url = parts.text("URI")
    parts.finish()
    return url
