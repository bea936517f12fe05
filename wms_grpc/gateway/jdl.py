"""The job description language of gLite's Workload Management System, over ClassAds."""

from __future__ import annotations

from wms_grpc.gateway.jdl_reader import read_jdl, speaks_jdl
from wms_grpc.gateway.jdl_writer import write_jdl
from wms_grpc.gateway.model import Bundle, Translation, Workflow, Written

__all__ = ["Jdl"]


class Jdl:
    """Reads and writes job descriptions."""

    name = "jdl"

    def claims(self, bundle: Bundle) -> bool:
        """Whether the main file is one, by its name or its beginning."""
        return speaks_jdl(bundle)

    def read(self, bundle: Bundle) -> Translation:
        """Translate. Raises Refused."""
        return read_jdl(bundle)

    def write(self, workflow: Workflow) -> Written:
        """Write. Raises Refused where the language cannot express the workflow at all."""
        return write_jdl(workflow)
