from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.dialects import postgresql

from ewms.wms.v1.task_directive_service_pb2 import (
    GetTaskDirectiveRequest,
    ListTaskDirectivesRequest,
)
from ewms.wms.v1.taskforce_service_pb2 import GetTaskforceRequest, ListTaskforcesRequest
from ewms.wms.v1.workflow_pb2 import HISTORY_KIND_STATE_CHANGE, WorkflowSummary
from ewms.wms.v1.workflow_service_pb2 import (
    GetWorkflowRequest,
    ListWorkflowHistoryRequest,
    ListWorkflowsRequest,
)
from ewms_postgres import migrations
from ewms_postgres.database import Database, open_database
from ewms_postgres.statements import statement
from wms_grpc.api import listing
from wms_grpc.domain.errors import InvalidSubmission, NotFound
from wms_grpc.domain.filters import TASKFORCES, WORKFLOWS, matches, parse_filter
from wms_grpc.domain.paging import Order, Place, number_of
from wms_grpc.storage import listing as stored
from wms_grpc.storage import tables
from wms_grpc.storage.filtering import condition
from wms_grpc.storage.listing import PageRequest
from wms_grpc.storage.store import Store

BEGIN = datetime(2026, 11, 23, 12, tzinfo=UTC)
SPEC = {
    "worker_config": {},
    "pilot_config": {"tag": "latest", "image_source": "auto", "environment": {}, "input_files": []},
}
DIRECTIVE_SPEC = SPEC | {
    "cluster_locations": ["osg"],
    **dict.fromkeys(("task_args", "init_image", "init_args"), ""),
    "task_env": {},
    "init_env": {},
    "input_aliases": [],
    "output_aliases": [],
    "input_queues": [],
    "output_queues": [],
}
EMPTY = statement("TRUNCATE wms.workflow CASCADE")
ADD_WORKFLOWS = statement("""
    INSERT INTO wms.workflow (workflow_id, owner, name, labels, priority, state, create_time,
                              end_time, revision, n_tasks, n_taskforces, n_unended)
    SELECT workflow_id, owner, name, labels, priority, state, create_time, end_time, 1, 1, 1, 1
    FROM unnest(:workflow_id::text[], :owner::text[], :name::text[], :labels::jsonb[],
                :priority::int[], :state::text[], :create_time::timestamptz[],
                :end_time::timestamptz[])
      AS w (workflow_id, owner, name, labels, priority, state, create_time, end_time)
""")
ADD_DIRECTIVES = statement("""
    INSERT INTO wms.task_directive (task_id, workflow_id, number, create_time, name, task_image,
                                    n_workers, spec)
    SELECT replace(workflow_id, 'WF', 'TK') || '-0', workflow_id, 0, create_time, 'task-0',
           '/image', 10, :spec::jsonb
    FROM wms.workflow
""")
ADD_TASKFORCES = statement("""
    INSERT INTO wms.taskforce (taskforce_uuid, workflow_id, task_id, create_time, priority,
                               cluster_location, schedd, n_workers, spec, phase, cluster_id,
                               compound_statuses, top_task_errors, waiting_reason)
    SELECT 'TF-' || number, workflow_id, replace(workflow_id, 'WF', 'TK') || '-0', create_time,
           priority, location, location, n_workers, :spec::jsonb, phase, cluster_id, statuses,
           errors, waiting_reason
    FROM unnest(:number::text[], :workflow_id::text[], :create_time::timestamptz[],
                :priority::int[], :location::text[], :n_workers::int[], :phase::text[],
                :cluster_id::bigint[], :statuses::jsonb[], :errors::jsonb[],
                :waiting_reason::text[])
      AS t (number, workflow_id, create_time, priority, location, n_workers, phase, cluster_id,
            statuses, errors, waiting_reason)
""")


