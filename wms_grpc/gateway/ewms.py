"""EWMS's own language: the JSON of `SubmitWorkflowRequest`."""

from __future__ import annotations

from wms_grpc.gateway.ewms_reader import read_ewms, speaks_ewms
from wms_grpc.gateway.ewms_writer import write_ewms
from wms_grpc.gateway.model import Bundle, Translation, Workflow, Written

__all__ = ["Ewms"]


class Ewms:
    """Reads and writes requests."""

    name = "ewms"

    def claims(self, bundle: Bundle) -> bool:
        """Whether the main file is a request, by its content."""
        return speaks_ewms(bundle)

    def read(self, bundle: Bundle) -> Translation:
        """Translate. Raises Refused."""
        return read_ewms(bundle)

    def write(self, workflow: Workflow) -> Written:
        """Write. Raises Refused for what no JSON can hold."""
        return write_ewms(workflow)
