"""The net that tasks and their dependencies stand for."""

from __future__ import annotations

import pytest

from wms_grpc.domain.nets import Dependency, Net, net_of_dependencies
from wms_grpc.domain.tasks import NoopWork, Task
from wms_grpc.gateway.equality import differences
from wms_grpc.gateway.model import Workflow


def test_a_diamond_has_a_place_for_each_edge_a_start_and_an_end() -> None:
    net = net_of_dependencies(
        ["father", "son1", "son2", "final"],
        [Dependency(("father",), ("son1", "son2")), Dependency(("son1", "son2"), ("final",))],
    )

    assert len(net.places) == 6
    assert len(net.transitions) == 4
    assert [place.id for place in net.places if place.tokens] == ["init"]
    assert _around(net, "t:father") == (["init"], 2)
    assert _around(net, "t:final")[1] == 1


def test_many_on_many_is_one_join_and_not_a_place_for_each_pair() -> None:
    parents, children = [f"a{n}" for n in range(50)], [f"b{n}" for n in range(50)]

    net = net_of_dependencies(parents + children, [Dependency(tuple(parents), tuple(children))])

    silent = [transition.id for transition in net.transitions if transition.task is None]
    assert silent == ["join:1", "fork", "join"]
    assert len(net.places) == 2 + 4 * 50


def test_a_dependency_on_a_task_that_is_not_there_is_told() -> None:
    with pytest.raises(KeyError, match="nobody"):
        net_of_dependencies(["a"], [Dependency(("nobody",), ("a",))])


def test_workflows_are_compared_without_regard_to_order_and_grouping() -> None:
    tasks = tuple(Task(name, NoopWork()) for name in "abc")
    grouped = Workflow("w", tasks, (Dependency(("a",), ("b", "c")),))
    single = Workflow("w", tasks[::-1], (Dependency(("a",), ("c",)), Dependency(("a",), ("b",))))

    assert differences(grouped, single) == []
    assert differences(grouped, Workflow("w", tasks, (Dependency(("a",), ("b",)),))) == [
        'only in the first: dependency ["a", "c"]'
    ]


def _around(net: Net, transition: str) -> tuple[list[str], int]:
    arcs = [arc for arc in net.arcs if arc.transition == transition]
    takes = [arc.place for arc in arcs if arc.mode == "take"]
    return takes, sum(arc.mode == "put" for arc in arcs)