def a_workflow(number: int, **other: object) -> dict[str, object]:
    return {
        "workflow_id": f"WF-{number:06}",
        "owner": "ada",
        "name": f"run {number}",
        "labels": {},
        "priority": 50,
        "state": "ACTIVE",
        "create_time": BEGIN + timedelta(seconds=number // 3),
        "end_time": None,
        **other,
    }


def a_taskforce(number: int, workflow: int, **other: object) -> dict[str, object]:
    return {
        "number": f"{number:06}",
        "workflow_id": f"WF-{workflow:06}",
        "create_time": BEGIN + timedelta(seconds=number),
        "priority": 50,
        "location": "osg",
        "n_workers": 10,
        "phase": "CONDOR_SUBMIT",
        "cluster_id": 7,
        "statuses": {},
        "errors": {},
        "waiting_reason": "",
        **other,
    }


def columns(rows: list[dict[str, object]]) -> dict[str, list[object]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


async def add(
    db: Database,
    workflows: list[dict[str, object]],
    taskforces: list[dict[str, object]] | None = None,
    spec: Mapping[str, object] = DIRECTIVE_SPEC,
) -> None:
    await db.execute(ADD_WORKFLOWS, **columns(workflows))
    await db.execute(ADD_DIRECTIVES, spec=spec)
    if taskforces:
        await db.execute(ADD_TASKFORCES, spec=SPEC, **columns(taskforces))


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    folder = files("wms_grpc.storage") / "migrations"
    await migrations.upgrade(database_url, script_location=folder, schema="wms")
    async with open_database(database_url, application_name="test") as db:
        yield Store(db, on_commit=lambda _: None)


async def test_the_tables_match_the_migrated_schema(store: Store) -> None:
    rows = await store.db.fetch(
        statement("""
            SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS kind, a.attnotnull
            FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            WHERE c.relnamespace = 'wms'::regnamespace AND a.attnum > 0
        """)
    )
    found = {(row["relname"], row["attname"]): (row["kind"], row["attnotnull"]) for row in rows}
    for table in (tables.workflow, tables.task_directive, tables.taskforce):
        for column in table.columns:
            kind = column.type.compile(postgresql.dialect()).lower()
            assert found[table.name, column.name] == (kind, not column.nullable)


class TestPages:
    @pytest.mark.parametrize("order_by", ["", "create_time", "priority", "priority desc"])
    async def test_pages_hold_every_workflow_once_and_in_order(
        self, store: Store, order_by: str
    ) -> None:
        await add(store.db, [a_workflow(n, priority=n % 4) for n in range(50)])
        request = ListWorkflowsRequest(page_size=7, order_by=order_by)
        seen = []
        while True:
            response = await listing.list_workflows(store, request)
            seen += response.workflows
            assert len(response.workflows) <= 7
            if not response.next_page_token:
                break
            request.page_token = response.next_page_token
        field = order_by.split()[0] if order_by else "create_time"
        keys = [
            (w.priority if field == "priority" else w.create_time.ToDatetime(), w.workflow_id)
            for w in seen
        ]
        assert len(set(keys)) == 50
        assert keys == sorted(keys, reverse=order_by != field)

    async def test_a_last_page_that_is_full_has_no_next(self, store: Store) -> None:
        await add(store.db, [a_workflow(n) for n in range(4)])
        first = await listing.list_workflows(store, ListWorkflowsRequest(page_size=2))
        assert first.next_page_token
        request = ListWorkflowsRequest(page_size=2, page_token=first.next_page_token)
        assert not (await listing.list_workflows(store, request)).next_page_token
        assert (await listing.list_workflows(store, ListWorkflowsRequest(filter="name=x"))) == (
            type(first)()
        )

    async def test_a_token_serves_no_other_filter(self, store: Store) -> None:
        await add(store.db, [a_workflow(n) for n in range(4)])
        first = await listing.list_workflows(
            store, ListWorkflowsRequest(page_size=2, filter="owner = ada")
        )
        same = ListWorkflowsRequest(filter="owner='ada'", page_token=first.next_page_token)
        assert len((await listing.list_workflows(store, same)).workflows) == 2
        other = ListWorkflowsRequest(filter="owner = bob", page_token=first.next_page_token)
        with pytest.raises(InvalidSubmission, match="page_token"):
            await listing.list_workflows(store, other)

    async def test_what_is_added_meanwhile_neither_repeats_nor_hides_anything(
        self, store: Store
    ) -> None:
        await add(store.db, [a_workflow(n) for n in range(10, 20)])
        first = await listing.list_workflows(store, ListWorkflowsRequest(page_size=5))
        await store.db.execute(ADD_WORKFLOWS, **columns([a_workflow(n) for n in range(30, 40)]))
        request = ListWorkflowsRequest(page_size=50, page_token=first.next_page_token)
        second = await listing.list_workflows(store, request)
        ids = [w.workflow_id for w in (*first.workflows, *second.workflows)]
        assert ids == [f"WF-{n:06}" for n in range(19, 9, -1)]

    async def test_a_page_of_large_directives_ends_early_and_the_next_goes_on(
        self, store: Store
    ) -> None:
        large = DIRECTIVE_SPEC | {"task_env": {f"V{n}": "x" * 32_000 for n in range(60)}}
        await add(store.db, [a_workflow(n) for n in range(10)], spec=large)
        request = ListTaskDirectivesRequest()
        sizes, seen = [], []
        while True:
            response = await listing.list_task_directives(store, request)
            assert response.ByteSize() < 12 << 20
            sizes.append(len(response.task_directives))
            seen += [d.task_id for d in response.task_directives]
            if not response.next_page_token:
                break
            request.page_token = response.next_page_token
        assert sizes[0] == 4
        assert seen == [f"TK-{n:06}-0" for n in range(9, -1, -1)]

    async def test_what_cannot_be_read_is_refused_by_its_field(self, store: Store) -> None:
        for request, words in (
            (ListWorkflowsRequest(filter="stat = ACTIVE"), "filter: .*did you mean 'state'.* 0"),
            (ListWorkflowsRequest(order_by="name"), "order_by"),
            (ListWorkflowsRequest(page_size=-1), "page_size"),
            (ListWorkflowsRequest(page_token="x"), "page_token"),
            (ListWorkflowsRequest(read_mask=FieldMask(paths=["colour"])), "'colour' is no field"),
        ):
            with pytest.raises(InvalidSubmission, match=words):
                await listing.list_workflows(store, request)


class TestSingleOnes:
    async def test_they_are_found_by_their_ids(self, store: Store) -> None:
        await add(store.db, [a_workflow(1)], [a_taskforce(1, 1)])
        workflow = await listing.get_workflow(store, GetWorkflowRequest(workflow_id="WF-000001"))
        assert workflow.workflow.name == "run 1"
        assert not workflow.workflow.HasField("summary")
        directive = await listing.get_task_directive(
            store, GetTaskDirectiveRequest(task_id="TK-000001-0")
        )
        assert directive.task_directive.task_image == "/image"
        taskforce = await listing.get_taskforce(
            store, GetTaskforceRequest(taskforce_uuid="TF-000001")
        )
        assert taskforce.taskforce.cluster_id == 7

    async def test_what_is_not_there_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound, match="workflow 'x'"):
            await listing.get_workflow(store, GetWorkflowRequest(workflow_id="x"))
        with pytest.raises(NotFound, match="task directive 'x'"):
            await listing.get_task_directive(store, GetTaskDirectiveRequest(task_id="x"))
        with pytest.raises(NotFound, match="taskforce 'x'"):
            await listing.get_taskforce(store, GetTaskforceRequest(taskforce_uuid="x"))
        request = ListWorkflowHistoryRequest(workflow_id="x")
        with pytest.raises(NotFound, match="workflow 'x'"):
            await listing.list_workflow_history(store, request)

    async def test_a_read_mask_leaves_the_named_fields_alone(self, store: Store) -> None:
        await add(store.db, [a_workflow(1, priority=0)], [a_taskforce(1, 1, cluster_id=None)])
        mask = FieldMask(paths=["cluster_id", "worker_config.n_cores", "phase"])
        response = await listing.get_taskforce(
            store, GetTaskforceRequest(taskforce_uuid="TF-000001", read_mask=mask)
        )
        named = {field.name for field, _ in response.taskforce.ListFields()}
        assert named == {"worker_config", "phase"}
        assert [f.name for f, _ in response.taskforce.worker_config.ListFields()] == ["n_cores"]
        listed = await listing.list_workflows(
            store, ListWorkflowsRequest(read_mask=FieldMask(paths=["priority"]))
        )
        assert listed.workflows[0].HasField("priority")
        assert not listed.workflows[0].workflow_id

    async def test_a_taskforce_that_waits_tells_what_its_schedd_reports(self, store: Store) -> None:
        waiting = {"phase": "PRE_LAUNCH", "waiting_reason": "its turn at osg", "cluster_id": None}
        others = [
            a_taskforce(2, 1, phase="PENDING_STARTER", waiting_reason="the agent of schedd osg"),
            a_taskforce(3, 1, **waiting | {"location": "unheard"}),
            a_taskforce(4, 1, **waiting | {"location": "silent"}),
        ]
        await add(store.db, [a_workflow(1)], [a_taskforce(1, 1, **waiting), *others])
        await store.db.execute(
            statement("""
                INSERT INTO wms.capacity (schedd, report_time, report)
                VALUES ('osg', now(), '{"free_slots": 3, "total_slots": 16}'),
                       ('silent', now() - interval '1 hour', '{"free_slots": 3}')
            """)
        )
        response = await listing.list_taskforces(store, ListTaskforcesRequest())
        assert {tf.taskforce_uuid: tf.waiting_reason for tf in response.taskforces} == {
            "TF-000001": "its turn at osg; osg reports 3 of 16 slots free",
            "TF-000002": "the agent of schedd osg",
            "TF-000003": "its turn at osg",
            "TF-000004": "its turn at osg",
        }
        single = await listing.get_taskforce(store, GetTaskforceRequest(taskforce_uuid="TF-000001"))
        assert single.taskforce.waiting_reason.endswith("; osg reports 3 of 16 slots free")


class TestSummary:
    async def test_it_sums_a_workflows_taskforces_and_no_others(self, store: Store) -> None:
        many_errors = {f"error {n:02}": n for n in range(1, 12)}
        await add(
            store.db,
            [a_workflow(1), a_workflow(2), a_workflow(3)],
            [
                a_taskforce(
                    1,
                    1,
                    statuses={"RUNNING": {"Tasking": 4, "Done": 1}, "IDLE": {"": 5}},
                    errors=many_errors,
                ),
                a_taskforce(
                    2,
                    1,
                    statuses={"RUNNING": {"Tasking": 2, "FatalError": 3}, "HELD: disk": {"": 1}},
                    errors={"error 01": 100},
                ),
                a_taskforce(3, 1, phase="PRE_LAUNCH", cluster_id=None, n_workers=7),
                a_taskforce(4, 1, phase="CONDOR_COMPLETE", cluster_id=None, n_workers=1000),
                a_taskforce(5, 2, phase="FAILED", n_workers=1000),
            ],
        )
        response = await listing.list_workflows(
            store,
            ListWorkflowsRequest(
                order_by="create_time", read_mask=FieldMask(paths=["summary", "workflow_id"])
            ),
        )
        summaries = {w.workflow_id: w.summary for w in response.workflows}
        assert all(w.HasField("summary") for w in response.workflows)
        first = summaries["WF-000001"]
        assert first.taskforces_by_phase == {
            "CONDOR_SUBMIT": 2, "PRE_LAUNCH": 1, "CONDOR_COMPLETE": 1,
        }  # fmt: skip
        assert {status: dict(of.counts) for status, of in first.compound_statuses.items()} == {
            "RUNNING": {"Tasking": 6, "Done": 1, "FatalError": 3},
            "IDLE": {"": 5},
            "HELD: disk": {"": 1},
        }
        assert dict(first.top_task_errors) == {
            "error 01": 101, **{f"error {n:02}": n for n in range(3, 12)},
        }  # fmt: skip
        assert first.n_workers_running == 6
        assert first.n_workers_requested == 27
        assert first.n_workers_waiting == 7
        assert summaries["WF-000002"] == WorkflowSummary(taskforces_by_phase={"FAILED": 1})
        assert summaries["WF-000003"] == WorkflowSummary()

    async def test_sums_beyond_32_bits_stop_there(self, store: Store) -> None:
        largest = {"RUNNING": {"Tasking": 2**31 - 1}}
        await add(
            store.db,
            [a_workflow(1)],
            [a_taskforce(n, 1, n_workers=2**31 - 1, statuses=largest) for n in range(3)],
        )
        response = await listing.get_workflow(
            store,
            GetWorkflowRequest(workflow_id="WF-000001", read_mask=FieldMask(paths=["*"])),
        )
        assert response.workflow.summary.n_workers_running == 2**31 - 1
        assert response.workflow.summary.n_workers_requested == 2**31 - 1


async def test_history_comes_in_pages_oldest_first(store: Store) -> None:
    await add(store.db, [a_workflow(1), a_workflow(2)])
    await store.db.execute(
        statement("""
            INSERT INTO wms.history (workflow_id, revision, time, kind, subject, what, source,
                                     reason, was_successful)
            SELECT 'WF-00000' || 1 + n % 2, n, :begin::timestamptz + n * interval '1 second',
                   'STATE_CHANGE', 'WF', 'ACTIVE', 'activation', 'line ' || n, true
            FROM generate_series(0, 19) AS n
        """),
        begin=BEGIN,
    )
    request = ListWorkflowHistoryRequest(workflow_id="WF-000001", page_size=4)
    seen = []
    while True:
        response = await listing.list_workflow_history(store, request)
        seen += response.entries
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    assert [entry.reason for entry in seen] == [f"line {n}" for n in range(0, 20, 2)]
    assert {entry.kind for entry in seen} == {HISTORY_KIND_STATE_CHANGE}
    request.workflow_id = "WF-000002"
    request.page_token = ""
    token = (await listing.list_workflow_history(store, request)).next_page_token
    with pytest.raises(InvalidSubmission, match="page_token"):
        await listing.list_workflow_history(
            store, ListWorkflowHistoryRequest(workflow_id="WF-000001", page_token=token)
        )


# What means something in a pattern, in Python or in SQL, and what sorts in unexpected ways.
WORDS = st.text("a_%*\\", max_size=2) | st.text("abA\"' éZ\U0001f600\uffff-", max_size=3)
MOMENTS = st.integers(0, 4).map(lambda n: BEGIN + timedelta(microseconds=n))
NUMBERS = st.integers(-2, 3)
WORKFLOW_ROWS = st.fixed_dictionaries(
    {
        "owner": WORDS,
        "name": WORDS,
        "labels": st.dictionaries(WORDS, WORDS, max_size=3),
        "priority": NUMBERS,
        "state": st.sampled_from(WORKFLOWS.fields["state"].names).map(str),
        "create_time": MOMENTS,
        "end_time": st.none() | MOMENTS,
    }
)


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


SIGNS = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", ":"])
EQUALITY = st.sampled_from(["=", "!=", ":"])
STRING_PATHS = st.sampled_from(["owner", "name"]) | WORDS.map(
    # In a key a star stands for itself, so that it need not be escaped.
    lambda key: f"labels.{quoted(key)}"
)
COMPARISONS = st.one_of(
    st.tuples(STRING_PATHS, SIGNS, WORDS.map(quoted)),
    st.tuples(st.just("labels"), st.just(":"), WORDS.map(quoted)),
    st.tuples(st.just("state"), EQUALITY, st.sampled_from(WORKFLOWS.fields["state"].names)),
    st.tuples(st.just("priority"), SIGNS, NUMBERS.map(str)),
    st.tuples(
        st.sampled_from(["create_time", "end_time"]),
        SIGNS,
        MOMENTS.map(lambda moment: moment.isoformat()),
    ),
    st.tuples(STRING_PATHS | st.sampled_from([*WORKFLOWS.fields]), st.just(":"), st.just("*")),
).map(" ".join)
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        inner.map("NOT ({})".format),
        st.tuples(inner, inner).map("({0[0]}) AND ({0[1]})".format),
        st.tuples(inner, inner).map("({0[0]}) OR ({0[1]})".format),
        st.tuples(inner, inner).map("{0[0]} {0[1]}".format),
        st.tuples(inner, inner, inner).map("-({0[0]}) {0[1]} OR {0[2]}".format),
    ),
    max_leaves=6,
).filter(lambda text: text.count("(") < 8)


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rows=st.lists(WORKFLOW_ROWS, min_size=1, max_size=6),
    texts=st.lists(FILTERS, min_size=30, max_size=30),
)
@example(
    rows=[
        a_workflow(number, owner=owner, labels={"a": owner})
        for number, owner in enumerate(["a", "aa", "_a", "a%", "%", "\\", "\\a", ""])
    ],
    texts=[
        f"{path} = {quoted(pattern)}"
        for path in ("owner", "labels.a")
        for pattern in ("_*", "*%", "%*", "a*_", "\\*", "*\\", "*a*", "**", "a*a*")
    ],
)
async def test_a_filter_means_the_same_in_python_and_in_sql(
    store: Store, rows: list[dict[str, Any]], texts: list[str]
) -> None:
    await store.db.execute(EMPTY)
    workflows = [row | {"workflow_id": f"WF-{number}"} for number, row in enumerate(rows)]
    await store.db.execute(ADD_WORKFLOWS, **columns(workflows))
    filters = [parse_filter(text, WORKFLOWS) for text in texts]
    conditions = (
        condition(wanted, tables.workflow).label(f"filter_{number}")
        for number, wanted in enumerate(filters)
    )
    found = await store.db.fetch(
        statement(
            select(tables.workflow.c.workflow_id, *conditions).order_by(
                tables.workflow.c.workflow_id
            )
        )
    )
    attributes = [
        {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in row.items()
        }
        for row in workflows
    ]
    in_sql = {text: [row[f"filter_{n}"] for row in found] for n, text in enumerate(texts)}
    in_python = {
        text: [matches(wanted, row) for row in attributes]
        for text, wanted in zip(texts, filters, strict=True)
    }
    assert in_sql == in_python


