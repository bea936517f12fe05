"""Nets on the whole stack: real processes as batch tasks, judged by the ledger that they keep."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_stack import EWMS, RunningStack

WORKFLOW_FAILED = 8

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with RunningStack(tmp_path_factory.mktemp("nets")) as running:
        yield running.await_ready()


def ewms(stack: RunningStack, *words: str, stdin: str = "", exit_code: int = 0) -> str:
    done = subprocess.run(
        [EWMS, *words, "--wms", stack.wms], input=stdin, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done.stdout


def submit(stack: RunningStack, *tasks: dict[str, object]) -> str:
    return ewms(stack, "submit", "-", stdin=json.dumps({"tasks": tasks})).splitlines()[-1]


def a_job(name: str, script: str, *depends_on: str, **fields: object) -> dict[str, object]:
    return {
        "name": name,
        "depends_on": depends_on,
        "cluster_locations": ["local"],
        "batch": {"executable": "/bin/sh", "arguments": ["-c", script]},
        **fields,
    }


def test_a_diamond_of_jobs_runs_in_its_order_each_once(stack: RunningStack, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"

    def entry(name: str, *depends_on: str) -> dict[str, object]:
        return a_job(name, f"echo {name} >> {ledger}", *depends_on)

    workflow_id = submit(
        stack,
        entry("final", "son1", "son2"),
        entry("son1", "father"),
        entry("son2", "father"),
        entry("father"),
    )

    assert "SUCCEEDED" in ewms(stack, "watch", workflow_id)
    ran = ledger.read_text().split()
    assert sorted(ran) == ["father", "final", "son1", "son2"]
    assert (ran[0], ran[-1]) == ("father", "final")


def test_a_failed_job_is_told_with_its_exit_code_and_what_cannot_run(stack: RunningStack) -> None:
    workflow_id = submit(
        stack,
        a_job("flaky", "exit 7", recovery={"max_tries": 2}),
        a_job("behind", "true", "flaky"),
        a_job("killed", "kill -9 $$"),
    )

    assert "FAILED" in ewms(stack, "watch", workflow_id, exit_code=WORKFLOW_FAILED)
    shown = ewms(stack, "show", workflow_id)
    assert "1 proc ended with exit code 7" in shown
    assert "1 proc ended by signal 9" in shown
    assert "cannot run: flaky failed" in shown


def test_each_proc_knows_its_number_and_its_environment(
    stack: RunningStack, tmp_path: Path
) -> None:
    script = f'echo "$1 $COLOUR" > {tmp_path}/$1'
    batch = {
        "executable": "/bin/sh",
        "arguments": ["-c", script, "job", "$(Process)"],
        "environment": {"COLOUR": "blue"},
        "n_procs": 3,
    }
    workflow_id = submit(stack, a_job("three", "") | {"batch": batch})

    assert "SUCCEEDED" in ewms(stack, "watch", workflow_id)
    assert sorted(file.read_text() for file in tmp_path.iterdir()) == [
        "0 blue\n",
        "1 blue\n",
        "2 blue\n",
    ]


def test_killed_engines_start_no_job_twice(stack: RunningStack, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    names = [f"n{number}" for number in range(40)]
    tasks = [
        a_job(name, f"echo {name} >> {ledger}", *([names[number - 4]] if number >= 4 else []))
        for number, name in enumerate(names)
    ]
    workflow_id = submit(stack, *tasks)
    for n_run in (4, 12, 20):
        wait_for_lines(ledger, n_run)
        stack.parts()["wms"].kill()
    wait_for_lines(ledger, len(names))

    assert "SUCCEEDED" in ewms(stack, "watch", workflow_id)
    assert sorted(lines(ledger)) == sorted(names)


def test_a_dag_of_htcondor_is_submitted_as_it_is(stack: RunningStack, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    (tmp_path / "node.sub").write_text(
        f"""executable = /bin/sh
arguments = "-c 'echo $(name) >> {ledger}'"
queue
"""
    )
    (tmp_path / "diamond.dag").write_text(
        "".join(f'JOB {name} node.sub\nVARS {name} name="{name}"\n' for name in "ABCD")
        + "PARENT A CHILD B C\nPARENT B C CHILD D\nRETRY B 2\n"
    )

    workflow_id = ewms(stack, "submit", str(tmp_path / "diamond.dag")).splitlines()[-1]

    assert "SUCCEEDED" in ewms(stack, "watch", workflow_id)
    ran = lines(ledger)
    assert (sorted(ran), ran[0], ran[-1]) == (["A", "B", "C", "D"], "A", "D")


def test_what_is_not_run_yet_is_refused_in_words(stack: RunningStack, tmp_path: Path) -> None:
    dag = tmp_path / "scripted.dag"
    dag.write_text("JOB A a.sub\nSCRIPT POST A /bin/true\n")
    (tmp_path / "a.sub").write_text("executable = /bin/true\nqueue\n")

    refused = subprocess.run(
        [EWMS, "submit", str(dag), "--wms", stack.wms], capture_output=True, text=True, timeout=60
    )

    assert refused.returncode != 0
    assert "a script after it is not run yet [A]" in refused.stderr
    assert ewms(stack, "list", "--filter", 'name = "scripted"', "--json") == ""


def lines(ledger: Path) -> list[str]:
    return ledger.read_text().split() if ledger.exists() else []


def wait_for_lines(ledger: Path, number: int, seconds: float = 60) -> None:
    """Jobs of other processes have no event to wait on."""
    deadline = time.monotonic() + seconds
    while len(lines(ledger)) < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)
