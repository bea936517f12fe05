"""The analysis of what was read, with positions and with the durations that were measured."""

from __future__ import annotations

from wms_grpc.domain.analysis import Subject, analyze
from wms_grpc.gateway.model import Finding, Translation
from wms_grpc.gateway.wfformat_reader import measured_durations

__all__ = ["analysed"]


def analysed(translation: Translation) -> tuple[Finding, ...]:
    """Return what the analysis says of a workflow, where in its files."""
    workflow = translation.workflow
    return analyze(
        Subject(
            tasks=workflow.tasks,
            dependencies=workflow.dependencies,
            net=workflow.given_net,
            public_aliases=workflow.public_aliases,
            durations=measured_durations(workflow),
            positions=translation.positions,
        )
    )
