"""PlanningService: translates and analyzes workflows, and shows the nets of those that run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ewms.wms.v1 import planning_service_pb2 as pb
from ewms_rpc.context import CallContext
from wms_grpc.domain.errors import NotAllowedNow
from wms_grpc.domain.findings import Finding, FindingSeverity
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.gateway import languages
from wms_grpc.gateway.analysed import analysed
from wms_grpc.gateway.compiler import compile_request
from wms_grpc.gateway.model import Bundle, Refused
from wms_grpc.storage import net_view
from wms_grpc.storage.store import Store

__all__ = ["PlanningService"]

_DEFAULT_LOCATION: Final = "local"
_SEVERITY: Final[dict[FindingSeverity, pb.FindingSeverity.ValueType]] = {
    "error": pb.FINDING_SEVERITY_ERROR,
    "warning": pb.FINDING_SEVERITY_WARNING,
    "info": pb.FINDING_SEVERITY_INFO,
}


@dataclass(frozen=True, slots=True)
class PlanningService:
    """The servicer. Reading a bundle may take seconds: it is done in a thread."""

    store: Store

    async def TranslateWorkflow(
        self, request: pb.TranslateWorkflowRequest, context: CallContext
    ) -> pb.TranslateWorkflowResponse:
        return await asyncio.to_thread(_translated, request)

    async def AnalyzeWorkflow(
        self, request: pb.AnalyzeWorkflowRequest, context: CallContext
    ) -> pb.AnalyzeWorkflowResponse:
        return await asyncio.to_thread(_analyzed, request)

    async def GetNet(self, request: pb.GetNetRequest, context: CallContext) -> pb.GetNetResponse:
        view = await net_view.net_of(self.store.db, WorkflowId(request.workflow_id))
        if view is None:
            raise NotAllowedNow("NO_NET", request.workflow_id, "the workflow has no net")
        return view


def _translated(request: pb.TranslateWorkflowRequest) -> pb.TranslateWorkflowResponse:
    response = pb.TranslateWorkflowResponse()
    try:
        translation = languages.read(_bundle(request.bundle), request.language)
        response.language = translation.language
        location = request.cluster_location or _DEFAULT_LOCATION
        compiled, findings = compile_request(translation, location)
        response.findings.extend(_messages((*translation.findings, *findings)))
        if compiled is not None:
            response.request.CopyFrom(compiled)
        if request.to:
            written = languages.write(translation.workflow, request.to)
            response.findings.extend(_messages(written.findings))
            response.written.main = written.bundle.main
            response.written.files.update(written.bundle.files)
    except Refused as refusal:
        response.findings.extend(_messages([refusal.finding]))
    return response


def _analyzed(request: pb.AnalyzeWorkflowRequest) -> pb.AnalyzeWorkflowResponse:
    try:
        translation = languages.read(_bundle(request.bundle), request.language)
    except Refused as refusal:
        return pb.AnalyzeWorkflowResponse(findings=_messages([refusal.finding]))
    findings = (*translation.findings, *analysed(translation))
    return pb.AnalyzeWorkflowResponse(language=translation.language, findings=_messages(findings))


def _bundle(bundle: pb.Bundle) -> Bundle:
    return Bundle(dict(bundle.files), bundle.main)


def _messages(findings: Iterable[Finding]) -> list[pb.Finding]:
    return [
        pb.Finding(
            code=finding.code,
            message=finding.message,
            severity=_SEVERITY[finding.severity],
            subject=finding.subject,
            file=finding.position.file,
            line=finding.position.line,
            column=finding.position.column,
        )
        for finding in findings
    ]
