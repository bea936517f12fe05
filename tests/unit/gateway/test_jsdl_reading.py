"""JSDL: the job, what is staged for it, what it asks of a machine, and what is told."""

from __future__ import annotations

import json
import time

import pytest
from corpus_manifests import bundle_of, corpus_files, expectations, outcome, page_with_table
from hypothesis import given, settings
from hypothesis import strategies as st

from wms_grpc.domain.analysis import Subject, analyze
from wms_grpc.domain.nets import Dependency
from wms_grpc.domain.tasks import BatchWork, Transfer, TransferWork
from wms_grpc.gateway.jsdl_reader import Jsdl
from wms_grpc.gateway.model import Bundle, Refused, Translation

FILES = sorted(expectations("jsdl"))
_SPACES = (
    'xmlns="http://schemas.ggf.org/jsdl/2005/11/jsdl" '
    'xmlns:posix="http://schemas.ggf.org/jsdl/2005/11/jsdl-posix"'
)


def _read(application: str = "", more: str = "", **files: bytes) -> Translation:
    text = (
        f"<JobDefinition {_SPACES}>\n<JobDescription>\n<Application>\n<posix:POSIXApplication>\n"
        f"<posix:Executable>/bin/true</posix:Executable>{application}\n"
        f"</posix:POSIXApplication>\n</Application>\n{more}\n</JobDescription>\n</JobDefinition>"
    )
    return Jsdl().read(Bundle({"a/my job.jsdl": text.encode(), **files}, "a/my job.jsdl"))


def _job(translation: Translation) -> BatchWork:
    work = translation.workflow.tasks[0].work
    assert isinstance(work, BatchWork)
    return work


def _codes(translation: Translation) -> list[tuple[str, int]]:
    return [(finding.code, finding.position.line) for finding in translation.findings]


@pytest.mark.parametrize("file", FILES)
def test_each_file_of_the_corpus_gives_what_its_manifest_says(file: str) -> None:
    expected = expectations("jsdl")[file]
    found = outcome(Jsdl(), bundle_of("jsdl", file))
    assert (found.gives, sorted(found.findings)) == (expected.gives, sorted(expected.findings))


def test_the_manifest_has_every_file_and_the_page_its_table() -> None:
    assert corpus_files("jsdl") == set(FILES)
    page, fresh = page_with_table("jsdl")
    assert page == fresh, "run `python tests/corpus_manifests.py jsdl`"


def test_an_application_is_a_batch_task_of_the_jobs_name() -> None:
    translation = Jsdl().read(bundle_of("jsdl", "date.jsdl"))
    assert translation.workflow.name == "what time is it"
    assert [task.name for task in translation.workflow.tasks] == ["what time is it"]
    assert _job(translation) == BatchWork(executable="/bin/date", stdout="date.out")
    assert translation.positions["what time is it"].line == 3


def test_arguments_and_variables_come_as_they_are() -> None:
    work = _job(
        _read(
            "<posix:Argument>a b</posix:Argument><posix:Argument/>"
            '<posix:Environment name="X">1</posix:Environment><posix:Environment name="Y"/>'
            "<posix:WallTimeLimit>90</posix:WallTimeLimit>"
        )
    )
    assert work.arguments == ("a b", "")
    assert work.environment == {"X": "1", "Y": ""}
    assert work.max_runtime == 90


def test_very_many_arguments_take_no_more_than_linear_time() -> None:
    begin = time.process_time()
    assert len(_job(_read("<posix:Argument>x</posix:Argument>" * 50_000)).arguments) == 50_000
    assert time.process_time() - begin < 20


def test_a_job_without_a_name_has_that_of_its_file() -> None:
    assert _read().workflow.name == "my job"


def test_what_comes_and_goes_by_url_is_a_transfer_of_its_own() -> None:
    workflow = Jsdl().read(bundle_of("jsdl", "plot.jsdl")).workflow
    works = {task.name: task.work for task in workflow.tasks}
    assert works["plot.stage_in"] == TransferWork(
        (
            Transfer("http://example.org/plots/control-7.txt", "control.txt"),
            Transfer("gsiftp://example.org/numbers.dat", "numbers.dat"),
        )
    )
    assert works["plot.stage_out"] == TransferWork(
        (Transfer("task:plot/fit.png", "gsiftp://example.org/results/fit-7.png"),)
    )
    job = works["plot"]
    assert isinstance(job, BatchWork)
    assert job.inputs == ("task:plot.stage_in/control.txt", "task:plot.stage_in/numbers.dat")
    assert job.outputs == ("fit.png",)
    assert workflow.dependencies == (
        Dependency(("plot.stage_in",), ("plot",)),
        Dependency(("plot",), ("plot.stage_out",)),
    )
    found = analyze(Subject(workflow.tasks, workflow.dependencies))
    assert [finding.code for finding in found] == ["SOUND", "WIDTH", "CRITICAL_PATH"]


