"""Job descriptions, there and back: what is written is read as the same workflow."""

from __future__ import annotations

import classad2
from hypothesis import given, settings
from random_workflows import TEXTS, WORDS, dags_of_jobs, workflows

from wms_grpc.gateway.equality import differences
from wms_grpc.gateway.ewms import Ewms
from wms_grpc.gateway.jdl import Jdl
from wms_grpc.gateway.jdl_quoting import quoted_name, quoted_text
from wms_grpc.gateway.model import Refused, Workflow

SOME = settings(max_examples=60, deadline=None)


@SOME
@given(dags_of_jobs())
def test_a_dag_of_jobs_is_written_and_read_back_as_the_same(workflow: Workflow) -> None:
    written = Jdl().write(workflow)

    assert written.findings == ()
    assert differences(workflow, Jdl().read(written.bundle).workflow) == []


@SOME
@given(dags_of_jobs())
def test_a_dag_of_jobs_comes_through_a_request_as_the_same(workflow: Workflow) -> None:
    request = Ewms().write(Jdl().read(Jdl().write(workflow).bundle).workflow)
    again = Jdl().write(Ewms().read(request.bundle).workflow)

    assert differences(workflow, Jdl().read(again.bundle).workflow) == []


@SOME
@given(workflows())
def test_what_cannot_be_said_is_refused_or_named(workflow: Workflow) -> None:
    try:
        written = Jdl().write(workflow)
    except Refused:
        return
    read = Jdl().read(written.bundle).workflow

    if not written.findings:
        assert differences(workflow, read) == []


@SOME
@given(dags_of_jobs())
def test_what_is_written_is_a_class_ad_to_htcondor(workflow: Workflow) -> None:
    written = Jdl().write(workflow).bundle
    classad2.ClassAd(written.files[written.main].decode())


@SOME
@given(TEXTS, WORDS)
def test_texts_and_names_mean_the_same_to_htcondor(text: str, name: str) -> None:
    ad = classad2.ClassAd(f"[ {quoted_name(name)} = {quoted_text(text)} ]")

    assert list(ad.items()) == [(name, text)]
