"""Where a RabbitMQ is: `[user@]host:port[/vhost]`, as queue profiles have it. Pure.

Without a scheme, since the field's own client takes none; whether it speaks TLS stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

__all__ = ["AmqpAddress", "NotAnAmqpAddress", "parse_address"]

_PORT, _TLS_PORT = 5672, 5671


class NotAnAmqpAddress(ValueError):
    """The text is no address of a RabbitMQ."""


@dataclass(frozen=True, slots=True)
class AmqpAddress:
    """A broker and a virtual host on it."""

    host: str
    port: int
    vhost: str = "/"
    user: str = ""
    is_tls: bool = False

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        vhost = "" if self.vhost == "/" else f"/{quote(self.vhost, safe='')}"
        return f"{user}{host}:{self.port}{vhost}"


def parse_address(text: str, *, is_tls: bool = False) -> AmqpAddress:
    """Read an address. Raises NotAnAmqpAddress; the text is never quoted, for it may hold more."""
    try:
        split = urlsplit(f"//{text}")
        host, port = split.hostname, split.port
    except ValueError as error:
        raise NotAnAmqpAddress("must be [user@]host:port[/vhost]") from error
    if "://" in text or not host or split.password is not None or split.query or split.fragment:
        raise NotAnAmqpAddress("must be [user@]host:port[/vhost]")
    return AmqpAddress(
        host,
        port or (_TLS_PORT if is_tls else _PORT),
        unquote(split.path.removeprefix("/")) or "/",
        unquote(split.username or ""),
        is_tls,
    )
