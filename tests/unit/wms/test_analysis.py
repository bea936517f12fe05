"""What the analysis at submission says: errors that forbid, findings that tell."""

from __future__ import annotations

import itertools
import random
import time

import pytest
from small_nets import net_of

from wms_grpc.domain.analysis import MOST_OF_A_CODE, Subject, analyze, shape_of
from wms_grpc.domain.findings import Finding, Position
from wms_grpc.domain.nets import Arc, Dependency, Net, Place, Transition, net_of_dependencies
from wms_grpc.domain.tasks import (
    BatchWork,
    ContainerWork,
    NoopWork,
    Recovery,
    Task,
    Transfer,
    TransferWork,
    WaitWork,
)


def _task(name: str, **rest: object) -> Task:
    return Task(name, BatchWork(executable="/bin/true"), **rest)  # type: ignore[arg-type]


def _container(name: str, inputs: str, outputs: str) -> Task:
    work = ContainerWork(("here",), tuple(inputs.split()), tuple(outputs.split()), "image")
    return Task(name, work)


def _after(*pairs: str) -> list[Dependency]:
    return [
        Dependency(tuple(p.split(">")[0].split()), tuple(p.split(">")[1].split())) for p in pairs
    ]


def _codes(findings: tuple[Finding, ...], severity: str = "error") -> list[tuple[str, str]]:
    return [(f.code, f.subject) for f in findings if f.severity == severity]


def _tasks(names: str) -> list[Task]:
    return [_task(name) for name in names.split()]


def test_a_diamond_is_sound_and_two_wide() -> None:
    found = analyze(
        Subject(_tasks("father son1 son2 final"), _after("father > son1 son2", "son1 son2 > final"))
    )
    assert _codes(found, "info") == [("SOUND", ""), ("WIDTH", ""), ("CRITICAL_PATH", "final")]
    assert len(found) == 3
    assert "2 tasks can run at the same time on level 2 of 3" in found[1].message
    assert "3 tasks: father, son1, final" in found[2].message


def test_the_longest_path_goes_by_durations_where_they_are_known() -> None:
    tasks = [*_tasks("a b c"), Task("wait", WaitWork(seconds=100)), _task("d")]
    subject = Subject(
        tasks, _after("a > b", "b > c", "a > wait", "wait > d"), durations={"a": 5, "b": 2, "c": 3}
    )
    measures = shape_of(subject)
    assert measures is not None
    assert (measures.critical_path, measures.seconds, measures.n_unknown) == (
        ("a", "wait", "d"),
        105,
        1,
    )
    assert "at least 105 s, and 1 of them of unknown duration" in analyze(subject)[2].message


def test_a_cycle_names_its_tasks_and_what_is_behind() -> None:
    found = analyze(
        Subject(_tasks("a b c d e"), _after("a > b", "b > c", "c > a", "c > d", "d > e"))
    )
    assert _codes(found) == [("CYCLE", "a")]
    assert "a, b, c; 2 tasks behind" in found[0].message


def test_a_cycle_through_many_on_many_names_tasks_only() -> None:
    found = analyze(Subject(_tasks("a b c d"), _after("a b > c d", "c d > a b")))
    assert _codes(found) == [("CYCLE", "a")]
    assert "a, c" in found[0].message


def test_very_many_cycles_are_counted_in_little_time() -> None:
    pairs = [(f"a{n}", f"b{n}") for n in range(5_000)]
    dependencies = [Dependency((x,), (y,)) for a, b in pairs for x, y in ((a, b), (b, a))]
    chain = [Dependency((b,), (a,)) for (_, b), (a, _) in itertools.pairwise(pairs)]
    begin = time.process_time()
    found = analyze(Subject([_task(n) for pair in pairs for n in pair], [*dependencies, *chain]))
    assert time.process_time() - begin < 20
    assert {finding.code for finding in found} == {"CYCLE"}
    assert "a0, b0; 9998 tasks behind" in found[0].message
    assert found[-1].message == "and 4900 more of such"


def test_a_task_that_waits_for_itself_is_a_cycle() -> None:
    assert analyze(Subject(_tasks("a"), _after("a > a")))[0].message == "a waits for itself"


def test_names_that_are_unknown_or_twice_are_errors() -> None:
    found = analyze(Subject(_tasks("a a b"), _after("x > b", "b > y")))
    assert _codes(found) == [("DUPLICATE_NAME", "a"), ("UNKNOWN_NAME", "b"), ("UNKNOWN_NAME", "y")]


def test_nobody_waits_for_a_final_task() -> None:
    tasks = [_task("a"), _task("end", role="final")]
    assert _codes(analyze(Subject(tasks, _after("a > end")))) == [("NOT_IN_THE_NET", "end")]


