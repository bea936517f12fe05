from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, bindparam, insert, select, text

from ewms_postgres.statements import statement

queues = Table("queues", MetaData(), Column("id", Text), Column("depth", Integer))


def test_a_name_used_twice_is_one_parameter() -> None:
    both = statement("SELECT :depth, :id, :depth")
    assert both.sql == "SELECT $1, $2, $1"
    assert both.arguments({"id": "q", "depth": 3}) == [3, "q"]


def test_casts_survive_also_right_behind_a_parameter() -> None:
    cast = statement("SELECT id::text FROM queues WHERE id = any(:ids::text[])")
    assert cast.sql == "SELECT id::text FROM queues WHERE id = any($1::text[])"


@pytest.mark.parametrize(
    "quiet",
    [
        "SELECT ':no', 'it''s :no'",
        r"SELECT E'\':no'",
        'SELECT ":no" FROM t',
        "SELECT 1 -- :no",
        "SELECT 1 /* :no */",
        "SELECT $$ :no $$, $body$ $$ :no $body$",
        "SELECT a[1:2], a[i:j], x::no",
        "SELECT f(x := 1)",
    ],
)
def test_a_colon_elsewhere_is_no_parameter(quiet: str) -> None:
    assert statement(quiet).sql == quiet
    assert statement(quiet).parameters == ()


def test_missing_and_unknown_names_are_refused_by_name() -> None:
    wanted = statement("SELECT :a, :b")
    with pytest.raises(TypeError, match="missing b; unknown c"):
        wanted.arguments({"a": 1, "c": 2})


def test_a_core_construct_takes_its_bindparams_by_name() -> None:
    update = statement(
        queues.update().where(queues.c.id == bindparam("queue")).values(depth=bindparam("new"))
    )
    assert dict(
        zip(update.parameters, update.arguments({"queue": "q", "new": 1}), strict=True)
    ) == {
        "queue": "q",
        "new": 1,
    }


def test_an_insert_takes_a_value_for_each_column() -> None:
    assert statement(insert(queues)).arguments({"id": "q", "depth": 1}) == ["q", 1]


def test_the_literals_of_a_filter_need_not_be_given() -> None:
    chosen = statement(
        select(queues).where(queues.c.id.in_(["a", "b"]), queues.c.depth > bindparam("least"))
    )
    assert sorted(map(str, chosen.arguments({"least": 4}))) == ["4", "a", "b"]
    with pytest.raises(TypeError, match="missing least"):
        chosen.arguments({})


def test_a_literal_that_is_none_is_still_a_value() -> None:
    assert statement(queues.insert().values(id=None, depth=2)).arguments({}) == [None, 2]


def test_a_text_construct_compiles_like_any_other() -> None:
    assert statement(text("SELECT :a")).arguments({"a": 1}) == [1]
