"""Servers with a certificate, and clients that trust it or do not."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from certificates import Authority, Issued
from probe import SERVICE, Answer, Probe, ProbeClient, Question, error_of

from ewms_rpc.channel import open_channel
from ewms_rpc.errors import Unavailable
from ewms_rpc.server_tls import ServerTls, server_tls
from ewms_rpc.serving import CannotListen, RpcServer, ServerSettings, Service
from ewms_rpc.tls import ClientTls, client_tls


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


def server(issued: Issued, client_ca: Path | None = None, listen: str = "127.0.0.1:0") -> RpcServer:
    async def answer(request, context):
        return Answer(number=request.count + 1)

    tls = ServerTls(issued.certificate, issued.key, client_ca)
    return RpcServer(ServerSettings(listen=listen, tls=tls), [Service(SERVICE, Probe(ask=answer))])


async def ask(address: str, tls: ClientTls | None) -> int:
    async with open_channel(address, tls=tls) as channel:
        return (await ProbeClient(channel).ask(Question(count=41), timeout=5)).number


async def refusal(address: str, tls: ClientTls | None) -> Unavailable:
    error = await error_of(ask(address, tls))
    assert isinstance(error, Unavailable)
    return error


async def test_a_client_that_trusts_the_ca_is_served_on_loopback_and_beyond(
    authority: Authority,
) -> None:
    issued = authority.issue("server")
    trust = client_tls(authority.certificate)
    async with server(issued, listen="0.0.0.0:0") as serving:
        port = serving.address.rpartition(":")[2]
        assert await ask(f"127.0.0.1:{port}", trust) == 42
        assert await ask(f"localhost:{port}", trust) == 42


async def test_clients_that_trust_another_ca_or_speak_plain_text_are_not_served(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    async with server(authority.issue("server")) as serving:
        error = await refusal(serving.address, client_tls(other.certificate))
        assert "CERTIFICATE_VERIFY_FAILED" in error.message
        await refusal(serving.address, ClientTls())
        await refusal(serving.address, None)


async def test_with_a_ca_of_clients_only_those_with_its_certificate_are_served(
    authority: Authority, tmp_path: Path
) -> None:
    clients, strangers = Authority(tmp_path / "clients"), Authority(tmp_path / "strangers")
    known, unknown = clients.issue("ada"), strangers.issue("eve")
    async with server(authority.issue("server"), clients.certificate) as serving:
        trust = client_tls(authority.certificate, known.certificate, known.key)
        assert await ask(serving.address, trust) == 42
        await refusal(serving.address, client_tls(authority.certificate))
        trust = client_tls(authority.certificate, unknown.certificate, unknown.key)
        await refusal(serving.address, trust)


async def shown_serial(address: str, ca: Path) -> int:
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    return int(certificate["serialNumber"], 16)


async def test_a_certificate_that_is_replaced_is_shown_without_a_restart(
    authority: Authority,
) -> None:
    async with server(authority.issue("server")) as serving:
        before = await shown_serial(serving.address, authority.certificate)
        assert await shown_serial(serving.address, authority.certificate) == before
        async with open_channel(serving.address, tls=client_tls(authority.certificate)) as channel:
            client = ProbeClient(channel)
            await client.ask(Question(), timeout=5)
            authority.issue("server")
            assert await shown_serial(serving.address, authority.certificate) != before
            # Connections that are there go on.
            await client.ask(Question(), timeout=5)
        assert await ask(serving.address, client_tls(authority.certificate)) == 42


async def test_files_that_are_missing_or_do_not_fit_leave_the_last_good_certificate(
    authority: Authority,
) -> None:
    issued = authority.issue("server")
    async with server(issued) as serving:
        before = await shown_serial(serving.address, authority.certificate)
        issued.key.write_bytes(authority.issue("another").key.read_bytes())
        assert await shown_serial(serving.address, authority.certificate) == before
        issued.key.unlink()
        assert await shown_serial(serving.address, authority.certificate) == before
        authority.issue("server")
        assert await shown_serial(serving.address, authority.certificate) != before


async def test_a_certificate_that_is_none_or_not_there_is_told_at_the_start(
    authority: Authority,
) -> None:
    issued = authority.issue("server")
    issued.certificate.write_text("no certificate")
    with pytest.raises(CannotListen):
        async with server(issued):
            pass
    issued.certificate.unlink()
    with pytest.raises(FileNotFoundError, match=r"server\.pem"):
        async with server(issued):
            pass


def test_parts_of_what_belongs_together_are_refused(tmp_path: Path) -> None:
    assert server_tls(None, None, None) is None
    assert client_tls(None) is None
    file = tmp_path / "file"
    for certificate, key, client_ca in ((file, None, None), (None, file, None), (None, None, file)):
        with pytest.raises(ValueError, match="certificate"):
            server_tls(certificate, key, client_ca)
    with pytest.raises(ValueError, match="together"):
        client_tls(None, file)
