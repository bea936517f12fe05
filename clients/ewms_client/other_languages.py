"""Submitting a file of another language: the WMS makes a request of it, and says what is lost."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from ewms.wms.v1 import planning_service_pb2 as planning_pb2
from ewms.wms.v1 import workflow_service_pb2
from ewms_bundle import collect
from ewms_client.async_client import AsyncClient
from ewms_client.command_files import UnusablePath, read_document
from ewms_client.documents import message_from_json
from ewms_client.errors import FieldViolation, InvalidArgument
from ewms_client.terminal import say

__all__ = ["request_of_file"]

# The message with the bundle must fit what a server takes.
_LARGEST = 15 << 20


async def request_of_file(
    client: AsyncClient, file: str, language: str, cluster_location: str
) -> workflow_service_pb2.SubmitWorkflowRequest:
    """The request that a file is, or that the WMS makes of it; findings go to stderr.

    Raises InvalidArgument with every error, and UnusablePath.
    """
    document = await asyncio.to_thread(read_document, file)
    if file == "-" or (not language and _is_request(document)):
        return message_from_json(document, workflow_service_pb2.SubmitWorkflowRequest())
    collected = await asyncio.to_thread(collect, Path(file), _LARGEST)
    if not collected.is_whole:
        raise UnusablePath(f"{file}: not everything beside it fits into one call")
    translated = await client.translate(
        collected.files, collected.main, language=language, cluster_location=cluster_location
    )
    errors = []
    for finding in translated.findings:
        place = f"{finding.file}:{finding.line}:{finding.column}" if finding.line else finding.file
        words = f"{finding.code}: {finding.message}"
        about = f" [{finding.subject}]" if finding.subject else ""
        if finding.severity == planning_pb2.FINDING_SEVERITY_ERROR:
            errors.append(FieldViolation(place or file, f"{words}{about}"))
        else:
            say(f"{place}: {words}{about}")
    if errors or not translated.HasField("request"):
        raise InvalidArgument(errors or [FieldViolation(file, "it holds no task")])
    return translated.request


def _is_request(document: bytes) -> bool:
    """Whether it is meant as a request of EWMS, be it right or wrong."""
    try:
        value = json.loads(document)
    except (ValueError, RecursionError):
        return document.lstrip()[:1] == b"{"
    return not isinstance(value, dict) or "schemaVersion" not in value
