"""Statements that are compiled once and then run on the driver's connection by position.

Compiling and result wrapping cost more than half of the time of a small statement, so a
`Statement` does the former once and its users skip the latter. Values go to the driver as they
are: neither SQLAlchemy's type conversions nor its Python-side column defaults apply.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.sql import ClauseElement

__all__ = ["Statement", "statement"]

# What can hold a colon without meaning a parameter comes first, so that it is skipped whole.
_TOKEN = re.compile(
    r"""
      \b[eE]'(?:[^'\\]|\\.|'')*'
    | '(?:[^']|'')*'
    | "(?:[^"]|"")*"
    | \$(?P<tag>\w*)\$ .*? \$(?P=tag)\$
    | --[^\n]*
    | /\* .*? \*/
    | ::
    | (?<!\w):(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)


class Statement:
    """SQL with positional parameters, and the names that its values go by.

    Parameters
    ----------
    sql
        The text for the driver, with `$1`, `$2`, … for the parameters.
    parameters
        The name of each position, in order.
    defaults
        Values that the construct brought along (the literals of a filter, for example). They
        need not be given, and what is given goes before them.
    """

    __slots__ = ("_defaults", "_names", "parameters", "sql")

    def __init__(
        self,
        sql: str,
        parameters: tuple[str, ...],
        defaults: Mapping[str, object] | None = None,
    ) -> None:
        self.sql = sql
        self.parameters = parameters
        self._defaults = dict(defaults or {})
        self._names = frozenset(parameters)

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """Return the values in the order of the positions.

        Raises TypeError when a name is missing or is none of the statement's.
        """
        given = {**self._defaults, **values} if self._defaults else values
        if given.keys() != self._names:
            raise TypeError(self._complaint(given))
        return [given[name] for name in self.parameters]

    def _complaint(self, given: Mapping[str, object]) -> str:
        missing = sorted(self._names - given.keys())
        unknown = sorted(given.keys() - self._names)
        parts = [f"missing {', '.join(missing)}"] if missing else []
        parts += [f"unknown {', '.join(unknown)}"] if unknown else []
        return f"statement takes ({', '.join(self.parameters)}): {'; '.join(parts)}"

    def __repr__(self) -> str:
        return f"Statement({' '.join(self.sql.split())!r})"


def statement(core: ClauseElement | str, /) -> Statement:
    """Compile SQL text or a SQLAlchemy Core construct.

    In text, `:name` is a parameter, wherever it stands outside of literals, quoted names and
    comments; `::type` is a cast, also right behind a parameter (`:ids::text[]`). In a slice put
    a space or a bracket before it (`a[1 : :n]`). A Core construct takes `bindparam(name)` for
    what is given later; values that are bound in it already become defaults. A list of unknown
    length is one array parameter (`= any(:ids)`), not an expanding IN.
    """
    if isinstance(core, str):
        return _from_text(core)
    return _from_construct(core)


def _from_text(text: str) -> Statement:
    positions: dict[str, int] = {}

    def numbered(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return match[0]
        return f"${positions.setdefault(name, len(positions) + 1)}"

    sql = _TOKEN.sub(numbered, text).strip()
    return Statement(sql, tuple(positions))


def _from_construct(core: ClauseElement) -> Statement:
    # Imported here: programs that only have SQL text need not pay for SQLAlchemy at start-up.
    from sqlalchemy.dialects.postgresql.asyncpg import dialect
    from sqlalchemy.sql.compiler import SQLCompiler

    compiled = core.compile(dialect=dialect())  # type: ignore[no-untyped-call]
    if not isinstance(compiled, SQLCompiler):
        raise TypeError(f"{type(core).__name__} is not a statement with parameters")
    required = {name for name, bind in compiled.binds.items() if bind.required}
    # An IN over a list of literals is written out here, with a position for each of them.
    state = compiled.construct_expanded_state(dict.fromkeys(required))
    parameters = tuple(state.positiontup or ())
    defaults = {name: state.parameters[name] for name in parameters if name not in required}
    return Statement(state.statement, parameters, defaults)
