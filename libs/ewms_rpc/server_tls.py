"""A server's certificate, which may change while it serves.

A server looks at its files at each handshake and takes new ones as they are, so that a certificate
is renewed by replacing its files; a pair that does not fit, half replaced perhaps, is passed over,
and the last good one stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
import structlog

from ewms_rpc.tls import require_pair

__all__ = ["ServerTls", "server_tls"]

_log = structlog.get_logger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class ServerTls:
    """PEM files: the server's certificate chain and key, and the CA of its clients, if any.

    With a CA of clients, who has no certificate of it is not let in.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """The files as gRPC wants them. Raises `OSError` when one cannot be read."""
        fetch = _Fetch(self._stamp, self._read)
        first = fetch.first()
        return grpc.dynamic_ssl_server_credentials(
            first,
            # Its stubs do not know of the None, which its documentation asks for.
            cast("Callable[[], grpc.ServerCertificateConfiguration]", fetch),
            require_client_authentication=self.client_ca is not None,
        )

    def _stamp(self) -> _Stamp:
        files = [self.certificate, self.key, *([self.client_ca] if self.client_ca else [])]
        found = [os.stat(file) for file in files]
        return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in found)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        client_ca = self.client_ca.read_bytes() if self.client_ca else None
        return grpc.ssl_server_certificate_configuration(
            [(self.key.read_bytes(), self.certificate.read_bytes())], root_certificates=client_ca
        )


class _Fetch:
    """What gRPC asks at each handshake: a new configuration; None while nothing has changed."""

    def __init__(
        self, stamp: Callable[[], _Stamp], read: Callable[[], grpc.ServerCertificateConfiguration]
    ) -> None:
        self._stamp, self._read = stamp, read
        self._known: _Stamp = ()

    def first(self) -> grpc.ServerCertificateConfiguration:
        self._known = self._stamp()
        return self._read()

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        try:
            stamp = self._stamp()
            if stamp == self._known:
                return None
            self._known = stamp
            _log.info("certificate read again")
            return self._read()
        except OSError as error:
            # Taken away to be replaced, perhaps; the one in use is good for now.
            _log.warning("certificate not read again", reason=str(error))
            return None


def server_tls(
    certificate: Path | None, key: Path | None, client_ca: Path | None
) -> ServerTls | None:
    """What three settings mean together; None for plain text. Raises ValueError for a part."""
    if certificate is None and key is None and client_ca is None:
        return None
    require_pair(certificate, key)
    if certificate is None or key is None:
        raise ValueError("a CA of clients needs a certificate of the server beside it")
    return ServerTls(certificate, key, client_ca)
