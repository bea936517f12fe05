"""Which addresses only this machine can reach, and which need more than plain text.

Plain text goes over loopback and unix sockets alone, unless somebody says that he wants it
elsewhere. A name that is not known to be loopback is not taken for one.
"""

from __future__ import annotations

from ipaddress import ip_address

__all__ = [
    "NotAnAddress",
    "NotLoopback",
    "is_loopback",
    "optional_tcp_address",
    "require_address",
]

_UNIX = ("unix:", "unix-abstract:")
_GREATEST_PORT = 65535


class NotAnAddress(ValueError):
    """What should be an address has not the form of one."""


class NotLoopback(ValueError):
    """An address that other machines can reach, without encryption and without a word on it."""


def is_loopback(address: str) -> bool:
    """Whether an address (`host:port`, `[::1]:port`, `unix:path`) stays on this machine."""
    if address.startswith(_UNIX):
        return True
    host = address.removeprefix("dns:///").rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def require_address(address: str) -> None:
    """Raise `NotAnAddress` unless it is HOST:PORT, `[IPV6]:PORT` or a unix socket."""
    if address.startswith(_UNIX):
        return
    host, separator, port = address.rpartition(":")
    is_port = port.isascii() and port.isdigit() and int(port) <= _GREATEST_PORT
    is_bracketed = host.startswith("[") and host.endswith("]")
    if not separator or not is_port or (":" in host and not is_bracketed):
        raise NotAnAddress(f"{address!r} is not HOST:PORT")


def optional_tcp_address(address: str) -> str:
    """The address itself, HOST:PORT or empty for none; raises `NotAnAddress` for anything else."""
    if address.startswith(_UNIX):
        raise NotAnAddress(f"{address!r} is not HOST:PORT")
    if address:
        require_address(address)
    return address