Listing = Callable[[Any, PageRequest], Any]


@pytest.mark.parametrize(
    ("list_resources", "text", "order", "index"),
    [
        (stored.list_workflows, "", Order("create_time", True), "workflow_by_age"),
        (stored.list_workflows, "", Order("create_time"), "workflow_by_age"),
        (stored.list_workflows, "", Order("priority", True), "workflow_by_priority"),
        (stored.list_workflows, "state = PAUSED", Order("create_time", True), "workflow_by_state"),
        (stored.list_workflows, "owner = bob", Order("create_time", True), "workflow_of_owner"),
        (
            stored.list_workflows,
            "labels.team = rare",
            Order("create_time", True),
            "workflow_by_label",
        ),
        (stored.list_taskforces, "", Order("create_time", True), "taskforce_by_age"),
        (stored.list_taskforces, "", Order("priority"), "taskforce_by_priority"),
        (
            stored.list_taskforces,
            "workflow_id = WF-000500",
            Order("create_time", True),
            "taskforce_of_workflow",
        ),
        (
            stored.list_taskforces,
            "phase = FAILED AND schedd = osg",
            Order("create_time", True),
            "taskforce_by_phase",
        ),
        (stored.list_taskforces, "task_id = TK-000500-0", Order("priority"), "taskforce_of_task"),
    ],
)
async def test_what_is_asked_often_is_served_by_an_index(
    store: Store, list_resources: Listing, text: str, order: Order, index: str
) -> None:
    rare = {9: {"state": "PAUSED"}, 10: {"owner": "bob"}, 11: {"labels": {"team": "rare"}}}
    await add(
        store.db,
        [
            a_workflow(
                n, **{"priority": n % 97, "labels": {"team": f"t{n % 50}"}} | rare.get(n % 1000, {})
            )
            for n in range(4000)
        ],
        [
            a_taskforce(
                n,
                n // 2,
                priority=n % 97,
                phase="FAILED" if n % 1000 == 9 else "CONDOR_COMPLETE",
            )
            for n in range(8000)
        ],
    )
    await store.db.execute(statement("ANALYZE wms.workflow, wms.taskforce"))
    schema = TASKFORCES if list_resources is stored.list_taskforces else WORKFLOWS
    name = "TF-000700" if schema is TASKFORCES else "WF-000700"
    middle = BEGIN + timedelta(seconds=700)
    place = Place(50 if order.field == "priority" else number_of(middle), name)
    request = PageRequest(parse_filter(text, schema), order, None, 20)
    for asked in (request, replace(request, after=place)):
        explained = ExplainedStatements()
        await list_resources(explained, asked)
        async with store.db.transaction() as tx:
            plan = await tx.connection.fetch(f"EXPLAIN {explained.sql}", *explained.arguments)
        assert index in (shown := "\n".join(row[0] for row in plan)), shown


class ExplainedStatements:
    """Stands for a database and keeps what it is asked."""

    async def fetch(self, asked: Any) -> list[Any]:
        self.sql, self.arguments = asked.sql, asked.arguments({})
        return []


async def test_the_largest_filters_are_run_too(store: Store) -> None:
    await add(store.db, [a_workflow(1)])
    long = " OR ".join([f'labels.a{n} = "*b*"' for n in range(255)] + ["owner = ada"])
    deep = "NOT (priority = 1 AND owner = bob OR " * 16 + "state = ACTIVE" + ")" * 16
    for text in (long, deep):
        response = await listing.list_workflows(store, ListWorkflowsRequest(filter=text))
        assert len(response.workflows) == 1
