"""A small CA in a folder, for brokers that fetch public keys over HTTPS only.

`python -m ewms_mqs.small_ca FOLDER` makes it; it is made once and kept, and `ca.pem` is what the
broker trusts. An MQS issues itself a certificate from it at each start. Its key must never leave
the folder, which only its owner may read; it vouches for nothing but public keys.
"""

from __future__ import annotations

import os
import ssl
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ewms_postgres.file_lock import exclusive_lock

__all__ = ["make_ca", "server_context"]

_CA_LIFE = timedelta(days=3650)
_LEAF_LIFE = timedelta(days=365)
_LOCK_SECONDS = 30.0
# Clocks of machines differ.
_BEFORE = timedelta(minutes=5)


def make_ca(folder: Path) -> Path:
    """Make the CA unless it is there; return its certificate's file."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate, key_file = folder / "ca.pem", folder / "ca.key"
    with exclusive_lock(folder / "lock", timeout=_LOCK_SECONDS):
        if not (certificate.exists() and key_file.exists()):
            key = ec.generate_private_key(ec.SECP256R1())
            name = _name("EWMS public keys")
            built = (
                _builder(name, name, key.public_key(), _CA_LIFE)
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(_key_usage(signs_certificates=True), critical=True)
                .sign(key, hashes.SHA256())
            )
            _write(key_file, _private_pem(key))
            _write(certificate, built.public_bytes(serialization.Encoding.PEM))
    return certificate


def server_context(folder: Path, host: str) -> ssl.SSLContext:
    """What a server at `host` speaks TLS with: a new certificate of the CA in the folder."""
    make_ca(folder)
    ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    ca_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    built = (
        _builder(_name(host), ca.subject, key.public_key(), _LEAF_LIFE)
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The ssl module loads keys from files alone; this one is gone when the function returns.
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(_private_pem(key) + built.public_bytes(serialization.Encoding.PEM))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _names(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    try:
        names.append(x509.IPAddress(ip_address(host)))
    except ValueError:
        names.append(x509.DNSName(host))
    return names


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + life)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, for its owner alone."""
    part = path.with_suffix(path.suffix + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    part.rename(path)


if __name__ == "__main__":
    make_ca(Path(sys.argv[1]))
