"""Job descriptions, there and back: what is written is read as the same workflow."""

from __future__ import annotations

from pathlib import Path
from random import Random

import classad2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_job_descriptions import job_description
from random_workflows import TEXTS, WORDS, dags_of_jobs, workflows

from wms_grpc.gateway.equality import differences
from wms_grpc.gateway.ewms import Ewms
from wms_grpc.gateway.jdl import Jdl
from wms_grpc.gateway.jdl_quoting import quoted_name, quoted_text
from wms_grpc.gateway.jdl_syntax import List, Number, Record, Text, Value, parse_jdl
from wms_grpc.gateway.model import Bundle, Refused, Workflow
from wms_grpc.gateway.sources import Source

CORPUS = Path(__file__).resolve().parents[2] / "corpus" / "jdl"
SOME = settings(max_examples=25, deadline=None)


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


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_whatever_a_job_description_says_is_written_again_and_comes_through_a_request(
    random: Random,
) -> None:
    beside = {"a.jdl": b'Executable = "a.sh"; StdOutput = "a.out";'}
    content = job_description(random).encode()
    try:
        workflow = Jdl().read(Bundle({**beside, "main.jdl": content}, "main.jdl")).workflow
    except Refused:
        return
    written = Jdl().write(workflow)
    through = Jdl().write(Ewms().read(Ewms().write(workflow).bundle).workflow)

    lost = [finding.message for finding in written.findings]
    assert [message for message in lost if not message.startswith("file:")] == []
    for again in (written.bundle, through.bundle):
        read = Jdl().read(Bundle({**beside, **again.files}, again.main)).workflow
        assert differences(workflow, read) == []


@pytest.mark.parametrize("path", sorted(CORPUS.rglob("*.jdl")), ids=lambda path: path.name)
def test_what_htcondor_reads_too_is_read_as_htcondor_reads_it(path: Path) -> None:
    # Its ClassAds know neither `#` nor a file without brackets, and take what they cannot read
    # for an empty one.
    text = path.read_bytes().decode("latin-1")
    try:
        record = parse_jdl(Source("", text))
        ad = classad2.ClassAd(text)
    except (Refused, classad2.ClassAdException):
        return
    if len(ad):
        compare(record, ad)


def compare(record: Record, ad: classad2.ClassAd) -> None:
    last = {attribute.name.lower(): attribute.value for attribute in record.attributes}
    theirs = {name.lower(): value for name, value in ad.items()}
    assert last.keys() == theirs.keys()
    for name, value in last.items():
        compare_values(value, theirs[name])


def compare_values(ours: Value, theirs: object) -> None:
    match ours:
        case Record():
            assert isinstance(theirs, classad2.ClassAd)
            compare(ours, theirs)
        case List():
            if isinstance(theirs, list):
                for item, their_item in zip(ours.items, theirs, strict=True):
                    compare_values(item, their_item)
        case Text():
            assert ours.text == theirs
        case Number():
            assert ours.number == theirs