def test_resources_are_numbers_and_one_expression() -> None:
    work = _job(Jsdl().read(bundle_of("jsdl", "plot.jsdl")))
    assert (work.n_cores, work.memory, work.disk) == (2, "2000M", "5M")
    assert work.requirements == (
        '(Machine == "node1" || Machine == "node2") && OpSys == "LINUX" && Arch == "X86_64"'
    )


def test_a_name_of_a_host_cannot_end_its_quotes() -> None:
    hosts = '<CandidateHosts><HostName>a" || true || "\\</HostName></CandidateHosts>'
    work = _job(_read(more=f"<Resources>{hosts}</Resources>"))
    assert work.requirements == 'Machine == "a\\" || true || \\"\\\\"'


@pytest.mark.parametrize(
    ("value", "n_cores", "codes"),
    [
        ("<Exact>4</Exact><Exact>2</Exact>", 2, []),
        ("<LowerBoundedRange>1.5</LowerBoundedRange>", 2, []),
        ("<UpperBoundedRange>8</UpperBoundedRange>", None, ["NO_COUNTERPART"]),
        ("<Exact>many</Exact>", None, ["BAD_VALUE"]),
        ("<Exact>NaN</Exact>", None, ["BAD_VALUE"]),
        ("<Exact>1e300</Exact>", None, ["BAD_VALUE"]),
    ],
)
def test_of_a_range_the_least_counts(value: str, n_cores: int | None, codes: list[str]) -> None:
    translation = _read(
        more=f"<Resources><IndividualCPUCount>{value}</IndividualCPUCount></Resources>"
    )
    assert _job(translation).n_cores == n_cores
    assert [code for code, _ in _codes(translation)] == codes


def test_files_of_the_submission_must_be_in_the_bundle() -> None:
    staging = "<DataStaging><FileName>run.sh</FileName><Source/></DataStaging>"
    assert _codes(_read(more=staging)) == [("MISSING_FILE", 8)]
    translation = _read(more=staging, **{"run.sh": b""})
    assert not _codes(translation)
    assert _job(translation).inputs == ("run.sh",)
    translation = _read("<posix:Input>numbers</posix:Input>", **{"numbers": b"1"})
    assert not _codes(translation)
    assert _job(translation).inputs == ("numbers",)


def test_a_file_is_the_same_with_a_dot_before_it() -> None:
    staging = (
        "<DataStaging><FileName>run.dat</FileName>"
        "<Source><URI>ftp://u:p@there/run.dat</URI></Source></DataStaging>"
    )
    translation = _read("<posix:Input>./run.dat</posix:Input>", staging)
    assert not translation.findings
    assert _job(translation).inputs == ("task:my job.stage_in/run.dat",)


def test_what_is_not_translated_is_kept() -> None:
    workflow = Jsdl().read(bundle_of("jsdl", "plot.jsdl")).workflow
    text = json.dumps(dict(workflow.annotations))
    for said in (
        "plots-7",
        "neutrinos",
        "Draws the fit",
        "5.4",
        "/tmp/plots",
        "1073741824",
        "/home",
        "UpperBound",
        "append",
    ):
        assert said in text


def test_an_element_within_a_text_is_told() -> None:
    translation = _read("<posix:Argument>a<b/>c</posix:Argument>")
    assert _codes(translation) == [("UNKNOWN_ELEMENT", 5)]


def test_it_claims_job_definitions_and_no_other_xml() -> None:
    reader = Jsdl()
    for file in FILES:
        assert reader.claims(bundle_of("jsdl", file))
    content = bundle_of("jsdl", "plot.jsdl").files["plot.jsdl"]
    assert reader.claims(Bundle({"x.xml": content}, "x.xml"))
    for content in (b"", b"<job/>", b"JOB a b", b"[ Type = 1 ]", b"\x00\xff"):
        assert not reader.claims(Bundle({"x.xml": content}, "x.xml"))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FILES), st.data())
def test_whatever_is_done_to_a_file_it_is_read_or_refused(file: str, data: st.DataObject) -> None:
    content = bytearray(bundle_of("jsdl", file).files[file])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 30))] = data.draw(
            st.binary(max_size=8)
            | st.sampled_from([b"<Exact>", b"9" * 400, b"-1", b"<!DOCTYPE a>", b"&x;", b"<a/>"])
        )
    try:
        workflow = Jsdl().read(Bundle({"x.jsdl": bytes(content)}, "x.jsdl")).workflow
    except Refused:
        return
    json.dumps(dict(workflow.annotations))
    analyze(Subject(workflow.tasks, workflow.dependencies))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(content: bytes) -> None:
    bundle = Bundle({"x": content}, "x")
    Jsdl().claims(bundle)
    with pytest.raises(Refused):
        Jsdl().read(bundle)