def test_a_recovery_stands_outside_the_order_and_serves_one() -> None:
    fallback = Recovery(then="fallback", task="r")
    good = [_task("a", recovery=fallback), _task("b"), _task("r")]
    found = analyze(Subject(good, _after("a > b")))
    assert not _codes(found)
    assert "on level 1 of 2" in found[1].message
    assert _codes(analyze(Subject(good, _after("a > b", "b > r")))) == [
        ("RECOVERY_TASK_DEPENDS", "r")
    ]
    assert _codes(analyze(Subject(good, _after("r > b")))) == [("RECOVERY_TASK_AWAITED", "r")]
    shared = [*good, _task("c", recovery=fallback)]
    assert _codes(analyze(Subject(shared))) == [("RECOVERY_TASK_SHARED", "r")]


@pytest.mark.parametrize(
    ("recovery", "code"),
    [
        (Recovery(then="compensate", task="nobody"), "UNKNOWN_NAME"),
        (Recovery(then="fallback"), "RECOVERY_WITHOUT_TASK"),
        (Recovery(then="fallback", task="a"), "RECOVERY_OF_ITSELF"),
        (Recovery(then="fallback", task="end"), "NOT_IN_THE_NET"),
    ],
)
def test_a_recovery_that_cannot_work_is_an_error(recovery: Recovery, code: str) -> None:
    tasks = [_task("a", recovery=recovery), _task("end", role="final")]
    assert _codes(analyze(Subject(tasks))) == [(code, "a")]


def test_tasks_that_recover_one_another_never_start() -> None:
    tasks = [
        _task("a", recovery=Recovery(then="fallback", task="b")),
        _task("b", recovery=Recovery(then="fallback", task="a")),
    ]
    assert _codes(analyze(Subject(tasks))) == [("RECOVERY_OF_ITSELF", "a")]


def test_a_recovery_task_that_is_not_used_is_told() -> None:
    tasks = [_task("a", recovery=Recovery(then="skip", task="b")), _task("b")]
    assert _codes(analyze(Subject(tasks)), "warning") == [("RECOVERY_TASK_UNUSED", "a")]


def test_a_loop_over_queues_is_legal_until_somebody_waits_for_its_end() -> None:
    tasks = [_container("work", "todo", "todo done"), _task("report")]
    assert not _codes(analyze(Subject(tasks, public_aliases=["done"])))
    found = analyze(Subject(tasks, _after("work > report"), public_aliases=["done"]))
    assert _codes(found) == [("QUEUE_NEVER_CLOSES", "work")]
    assert "nobody can close todo" in found[0].message


def test_a_queue_that_is_fed_from_a_loop_never_closes_either() -> None:
    tasks = [_container("loop", "a", "a b"), _container("reader", "b", ""), _task("report")]
    found = analyze(Subject(tasks, _after("reader > report")))
    assert _codes(found) == [("QUEUE_NEVER_CLOSES", "reader")]


def test_a_queue_whose_writer_waits_for_its_readers_end_never_closes() -> None:
    tasks = [_container("reader", "q", ""), _container("writer", "in", "q")]
    found = analyze(Subject(tasks, _after("reader > writer"), public_aliases=["in"]))
    assert _codes(found) == [("QUEUE_NEVER_CLOSES", "reader")]


def test_tasks_may_wait_for_queues_that_their_user_closes() -> None:
    tasks = [_container("a", "in", "mid"), _container("b", "mid", "out"), _task("report")]
    found = analyze(Subject(tasks, _after("b > report"), public_aliases=["in", "out"]))
    assert not _codes(found)


def test_queues_that_nobody_fills_drains_or_uses_are_told() -> None:
    found = analyze(Subject([_container("a", "in", "out")], public_aliases=["other"]))
    assert _codes(found, "warning") == [
        ("QUEUE_NOT_FILLED", "in"),
        ("QUEUE_NOT_DRAINED", "out"),
        ("QUEUE_UNUSED", "other"),
    ]


def test_a_net_with_an_arc_to_nowhere_is_an_error_and_not_analysed_further() -> None:
    net = Net(
        (Place("p"),),
        (Transition("t", task="a"), Transition("u", task="x")),
        (
            Arc("p", "t", "take"),
            Arc("q", "t", "put"),
            Arc("p", "v", "put"),
            Arc("p", "t", "read", 0),
        ),
    )
    assert _codes(analyze(Subject(_tasks("a"), net=net))) == [
        ("UNKNOWN_NAME", "u"),
        ("ARC_WITHOUT_PLACE", "t"),
        ("ARC_WITHOUT_TRANSITION", "p"),
        ("BAD_WEIGHT", "p"),
    ]


def test_a_net_and_dependencies_exclude_each_other() -> None:
    found = analyze(Subject(_tasks("a b"), _after("a > b"), net=net_of("a: i -> o")))
    assert _codes(found) == [("NET_AND_DEPENDENCIES", "")]


def test_a_task_that_can_never_start_is_an_error() -> None:
    found = analyze(Subject((), net=net_of("a: i -> p", "b: p q -> o", "c: q -> q")))
    assert {f.subject: f.message for f in found if f.code == "NEVER_STARTS"} == {
        "b": "b can never start: q is filled only by c, and that never starts",
        "c": "c can never start: q is filled only by c, and that never starts",
    }


