"""Requests as JSON, there and back: they say all that the model says."""

from __future__ import annotations

from hypothesis import given, settings
from random_workflows import workflows

from wms_grpc.gateway.equality import differences
from wms_grpc.gateway.ewms import Ewms
from wms_grpc.gateway.model import Workflow


@settings(max_examples=60, deadline=None)
@given(workflows())
def test_every_workflow_is_written_and_read_back_as_the_same(workflow: Workflow) -> None:
    written = Ewms().write(workflow)

    assert written.findings == ()
    assert Ewms().claims(written.bundle)
    assert differences(workflow, Ewms().read(written.bundle).workflow) == []
