"""Whom a client trusts, and what it shows of itself. Everything is PEM.

Needs nothing but gRPC: clients import it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import grpc

__all__ = ["ClientTls", "client_tls", "require_pair"]


@dataclass(frozen=True)
class ClientTls:
    """PEM: the CA that a server's certificate must be of, and a certificate and key of one's own.

    Parameters
    ----------
    root_certificates
        None for the CAs that gRPC brings.
    certificate, key
        For servers that ask for one; both or none.
    """

    root_certificates: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)

    def credentials(self) -> grpc.ChannelCredentials:
        """As gRPC wants them."""
        return grpc.ssl_channel_credentials(self.root_certificates, self.key, self.certificate)


def require_pair(certificate: Path | None, key: Path | None) -> None:
    """Raise ValueError for a certificate without its key, or a key without its certificate."""
    if (certificate is None) is not (key is None):
        raise ValueError("a certificate and its key go together")


def client_tls(
    ca: Path | None, certificate: Path | None = None, key: Path | None = None
) -> ClientTls | None:
    """Reads the files that are named; None when none is: then the address says whether TLS is used.

    Raises ValueError for a certificate without its key or a key without its certificate, OSError
    for a file that cannot be read.
    """
    if ca is None and certificate is None and key is None:
        return None
    require_pair(certificate, key)
    return ClientTls(*(file.read_bytes() if file else None for file in (ca, certificate, key)))
