"""Health, reflection, and the rules on where a server may listen."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2
from probe import SERVICE, Answer, Probe

from ewms_rpc.addresses import NotLoopback
from ewms_rpc.health import NotServing, await_serving
from ewms_rpc.methods import ServicerIncomplete
from ewms_rpc.serving import CannotListen, RpcServer, ServerSettings, Service

GRPCURL = Path(sys.executable).with_name("grpcurl")


async def grpcurl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        str(GRPCURL), "-plaintext", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_grpcurl_finds_the_services_and_calls_them(serve):
    async def greet(request, context):
        return Answer(text=f"hello {request.text}")

    async with serve(Probe(ask=greet)) as served:
        address = served.server.address
        listed = await grpcurl(address, "list")
        described = await grpcurl(address, "describe", "ewms_rpc_tests.probe.Question")
        method = await grpcurl(address, "describe", "ewms_rpc_tests.probe.ProbeService.Ask")
        answer = await grpcurl(
            "-d", '{"text": "you"}', address, "ewms_rpc_tests.probe.ProbeService/Ask"
        )

    assert listed.split() == [
        "ewms_rpc_tests.probe.ProbeService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    assert "int32 count = 2" in described
    assert "rpc Ask" in method
    assert '"hello you"' in answer


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_both_versions_of_reflection_serve_the_comments(serve, version):
    request = reflection_pb2.ServerReflectionRequest(
        file_containing_symbol="ewms.rules.v1.FieldRules"
    )
    async with serve(Probe()) as served:
        call = served.client.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(iter([request]))
        response = await call.read()

    files = [
        descriptor_pb2.FileDescriptorProto.FromString(file)
        for file in response.file_descriptor_response.file_descriptor_proto
    ]
    assert [file.name for file in files] == [
        "ewms/rules/v1/rules.proto",
        "google/protobuf/descriptor.proto",
    ]
    comments = [location.leading_comments for location in files[0].source_code_info.location]
    assert any("What a value must be" in comment for comment in comments)
    assert response.original_request == request


@pytest.mark.parametrize(
    "request_",
    [
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such.Thing"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="no/such.proto"),
        reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type="no.such.Type"),
    ],
)
async def test_what_reflection_does_not_know_is_an_error_in_the_answer(serve, request_):
    async with serve(Probe()) as served:
        call = served.client.channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(iter([request_]))
        response = await call.read()

    assert response.error_response.error_code == 5


def test_the_v1_contract_is_the_alpha_one_under_its_own_name():
    pool = descriptor_pool.Default()
    request = pool.FindMessageTypeByName("grpc.reflection.v1.ServerReflectionRequest")
    alpha = reflection_pb2.ServerReflectionRequest.DESCRIPTOR
    assert [(f.name, f.number) for f in request.fields] == [
        (f.name, f.number) for f in alpha.fields
    ]


async def test_health_follows_what_the_services_say(serve):
    async with serve(Probe()) as served:
        address = served.server.address
        await await_serving(address, SERVICE.full_name, deadline=20)
        served.server.set_serving(SERVICE.full_name, False)
        with pytest.raises(NotServing, match="NOT_SERVING"):
            await await_serving(address, SERVICE.full_name, deadline=0.3)
        with pytest.raises(NotServing, match="NOT_SERVING"):
            await await_serving(address, deadline=0.3)
        with pytest.raises(NotServing, match="NOT_FOUND"):
            await await_serving(address, "no.such.Service", deadline=0.3)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(await_serving(address, deadline=20))
            served.server.set_serving(SERVICE.full_name, True)
            await waiting


async def test_waiting_for_a_server_that_comes_up_later(unused_tcp_port):
    address = f"127.0.0.1:{unused_tcp_port}"
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(await_serving(address, deadline=20))
        async with RpcServer(ServerSettings(listen=address), [Service(SERVICE, Probe())]):
            await waiting


async def test_waiting_for_a_server_that_never_comes_says_so(unused_tcp_port):
    with pytest.raises(NotServing, match="UNAVAILABLE"):
        await await_serving(f"127.0.0.1:{unused_tcp_port}", deadline=0.5)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "example.org:0", ":0"])
async def test_plain_text_to_other_machines_must_be_asked_for(listen):
    with pytest.raises(NotLoopback, match="insecure"):
        async with RpcServer(ServerSettings(listen=listen), []):
            pass


async def test_plain_text_to_other_machines_can_be_asked_for():
    async with RpcServer(ServerSettings(listen="0.0.0.0:0", insecure=True), []) as server:
        await await_serving(server.address.replace("0.0.0.0", "127.0.0.1"), deadline=20)


async def test_two_servers_do_not_share_a_port():
    async with RpcServer(ServerSettings(), []) as first:
        with pytest.raises(CannotListen, match=first.address):
            async with RpcServer(ServerSettings(listen=first.address), []):
                pass


async def test_a_servicer_that_lacks_methods_does_not_start():
    class Incomplete:
        async def Ask(self, request, context): ...

        async def Count(self, request, context): ...

        def Collect(self, requests, context): ...

    with pytest.raises(ServicerIncomplete) as raised:
        async with RpcServer(ServerSettings(), [Service(SERVICE, Incomplete())]):
            pass

    words = str(raised.value)
    assert "Count must be an async generator" in words
    assert "Collect must be a coroutine function" in words
    assert "Chat is missing" in words


# HTTP/2 frames: length, type, flags, stream, payload.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7


def frame(kind: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, 0, 0, 0, 0, 0]) + payload


async def next_answer(reader: asyncio.StreamReader) -> int:
    """The kind of the next frame that is a PING (back to us) or the end."""
    while True:
        head = await reader.readexactly(9)
        await reader.readexactly(int.from_bytes(head[:3], "big"))
        if head[3] in (PING, GOAWAY):
            return head[3]


async def test_a_client_may_ping_a_quiet_connection_for_as_long_as_it_likes():
    async with RpcServer(ServerSettings(min_ping_interval=0.02), []) as server:
        host, port = server.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(PREFACE + frame(SETTINGS))
        answers = []
        for _ in range(8):
            writer.write(frame(PING, bytes(8)))
            answers.append(await next_answer(reader))
            # Not a wait for an event: the interval between pings is what is tested.
            await asyncio.sleep(0.03)
        writer.close()

    assert answers == [PING] * 8
