"""Whom a client trusts: the CAs of WMS and MQS, and a certificate of its own, by the environment.

`EWMS_WMS_CA` and `EWMS_MQS_CA` name PEM files of the CAs; `EWMS_CLIENT_CERT` and `EWMS_CLIENT_KEY`
those of a certificate to show, for servers that ask for one. Without the MQS's CA, the WMS's is
taken for both.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ewms_client.errors import ClientError
from ewms_rpc.tls import ClientTls, client_tls

__all__ = ["MQS_CA", "WMS_CA", "Trust"]

WMS_CA, MQS_CA = "EWMS_WMS_CA", "EWMS_MQS_CA"
_CERTIFICATE, _KEY = "EWMS_CLIENT_CERT", "EWMS_CLIENT_KEY"


@dataclass(frozen=True)
class Trust:
    """How a client speaks TLS to the WMS (None: as its address says), and to brokers that do."""

    wms: ClientTls | None
    mqs: ClientTls

    @classmethod
    def given(cls, root_certificates: bytes | None, mqs_root_certificates: bytes | None) -> Trust:
        """What the caller gives goes before the environment.

        Raises ClientError for a certificate without its key, OSError for an unreadable file.
        """
        try:
            own = client_tls(None, _file(_CERTIFICATE), _file(_KEY)) or ClientTls()
        except ValueError as error:
            raise ClientError(f"{_CERTIFICATE} and {_KEY}: {error}") from None
        wms_ca = root_certificates or _read(WMS_CA)
        mqs_ca = mqs_root_certificates or _read(MQS_CA) or wms_ca
        is_tls = wms_ca is not None or own.certificate is not None
        wms = ClientTls(wms_ca, own.certificate, own.key) if is_tls else None
        return cls(wms, ClientTls(mqs_ca, own.certificate, own.key))


def _file(variable: str) -> Path | None:
    name = os.environ.get(variable)
    return Path(name) if name else None


def _read(variable: str) -> bytes | None:
    file = _file(variable)
    return file.read_bytes() if file else None
