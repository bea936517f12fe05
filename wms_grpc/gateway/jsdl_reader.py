"""JSDL 1.0, the Job Submission Description Language (Open Grid Forum, GFD.136): one job.

The application is a batch task; what is staged by URL comes before it and goes after it, in data
transfers of their own. What has no counterpart is told, and kept in the annotations under `jsdl`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from lxml import etree

from wms_grpc.domain.nets import Dependency
from wms_grpc.domain.tasks import BatchWork, Task, Transfer, TransferWork
from wms_grpc.gateway.jsdl_parts import APPLICATIONS, Left, Parts
from wms_grpc.gateway.jsdl_resources import Resources, read_resources
from wms_grpc.gateway.jsdl_staging import Staging, read_staging
from wms_grpc.gateway.model import Bundle, Position, Translation, Workflow
from wms_grpc.gateway.xml_source import XmlSource, local_name, namespace, parsed, root_name

__all__ = ["Jsdl"]

JSDL: Final = "http://schemas.ggf.org/jsdl/2005/11/jsdl"
_NAME: Final = "jsdl"
_ABSOLUTE: Final = re.compile(r"/|[A-Za-z][\w+.-]*:")


class Jsdl:
    """Reads JSDL."""

    name = _NAME

    def claims(self, bundle: Bundle) -> bool:
        """Whether the main file is XML with the root of a job definition, or has the ending."""
        found, _ = root_name(bundle.files.get(bundle.main, b""))
        return found == "JobDefinition" or bundle.main.lower().endswith(".jsdl")

    def read(self, bundle: Bundle) -> Translation:
        """Translate. Raises Refused."""
        source = parsed(bundle)
        reading = _Reading(source, bundle)
        workflow = reading.workflow()
        return Translation(self.name, workflow, source.all_findings(), reading.positions)


class _Reading:
    def __init__(self, source: XmlSource, bundle: Bundle) -> None:
        self._source = source
        self._bundle = bundle
        self._left = Left(source)
        self.positions: dict[str, Position] = {}

    def workflow(self) -> Workflow:
        """Return the job, with its transfers."""
        description = self._description()
        parts = Parts(self._source, description, self._left)
        name, said = self._identification(parts)
        application = self._application(parts)
        resources = read_resources(parts.one("Resources"), self._source, self._left)
        staging = read_staging(
            parts.all("DataStaging"), self._source, self._left, self._bundle.files
        )
        parts.finish()
        self.positions[name] = self._source.position(description)
        job = Task(name, self._work(name, application, resources, staging))
        tasks = [job, *self._transfers(job, staging)]
        names = {task.name for task in tasks}
        dependencies = []
        if f"{name}.stage_in" in names:
            dependencies.append(Dependency((f"{name}.stage_in",), (name,)))
        if f"{name}.stage_out" in names:
            dependencies.append(Dependency((name,), (f"{name}.stage_out",)))
        said |= self._left.annotations()
        return Workflow(
            name, tuple(tasks), tuple(dependencies), annotations={_NAME: said} if said else {}
        )

    def _description(self) -> etree._Element:
        root = self._source.root
        if local_name(root) != "JobDefinition":
            words = f"a JSDL file is a `JobDefinition`, not a `{local_name(root)[:100]}`"
            raise self._source.refused("WRONG_LANGUAGE", root, words)
        if namespace(root) != JSDL:
            words = f"the namespace is `{namespace(root)[:200]}`, not {JSDL}"
            self._source.find("NAMESPACE", root, words)
        self._left.note_attributes(root)
        parts = Parts(self._source, root, self._left)
        descriptions = list(parts.all("JobDescription"))
        if not descriptions:
            raise self._source.refused("MISSING_FIELD", root, "there is no `JobDescription`")
        for other in descriptions[1:]:
            words = "a file holds one job; this one is not translated"
            self._left.keep(other, words, "MORE_JOBS", "error")
        parts.finish()
        return descriptions[0]

    def _identification(self, parts: Parts) -> tuple[str, dict[str, object]]:
        stem = self._bundle.main.rpartition("/")[2].rpartition(".")[0] or "job"
        found = parts.one("JobIdentification")
        if found is None:
            return stem, {}
        inner = Parts(self._source, found, self._left)
        name = " ".join(inner.text("JobName").split())
        said: dict[str, object] = {}
        if description := inner.text("Description"):
            said["description"] = description
        for key in ("JobAnnotation", "JobProject"):
            if values := [text for _, text in inner.texts(key)]:
                said[key] = values
        inner.finish()
        return name or stem, said

    def _application(self, parts: Parts) -> Parts | None:
        found = parts.one("Application")
        if found is None:
            words = "the job has no `Application`, so there is nothing to run"
            self._source.find("NO_COMMAND", parts.element, words, severity="error")
            return None
        inner = Parts(self._source, found, self._left)
        applications = [inner.one(name, space) for name, space in APPLICATIONS.items()]
        known = [application for application in applications if application is not None]
        for other in known[1:]:
            self._left.keep(other, "the job has another application already")
        for key in ("ApplicationName", "ApplicationVersion", "Description"):
            if text := inner.text(key):
                self._left.note(f"Application/{key}", text)
        inner.finish()
        if not known:
            words = "only POSIX, HPC profile and SPMD applications say what is to be run"
            self._source.find("NO_COMMAND", found, words, severity="error")
            return None
        return Parts(self._source, known[0], self._left)

    def _work(
        self, name: str, application: Parts | None, resources: Resources, staging: Staging
    ) -> BatchWork:
        if application is None:
            return BatchWork()
        executable = application.text("Executable")
        stdin = application.text("Input")
        inputs = list(staging.inputs(name))
        for file in (executable, stdin):
            local = file.removeprefix("./")
            if file and local not in staging.local() and not _ABSOLUTE.match(file):
                self._check_file(local, application.element)
                inputs += [local] if file == stdin else []
        work = BatchWork(
            executable=executable,
            arguments=tuple(text for _, text in application.texts("Argument")),
            environment=dict(self._environment(application)),
            stdin=stdin,
            stdout=application.text("Output"),
            stderr=application.text("Error"),
            inputs=tuple(dict.fromkeys(inputs)),
            outputs=staging.outputs(),
            n_cores=resources.n_cores,
            memory=resources.memory,
            disk=resources.disk,
            max_runtime=application.seconds("WallTimeLimit"),
            requirements=resources.requirements,
        )
        if not executable:
            self._source.find(
                "NO_COMMAND", application.element, "no executable is named", severity="error"
            )
        application.finish()
        return work

    def _check_file(self, file: str, element: etree._Element) -> None:
        if file not in self._bundle.files:
            words = f"{file[:200]} is neither staged in nor in the bundle"
            self._source.find("MISSING_FILE", element, words, file, "error")

    def _environment(self, application: Parts) -> Iterator[tuple[str, str]]:
        for element, text in application.texts("Environment"):
            name = element.get("name", "")
            if name:
                yield name, text
            else:
                self._left.keep(element, "a variable without a name")

    def _transfers(self, job: Task, staging: Staging) -> Iterator[Task]:
        stages_in = tuple(Transfer(url, file) for file, url in staging.sources)
        stages_out = tuple(
            Transfer(f"task:{job.name}/{file}", url) for file, url in staging.targets
        )
        for suffix, transfers in (("stage_in", stages_in), ("stage_out", stages_out)):
            if transfers:
                name = f"{job.name}.{suffix}"
                self.positions[name] = self.positions[job.name]
                yield Task(name, TransferWork(transfers))