def test_a_task_that_two_choices_exclude_is_found_by_a_search() -> None:
    net = net_of("a: i -> p", "b: i -> q", "c: p q -> o", "d: p -> o", "e: q -> o")
    assert _codes(analyze(Subject((), net=net))) == [("NEVER_STARTS", "c")]


def test_a_task_that_no_transition_names_never_starts() -> None:
    found = analyze(Subject(_tasks("a"), net=net_of("t: i -> o")))
    assert _codes(found) == [("NEVER_STARTS", "a")]


def test_a_loop_in_a_given_net_is_legal() -> None:
    found = analyze(Subject((), net=net_of("a: i -> p", "again: p -> p", "b: p -> o")))
    assert [f.code for f in found] == ["SOUND"]


def test_data_places_are_the_brokers_and_only_their_ends_are_told() -> None:
    places = (
        Place("i", tokens=net_of("a: i -> o").places[0].tokens),
        Place("o"),
        Place("q", "queue", "data"),
    )
    net = Net(
        places,
        (Transition("t"),),
        (Arc("i", "t", "take"), Arc("o", "t", "put"), Arc("q", "t", "put")),
    )
    found = analyze(Subject((), net=net))
    assert [f.code for f in found if f.severity != "info"] == ["QUEUE_NOT_DRAINED"]
    assert "SOUND" in [f.code for f in found]


def test_what_conditions_decide_is_unknown_and_a_warning() -> None:
    found = analyze(Subject((), net=net_of("a: i -> o", "b: i -> o", conditions="a b")))
    assert _codes(found, "warning") == [("UNKNOWN", "")]


def test_a_net_with_two_ends_is_not_called_unsound() -> None:
    found = analyze(Subject((), net=net_of("a: i -> p", "b: i -> q")))
    assert [f.code for f in found] == ["NOT_A_WORKFLOW_NET"]


def test_findings_stand_where_their_task_does() -> None:
    here = Position("w.dag", 7, 3)
    found = analyze(Subject(_tasks("a b"), _after("a > b", "b > a"), positions={"a": here}))
    assert found[0].position == here


def test_the_same_error_many_times_is_counted() -> None:
    found = analyze(Subject(_tasks("a"), _after(*(f"x{n} > a" for n in range(1_000)))))
    assert len(found) == MOST_OF_A_CODE + 1
    assert found[-1].message == "and 900 more of such"


def test_files_are_taken_from_tasks_that_are_there_and_come_before() -> None:
    def taking(name: str, *inputs: str) -> Task:
        return Task(name, BatchWork(executable="x", inputs=inputs))

    tasks = [*_tasks("a b a/c"), taking("d", "task:a/x", "task:b/x", "task:a/c/x", "plain")]
    found = analyze(Subject(tasks, _after("a > a/c", "a/c > d")))
    assert [(f.code, f.subject) for f in found if f.severity != "info"] == [
        ("DATA_WITHOUT_ORDER", "d")
    ]
    assert "task:b/x" in found[0].message
    transfer = Task("t", TransferWork((Transfer("task:nobody/x", "file:///y"),)))
    assert _codes(analyze(Subject([transfer]))) == [("UNKNOWN_NAME", "t")]


def test_an_empty_workflow_says_nothing() -> None:
    assert analyze(Subject(())) == ()


def _large(n_tasks: int) -> tuple[list[Task], list[Dependency]]:
    chance = random.Random(n_tasks)
    names = [f"t{n}" for n in range(n_tasks)]
    pairs = [
        (names[chance.randrange(max(0, n - 500), n)], names[n])
        for n in range(1, n_tasks)
        for _ in range(2)
    ]
    return [Task(name, NoopWork()) for name in names], [Dependency((a,), (b,)) for a, b in pairs]


def test_a_net_of_a_dag_is_analysed_in_linear_time() -> None:
    """Ten times the tasks take about ten times as long; twenty is not reached by what is linear,
    a hundred would be what is quadratic.
    """

    def seconds(n_tasks: int, *, as_net: bool) -> float:
        tasks, dependencies = _large(n_tasks)
        subject = Subject(tasks, dependencies)
        if as_net:
            names = [task.name for task in tasks]
            subject = Subject(tasks, net=net_of_dependencies(names, dependencies))
        begin = time.process_time()
        assert "SOUND" in [finding.code for finding in analyze(subject)]
        return time.process_time() - begin

    for as_net in (False, True):
        small = min(seconds(2_000, as_net=as_net) for _ in range(3))
        assert seconds(20_000, as_net=as_net) < 40 * max(small, 0.005)


def test_a_hundred_thousand_tasks_with_twice_the_edges_take_seconds() -> None:
    tasks, dependencies = _large(100_000)
    begin = time.process_time()
    found = analyze(Subject(tasks, dependencies))
    assert [finding.code for finding in found] == ["SOUND", "WIDTH", "CRITICAL_PATH"]
    assert time.process_time() - begin < 20
