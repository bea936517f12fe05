"""Where a database is, and whence its password comes.

A URL (`postgresql://user@host:port/database?…`) goes to the driver as it is: it knows `sslmode`,
`sslrootcert`, `passfile`, and beside them `PGPASSWORD`, `PGPASSFILE` and `~/.pgpass`. One parameter
is ours: `password_file`, a file that holds the password and nothing else, as platforms hand out
secrets. It is read for each connection, so a new password needs no restart.

Guarantees that a password is never taken from a command line, which every user of a machine sees.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ewms_postgres.errors import DatabaseError

__all__ = ["driver_address", "refuse_password", "require_direct_address"]

_PASSWORD_FILE = "password_file"


def driver_address(url: str) -> dict[str, Any]:
    """The arguments by which the driver connects there.

    SQLAlchemy's `+asyncpg` is accepted and dropped. Raises ValueError for what is no such URL.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise ValueError("a database URL begins with postgresql://")
    plain = f"postgresql://{rest}"
    file = _parameters(plain).get(_PASSWORD_FILE)
    if file is None:
        return {"dsn": plain}
    return {"dsn": _without_password_file(plain), "password": lambda: _read_password(Path(file))}


def refuse_password(url: str, variable: str) -> None:
    """Raise ValueError if a URL that was given as an option holds a password.

    `variable` is the environment variable that may hold it.
    """
    if "://" in url and (urlsplit(url).password or "password" in _parameters(url)):
        raise ValueError(
            "a password on the command line is seen by every user of this machine; put the URL"
            f" into {variable}, or the password into PGPASSWORD, ~/.pgpass, or a file that the"
            f" URL names: ?{_PASSWORD_FILE}=FILE"
        )


def require_direct_address(database: str, database_direct: str, *, pooled: bool) -> None:
    """Raise ValueError if a pooler is used without the server itself being known, or the reverse.

    Who listens, is elected or migrates needs a session of its own, which a pooler in transaction
    mode does not give.
    """
    if pooled and not database_direct:
        raise ValueError(
            "`pooled` needs `database_direct`: the URL of the server itself, for listening,"
            " elections and migrations"
        )
    if database_direct and database == "embedded":
        raise ValueError("`database_direct` goes with the URL of a pooler in `database`")
    if database_direct:
        driver_address(database_direct)


def _parameters(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def _without_password_file(url: str) -> str:
    parts = urlsplit(url)
    kept = [pair for pair in parse_qsl(parts.query) if pair[0] != _PASSWORD_FILE]
    return urlunsplit(parts._replace(query=urlencode(kept)))


def _read_password(file: Path) -> str:
    try:
        return file.read_text().rstrip("\r\n")
    except OSError as error:
        raise DatabaseError(f"the password file cannot be read: {error}") from error
