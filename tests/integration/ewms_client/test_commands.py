"""The commands, run as processes against a WMS and an MQS that are real but have no workers."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio
from command_runs import COPY, Ended, Run, ended, start

from ewms_client import AsyncClient, Event
from ewms_mqs.config import MqsSettings
from ewms_mqs.server import mqs_server
from ewms_postgres.migrations import upgrade
from wms_grpc.config import WmsSettings
from wms_grpc.server import MIGRATIONS, SCHEMA, wms_server

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def shared_database_url(postgres_server: str) -> Iterator[str]:
    """URL of a database for all tests of this module."""
    name = "commands_of_the_client"

    async def administer(sql: str) -> None:
        connection = await asyncpg.connect(postgres_server)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    asyncio.run(administer(f"CREATE DATABASE {name} TEMPLATE template0"))
    yield urlunsplit(urlsplit(postgres_server)._replace(path=f"/{name}"))
    asyncio.run(administer(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wms(shared_database_url: str) -> AsyncIterator[str]:
    """Address of a WMS with an MQS behind it."""
    database_url = shared_database_url
    async with AsyncExitStack() as stack:
        mqs = await stack.enter_async_context(
            mqs_server(MqsSettings(database=database_url, listen="127.0.0.1:0"))
        )
        await upgrade(database_url, script_location=MIGRATIONS, schema=SCHEMA)
        settings = WmsSettings(database=database_url, listen="127.0.0.1:0", mqs=mqs.address)
        server = await stack.enter_async_context(wms_server(settings, database_url))
        yield server.address


@pytest.fixture
def run(wms: str) -> Run:
    async def run_one(*arguments: object, stdin: str = "") -> Ended:
        return await ended(await start(wms, *arguments), stdin)

    return run_one


@pytest_asyncio.fixture(loop_scope="module")
async def client(wms: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(wms) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def workflow(client: AsyncClient) -> str:
    """Id of a workflow that was submitted."""
    return (await client.submit(COPY)).workflow.workflow_id


async def test_files_go_into_a_queue_and_come_out_of_it_again(
    run: Run, workflow: str, tmp_path: Path
) -> None:
    for number in range(3):
        (tmp_path / f"event-{number}.dat").write_bytes(b"%d" % number)

    published = await run(
        "publish", workflow, "input", *(tmp_path / f"event-{number}.dat" for number in range(3))
    )
    consumed = await run(
        "consume", workflow, "input", "--count", 3, "--to", tmp_path / "out", "--timeout", 15
    )

    assert (published.code, published.out) == (0, "3 events published\n"), published.err
    assert consumed.code == 0, consumed.err
    written = {
        name: (tmp_path / "out" / name).read_bytes() for name in os.listdir(tmp_path / "out")
    }
    assert written == {f"event-{number}.dat": b"%d" % number for number in range(3)}
    assert sorted(consumed.lines) == sorted(str(tmp_path / "out" / name) for name in written)
    again = await run(
        "consume", workflow, "input", "--count", 1, "--to", tmp_path, "--timeout", 0.5, "--json"
    )
    assert again.code == 7
    assert json.loads(again.err)["error"]["code"] == "WaitTimeout"


async def test_a_drained_queue_ends_the_consumer(
    run: Run, client: AsyncClient, workflow: str, tmp_path: Path
) -> None:
    (tmp_path / "event").write_bytes(b"1")
    await client.publish(workflow, "input", [b"1"])

    closed = await run("close", workflow, "input")
    all_of_it = await run("consume", workflow, "input", "--to", tmp_path / "out")
    too_many, late = await asyncio.gather(
        run("consume", workflow, "input", "--to", tmp_path / "out", "--count", 2),
        run("publish", workflow, "input", tmp_path / "event"),
    )

    assert closed.code == 0, closed.err
    assert (all_of_it.code, len(all_of_it.lines)) == (0, 1), all_of_it.err
    assert (too_many.code, too_many.err) == (1, "ewms: the queue is drained after 0 of 2 events\n")
    assert (late.code, late.err) == (5, f"ewms: queue input of workflow {workflow} is closed\n")


async def test_the_id_stands_alone_on_the_last_line(run: Run) -> None:
    submitted = await run("submit", "-", stdin=json.dumps(COPY))

    assert submitted.code == 0, submitted.err
    assert re.fullmatch(r"WF-[0-9a-f]+-[0-9a-f]{8}", submitted.lines[-1])


async def test_options_go_into_the_submission(run: Run) -> None:
    submitted = await run(
        *("submit", "-", "--name", "mine", "--label", "team=x", "--priority", 7, "--json"),
        stdin=json.dumps(COPY),
    )

    workflow = json.loads(submitted.out)["workflow"]
    assert workflow["name"] == "mine"
    assert workflow["labels"] == {"team": "x"}
    assert workflow["priority"] == 7


async def test_validation_alone_submits_nothing(run: Run) -> None:
    validated = await run(
        "submit", "-", "--name", "only looked at", "--validate-only", stdin=json.dumps(COPY)
    )

    assert (validated.code, validated.out) == (0, "valid: 1 tasks, 1 taskforces\n")
    assert (await run("list", "--filter", 'name = "only looked at"', "--json")).out == ""


async def test_every_bad_field_is_on_a_line_of_its_own(run: Run) -> None:
    bad = COPY | {"tasks": [COPY["tasks"][0] | {"n_workers": 0, "task_image": ""}]}  # type: ignore[operator]

    refused, as_json = await asyncio.gather(
        run("submit", "-", stdin=json.dumps(bad)),
        run("submit", "-", "--json", stdin=json.dumps(bad)),
    )

    assert (refused.code, refused.out) == (4, "")
    lines = refused.err.splitlines()
    assert any(line.startswith("ewms: tasks[0].n_workers: ") for line in lines)
    assert any(line.startswith("ewms: tasks[0].task_image: ") for line in lines)
    error = json.loads(as_json.err)["error"]
    assert (error["code"], error["exit_code"]) == ("INVALID_ARGUMENT", 4)
    fields = {violation["field"] for violation in error["violations"]}
    assert fields == {"tasks[0].n_workers", "tasks[0].task_image"}


async def test_a_watch_prints_every_change_until_the_workflow_has_settled(
    run: Run, wms: str, workflow: str
) -> None:
    watching = await start(wms, "watch", workflow)
    assert watching.stdout is not None
    lines = [(await watching.stdout.readline()).decode()]
    while "PRE_LAUNCH" not in lines[-1] and "PENDING_STARTER" not in lines[-1]:
        lines.append((await watching.stdout.readline()).decode())

    finished = await run("finish", workflow, "--reason", "have all")
    rest = await ended(watching)

    assert finished.code == 0, finished.err
    assert f"{workflow} is FINISHED" in finished.out
    assert rest.code == 0, rest.err
    assert "workflow: FINISHED" in rest.out
    assert rest.lines[-1].endswith("workflow settled")


async def test_a_watch_of_an_aborted_workflow_ends_with_8_and_its_json_counts_up(
    run: Run, wms: str, workflow: str
) -> None:
    watching = await start(wms, "watch", workflow, "--json")
    await run("abort", workflow)
    watched = await ended(watching)

    events = [json.loads(line) for line in watched.lines]
    first = int(events[0]["snapshot"]["revision"])
    revisions = [int(event["revision"]["revision"]) for event in events if "revision" in event]
    assert watched.code == 8
    assert revisions == list(range(first + 1, first + 1 + len(revisions)))


async def test_what_is_there_can_be_listed_and_shown(run: Run, workflow: str) -> None:
    listed, shown, for_people, queues, history = await asyncio.gather(
        run("list", "--filter", f'workflow_id = "{workflow}"', "--json"),
        run("show", workflow, "--json"),
        run("show", workflow),
        run("queues", workflow),
        run("history", workflow, "--json"),
    )

    assert [json.loads(line)["workflow_id"] for line in listed.lines] == [workflow]
    whole = json.loads(shown.out)
    assert whole["workflow"]["summary"]["n_workers_requested"] == 2
    assert {queue["alias"] for queue in whole["queues"]} == {"input", "output"}
    (task,), (taskforce,) = whole["task_directives"], whole["taskforces"]
    assert workflow in for_people.out
    assert taskforce["taskforce_uuid"] in for_people.out
    assert queues.lines[0].startswith("QUEUE\t")
    assert {line.split("\t")[0] for line in queues.lines[1:]} == {"input", "output"}
    assert json.loads(history.lines[0])["kind"] == "HISTORY_KIND_REQUEST"
    for resource_id in (task["task_id"], taskforce["taskforce_uuid"]):
        assert resource_id in (await run("show", resource_id)).out


async def test_a_settled_workflow_still_tells_how_many_events_wait(
    run: Run, client: AsyncClient, workflow: str
) -> None:
    await client.publish(workflow, "output", [b"1", b"2"])
    await client.finish(workflow)
    async for _ in client.watch(workflow):
        pass  # until it has settled

    queues, shown = await asyncio.gather(run("queues", workflow), run("show", workflow))

    for told in (queues, shown):
        assert told.code == 0, told.err
        (output,) = [line for line in told.lines if line.startswith("output\t")]
        assert output.split("\t")[3] == "2", told.out


async def test_pausing_and_resuming_can_be_repeated(run: Run, workflow: str) -> None:
    answers = [
        await run(command, workflow, "--json") for command in ("pause", "pause", "resume", "resume")
    ]

    states = [json.loads(answer.out)["state"] for answer in answers]
    assert states[:2] == ["WORKFLOW_STATE_PAUSED"] * 2
    assert "WORKFLOW_STATE_PAUSED" not in states[2:]


async def test_workers_are_added_to_a_task(run: Run, client: AsyncClient, workflow: str) -> None:
    tasks = client.list_task_directives(f'workflow_id = "{workflow}"')
    (task_id,) = [task.task_id async for task in tasks]

    added, refused = await asyncio.gather(
        run("add-workers", task_id, "sub-2", 3), run("add-workers", task_id, "nowhere", 3)
    )

    assert added.code == 0, added.err
    assert added.lines[-1] in {
        taskforce.taskforce_uuid
        async for taskforce in client.list_taskforces(f'task_id = "{task_id}"')
    }
    assert refused.code == 4


async def test_dead_letters_are_listed_written_as_files_and_put_back(
    run: Run, client: AsyncClient, workflow: str, tmp_path: Path
) -> None:
    await client.publish(workflow, "input", [Event(b"bad", {"filename": "bad.dat"})])
    async with client.consume(workflow, "input", count=1) as deliveries:
        async for delivery in deliveries:
            await delivery.nack(requeue=False, reason="not readable")

    listed = await run("dead-letters", workflow, "input", "--json")
    shown = await run("dead-letters", workflow, "input")
    unknown = await run("dead-letters", workflow, "input", "77777", "--requeue")
    written = await run("dead-letters", workflow, "input", "--to", tmp_path, "--requeue")

    letter = json.loads(listed.out)
    assert letter["reason"] == "not readable"
    assert letter["headers"] == {"filename": "bad.dat"}
    assert "filename=bad.dat" in shown.out
    assert unknown.code == 3
    assert "77777" in unknown.err
    assert (tmp_path / "bad.dat").read_bytes() == b"bad"
    assert written.lines[-1] == "1 put back"
    async with client.consume(workflow, "input", count=1) as deliveries:
        async for delivery in deliveries:
            assert (delivery.payload, delivery.event_id) == (b"bad", letter["event_id"])
            await delivery.ack()


async def test_a_script_can_tell_errors_apart(run: Run) -> None:
    expected = {
        ("show", "WF-0-00000000"): 3,
        ("watch", "WF-0-00000000"): 3,
        ("list", "--filter", "state = = ACTIVE"): 4,
        ("list", "--limit", "0"): 2,
        ("nonsense",): 2,
        ("submit", "/does/not/exist"): 2,
        ("publish", "WF-0-00000000", "input", "/does/not/exist"): 2,
    }

    failed = await asyncio.gather(*(run(*arguments) for arguments in expected))

    assert {call: end.code for call, end in zip(expected, failed, strict=True)} == expected
    assert all(not end.out and end.err for end in failed)


async def test_a_second_finish_is_a_failed_precondition(
    run: Run, client: AsyncClient, workflow: str
) -> None:
    await client.finish(workflow)

    assert (await run("finish", workflow)).code == 5


async def test_without_a_server_it_is_unavailable() -> None:
    assert (await ended(await start("127.0.0.1:1", "list"))).code == 6


async def test_a_workflow_is_updated_and_what_is_not_given_stays(run: Run, workflow: str) -> None:
    first = await run(
        *("update", workflow, "--name", "mine", "--label", "team=x", "--label", "run=1", "--json")
    )
    second = await run(
        "update", workflow, "--priority", 70, "--label", "run=2", "--remove-label", "team"
    )
    shown = json.loads((await run("show", workflow, "--json")).out)["workflow"]

    assert json.loads(first.out)["labels"] == {"team": "x", "run": "1"}, first.err
    assert second.code == 0, second.err
    assert "priority\t70" in second.lines
    assert (shown["name"], shown["priority"], shown["labels"]) == ("mine", 70, {"run": "2"})


async def test_an_update_that_cannot_be_is_refused(
    run: Run, client: AsyncClient, workflow: str
) -> None:
    nothing, both, too_high = await asyncio.gather(
        run("update", workflow),
        run("update", workflow, "--label", "a=1", "--remove-label", "a"),
        run("update", workflow, "--priority", 101),
    )
    await client.finish(workflow)
    late = await run("update", workflow, "--priority", 1)

    assert [end.code for end in (nothing, both, too_high, late)] == [2, 2, 4, 5]


async def test_each_queue_is_followed_by_its_counts_as_json(
    run: Run, client: AsyncClient, workflow: str
) -> None:
    await client.publish(workflow, "input", [b"1", b"2"])

    told = [json.loads(line) for line in (await run("queues", workflow, "--json")).lines]

    queues = {line["alias"]: line for line in told if "mqid" in line}
    counts = {line["alias"]: line for line in told if "depth" in line}
    assert set(queues) == set(counts) == {"input", "output"}
    assert counts["input"] == {
        **{"alias": "input", "depth": "2", "in_flight": "0", "done": "0", "dead": "0"},
    }
    assert counts["output"]["depth"] == "0"


async def test_times_bear_their_zone(run: Run, workflow: str) -> None:
    told = await asyncio.gather(run("list"), run("show", workflow), run("history", workflow))

    for end in told:
        assert re.search(r"\t?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", end.out), end.out


async def test_a_path_that_cannot_be_used_is_said_in_one_line(
    run: Run, workflow: str, tmp_path: Path
) -> None:
    missing, file = tmp_path / "missing", tmp_path / "file"
    file.write_bytes(b"{}")

    calls = {
        f"ewms: cannot read {missing}: no such file or directory\n": [
            ("submit", missing),
            ("publish", workflow, "input", file, missing),
        ],
        f"ewms: cannot read {tmp_path}: is a directory\n": [("submit", tmp_path)],
        f"ewms: cannot read {tmp_path}: not a file\n": [("publish", workflow, "input", tmp_path)],
        f"ewms: cannot write into {file}: not a directory\n": [
            ("consume", workflow, "input", "--to", file),
            ("dead-letters", workflow, "input", "--to", file),
        ],
    }
    for words, uses in calls.items():
        for end in await asyncio.gather(*(run(*use) for use in uses)):
            assert (end.code, end.out, end.err) == (2, "", words)
    (counts,) = [
        json.loads(line)
        for line in (await run("queues", workflow, "--json")).lines
        if '"depth"' in line and '"input"' in line
    ]
    assert counts["depth"] == "0"
