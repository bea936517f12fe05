"""PlanningService: workflows of other languages, analyses, and nets as they stand."""

from __future__ import annotations

import pytest
from wms_stack import Stack, Wms, refused

from ewms.wms.v1 import planning_service_pb2 as pb
from ewms.wms.v1 import task_pb2, workflow_service_pb2
from ewms.wms.v1.planning_service_pb2_grpc import PlanningServiceStub
from ewms.wms.v1.task_kinds_pb2 import NoopSpec, TaskKind, TaskState, WaitSpec

DIAMOND = b"""
JOB A a.sub
JOB B a.sub
JOB C a.sub
JOB D a.sub
PARENT A CHILD B C
PARENT B C CHILD D
RETRY D 2
"""
A_SUB = b"executable = /bin/true\nrequest_memory = 1G\nqueue\n"


@pytest.fixture
async def wms(stack: Stack) -> Wms:
    """A WMS alone."""
    return await stack.wms()


def a_bundle(**files: bytes) -> pb.Bundle:
    named = {name.replace("_", "."): content for name, content in files.items()}
    return pb.Bundle(files=named, main=next(iter(named)))


async def translate(wms: Wms, bundle: pb.Bundle, **fields: str) -> pb.TranslateWorkflowResponse:
    request = pb.TranslateWorkflowRequest(bundle=bundle, **fields)
    return await PlanningServiceStub(wms.channel).TranslateWorkflow(request)


async def test_a_dag_becomes_a_request_that_can_be_submitted(wms: Wms) -> None:
    bundle = a_bundle(diamond_dag=DIAMOND, a_sub=A_SUB)

    answer = await translate(wms, bundle, cluster_location="osg")

    assert answer.language == "dagman"
    tasks = {task.name: task for task in answer.request.tasks}
    assert list(tasks["D"].depends_on) == ["B", "C"]
    assert tasks["D"].recovery.max_tries == 3
    assert list(tasks["A"].cluster_locations) == ["osg"]
    submitted = await wms.workflows.SubmitWorkflow(answer.request)
    assert submitted.workflow.has_net


async def test_the_same_workflow_is_written_in_another_language(wms: Wms) -> None:
    answer = await translate(wms, a_bundle(diamond_dag=DIAMOND, a_sub=A_SUB), to="jdl")

    text = answer.written.files[answer.written.main].decode()
    assert 'Executable = "/bin/true"' in text


async def test_what_cannot_be_read_is_told_with_its_place(wms: Wms) -> None:
    answer = await translate(wms, a_bundle(bad_dag=b"JOB A a.sub\nPARENT A CHILD Z\n"))

    assert not answer.HasField("request")
    (finding,) = [f for f in answer.findings if f.severity == pb.FINDING_SEVERITY_ERROR]
    assert (finding.code, finding.file, finding.line) == ("UNKNOWN_NODE", "bad.dag", 2)


async def test_an_unknown_language_is_told_as_such(wms: Wms) -> None:
    answer = await translate(wms, a_bundle(x_txt=b"once upon a time"))

    assert [finding.code for finding in answer.findings] == ["UNKNOWN_LANGUAGE"]


async def test_an_analysis_names_what_it_finds(wms: Wms) -> None:
    request = pb.AnalyzeWorkflowRequest(bundle=a_bundle(diamond_dag=DIAMOND, a_sub=A_SUB))

    answer = await PlanningServiceStub(wms.channel).AnalyzeWorkflow(request)

    codes = {finding.code for finding in answer.findings}
    assert {"SOUND", "WIDTH", "CRITICAL_PATH"} <= codes


async def test_a_net_is_shown_as_it_stands(wms: Wms) -> None:
    tasks = [
        task_pb2.TaskSpec(name="a", noop=NoopSpec()),
        task_pb2.TaskSpec(name="b", depends_on=["a"], wait=WaitSpec(signal="go")),
        task_pb2.TaskSpec(name="c", depends_on=["b"], noop=NoopSpec()),
    ]
    request = workflow_service_pb2.SubmitWorkflowRequest(tasks=tasks)
    workflow_id = (await wms.workflows.SubmitWorkflow(request)).workflow.workflow_id
    await wms.until(
        workflow_id,
        lambda view: any(t.state == TaskState.TASK_STATE_RUNNING for t in view.tasks.values()),
    )

    net = await PlanningServiceStub(wms.channel).GetNet(pb.GetNetRequest(workflow_id=workflow_id))

    assert [(t.task, t.kind, t.state, t.n_missing) for t in net.transitions] == [
        ("a", TaskKind.TASK_KIND_NOOP, TaskState.TASK_STATE_SUCCEEDED, 0),
        ("b", TaskKind.TASK_KIND_WAIT, TaskState.TASK_STATE_RUNNING, 0),
        ("c", TaskKind.TASK_KIND_NOOP, TaskState.TASK_STATE_WAITING, 1),
    ]
    assert [(getattr(p, "from"), p.to) for p in net.places] == [(0, 1), (1, 2)]


async def test_a_workflow_without_a_net_has_none_to_show(wms: Wms) -> None:
    workflow_id = await wms.submit()

    async with refused("FAILED_PRECONDITION"):
        await PlanningServiceStub(wms.channel).GetNet(pb.GetNetRequest(workflow_id=workflow_id))
    async with refused("NOT_FOUND"):
        await PlanningServiceStub(wms.channel).GetNet(pb.GetNetRequest(workflow_id="WF-0-00000000"))
