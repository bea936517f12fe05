"""HTCondor as the judge of how DAG files are read, and of those that we write."""

from __future__ import annotations

from pathlib import Path

import pytest
from condor_tools import check, dry_run, laid_out

from wms_grpc.domain.nets import Dependency
from wms_grpc.domain.tasks import (
    AbortRule,
    BatchWork,
    NoopWork,
    Recovery,
    Script,
    SubWorkflowWork,
    SuccessRule,
    Task,
)
from wms_grpc.gateway.dagman import Dagman
from wms_grpc.gateway.model import Bundle, Refused, Translation, Workflow

_CORPUS = Path(__file__).parents[2] / "corpus" / "dagman"
_FILES = {path.name: path.read_bytes() for path in sorted(_CORPUS.glob("*.dag"))}

_NOT_CHECKED = {
    "job_dagman_splice_connect-A-inc1.dag": "CONNECT of splices that are not there",
    "job_dagman_splice_connect-A-inc2.dag": "a pin of a node that is not there",
    "job_dagman_splice_connect-D.dag": "CONNECT of splices without pins",
    "job_dagman_splice_connect-E.dag": "CONNECT that leaves a node without parents",
    "job_dagman_splice_connect-F.dag": "CONNECT of different numbers of pins",
}
"""What condor_dag_checker lets pass and condor_dagman refuses: it does not look at pins."""


def _read(name: str) -> Translation | Refused:
    try:
        return Dagman().read(Bundle(_FILES, name))
    except Refused as refusal:
        return refusal


@pytest.mark.parametrize("name", _FILES)
def test_a_file_is_read_as_htcondor_reads_it(name: str) -> None:
    read, judged = _read(name), check(_CORPUS, name, "-NoJoinNodes")
    errors = judged.get("Errors", [])

    if isinstance(read, Refused):
        assert bool(errors) != (name in _NOT_CHECKED)
        if errors:
            where = read.finding.position
            assert (errors[0]["SourceFile"], errors[0]["SourceLine"]) == (where.file, where.line)
        return

    of_the_dag = [f for f in read.findings if f.code == "MISSING_FILE" and ".config" in f.subject]
    assert [e["SourceLine"] for e in errors] == [f.position.line for f in of_the_dag]
    assert bool(judged.get("IsCyclic")) == any(f.code == "CYCLE" for f in read.findings)
    tasks = read.workflow.tasks
    assert judged["TotalNodes"] == sum(t.role in ("node", "final") for t in tasks)
    pairs = {
        (parent, child)
        for dependency in read.workflow.dependencies
        for parent in dependency.parents
        for child in dependency.children
    }
    if b"connect " not in _FILES[name].lower() and "connect-A.dag" not in name:
        assert judged.get("NumArcs", 0) == len(pairs)


@pytest.mark.parametrize("name", _FILES)
def test_a_file_that_is_written_again_says_the_same_to_htcondor(name: str, tmp_path: Path) -> None:
    read = _read(name)
    if isinstance(read, Refused):
        return
    written = Dagman().write(read.workflow)
    folder = laid_out(written.bundle, tmp_path)
    for finding in read.findings:
        if finding.subject.endswith(".config"):
            (folder / finding.subject).touch()

    before = check(_CORPUS, name, "-NoJoinNodes")
    after = check(folder, written.bundle.main, "-NoJoinNodes")
    assert after.get("Errors", []) == []
    same = ["TotalNodes", "FinalNode", "ServiceNodes", "IsCyclic"]
    if b"connect " not in _FILES[name].lower() and "connect-A.dag" not in name:
        same += ["NumArcs", "GraphHeight", "GraphWidth", "WidthByDepth"]
    assert {key: after.get(key) for key in same} == {key: before.get(key) for key in same}


def _everything() -> Workflow:
    """A workflow that uses all that DAGMan can say, and names that it cannot."""
    work = BatchWork(
        "/bin/sh",
        arguments=("-c", "echo 'a b' \"c\" $(x) \\ ü", "", "it's"),
        environment={"A": "x y", "B": "'", "C": '"'},
        stdout="out.$(Process)",
        inputs=("x.txt", "sub/y/"),
        n_cores=2,
        memory="2G",
        disk="10K",
        max_runtime=60,
        requirements='(OpSys == "LINUX")',
        rank="Memory",
        attributes={"+Mine": '"x"', "log": "a.log"},
    )
    many = BatchWork("/bin/true", n_procs=4, success=SuccessRule(at_least=3))
    pre, post = Script("pre.sh", ("$JOB",), 3, 60), Script("/bin/true")
    tasks = (
        Task("S+A", work, pre=pre, post=post, pre_skip=2, recovery=Recovery(3, never_on=(4,))),
        Task("a.b c", many, priority=-5, category="big", abort=AbortRule(3, 0)),
        Task("Child", NoopWork(), is_done=True),
        Task("sub", SubWorkflowWork("dagman", "inner.dag"), annotations={"dagman": {"dir": "d"}}),
        Task("%41", BatchWork("/bin/true", n_procs=2, success=SuccessRule(share=0.5))),
        Task("end", BatchWork("/bin/true"), role="final"),
        Task("watch", BatchWork("/bin/true"), role="service"),
    )
    edges = (
        Dependency(("S+A", "Child"), ("a.b c", "sub")),
        Dependency(("a.b c",), ("%41",)),
    )
    return Workflow("a flow", tasks, edges, None, 5, 3, {"big": 2})


def test_what_we_write_is_right_for_htcondor(tmp_path: Path) -> None:
    written = Dagman().write(_everything())
    folder = laid_out(written.bundle, tmp_path)
    (folder / "d").mkdir()
    judged = check(folder, written.bundle.main, "-CheckJDL")

    assert written.findings == ()
    assert judged.get("Errors", []) == []
    assert judged["TotalNodes"] == 8  # with a join node
    assert judged["NumSubDAGs"] == 1


def test_submit_files_that_we_write_make_the_same_job(tmp_path: Path) -> None:
    (tmp_path / "x.txt").touch()
    (tmp_path / "in.txt").touch()
    submit = (
        "executable = /bin/echo\nname = out\n"
        "arguments = \"a 'b c' 'it''s' \"\"q\"\" $(name) $(Process)\"\n"
        "environment = \"A=1 B='x y' C=''''\"\n"
        "output = $(name).$(Process)\nerror = err\ninput = in.txt\n"
        "transfer_input_files = x.txt\nshould_transfer_files = YES\n"
        "request_cpus = 2\nrequest_memory = 1.5 GB\nrequest_disk = 4096\n"
        "requirements = (TARGET.Memory > 10) && \\\n   (TARGET.Cpus > 1)\nrank = Memory\n"
        "if defined nothing\n  priority = 1\nelse\n  priority = 7\nendif\n"
        '+Mine = "x"\nMY.Other = 3\nallowed_execute_duration = 60\nqueue 2\n'
    )
    files = {"main.dag": b"JOB A a.sub\n", "a.sub": submit.encode()}
    read = Dagman().read(Bundle(files, "main.dag"))
    written = Dagman().write(read.workflow)
    (tmp_path / "a.sub").write_text(submit)
    laid_out(written.bundle, tmp_path)

    before, after = dry_run(tmp_path, "a.sub"), dry_run(tmp_path, "A.sub")
    changing = {"QDate", "EnteredCurrentStatus", "JobSubmitFile"}
    assert {k: v for k, v in after.items() if k not in changing} == {
        k: v for k, v in before.items() if k not in changing
    }
