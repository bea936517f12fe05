"""Which addresses only this machine can reach, and which need more than plain text.

Plain text goes over loopback and unix sockets alone, unless somebody says that he wants it
elsewhere. A name that is not known to be loopback is not taken for one.
"""

from __future__ import annotations

from ipaddress import ip_address

__all__ = ["NotLoopback", "is_loopback"]


class NotLoopback(ValueError):
    """An address that other machines can reach, without encryption and without a word on it."""


def is_loopback(address: str) -> bool:
    """Whether an address (`host:port`, `[::1]:port`, `unix:path`) stays on this machine."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.removeprefix("dns:///").rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
