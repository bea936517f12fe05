"""What a part tells of its schema, so that one command brings the schemas of all parts up to date.

Each part names its own in the entry points of the group `ewms.schemas`; nobody imports another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

__all__ = ["DatabaseSettings", "PartSchema", "installed_schemas"]

_GROUP = "ewms.schemas"


class DatabaseSettings(Protocol):
    """Where a part's settings say that its database is."""

    @property
    def database(self) -> str:
        """`embedded`, or a URL."""
        ...

    @property
    def database_direct(self) -> str:
        """The URL of the server behind a pooler; empty where `database` is no pooler's."""
        ...

    @property
    def data(self) -> Path:
        """The folder of the embedded database."""
        ...


@dataclass(frozen=True)
class PartSchema:
    """A part's schema.

    Parameters
    ----------
    name
        The schema's, and the part's.
    migrations
        The folder with `versions/*.py`.
    settings
        Makes the part's settings, from the environment and what is given.
    """

    name: str
    migrations: Path
    settings: Callable[..., DatabaseSettings]


def installed_schemas() -> Iterator[PartSchema]:
    """The schemas of the parts that are installed, by name."""
    for point in sorted(entry_points(group=_GROUP), key=lambda point: point.name):
        schema = point.load()
        assert isinstance(schema, PartSchema)
        yield schema
