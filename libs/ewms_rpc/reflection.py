"""Server reflection, v1 and v1alpha, with the contracts' comments.

The generated Python modules leave comments out; the descriptor set that is generated beside them
has them, and is served where it covers a file, so that `grpcurl describe` is documentation. The
two versions have the same messages; what is answered is encoded once for both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from functools import cache
from importlib.resources import files
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from grpc_reflection.v1alpha import reflection_pb2

from ewms_rpc.context import CallContext
from ewms_rpc.methods import Service

__all__ = ["reflection_services"]

_POOL = descriptor_pool.Default()
_V1_FILE = "grpc/reflection/v1/reflection.proto"


def reflection_services(names: Iterable[str]) -> list[Service]:
    """Both versions of reflection, for services with these full names and for themselves."""
    descriptors = [_v1(), reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]]
    served = {*names, "grpc.health.v1.Health", *(d.full_name for d in descriptors)}
    servicer = _ReflectionServicer(sorted(served))
    return [Service(descriptor, servicer) for descriptor in descriptors]


def _v1() -> ServiceDescriptor:
    """The v1 contract: v1alpha's with another package, which is how it came about."""
    try:
        file = _POOL.FindFileByName(_V1_FILE)
    except KeyError:
        text = reflection_pb2.DESCRIPTOR.serialized_pb
        proto = descriptor_pb2.FileDescriptorProto.FromString(text)
        proto.name, proto.package = _V1_FILE, "grpc.reflection.v1"
        typed = [field for message in proto.message_type for field in message.field]
        for field in (field for field in typed if field.type_name):
            field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
        for method in proto.service[0].method:
            method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
            method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
        file = _POOL.AddSerializedFile(proto.SerializeToString())
    return file.services_by_name["ServerReflection"]


@cache
def _documented() -> dict[str, bytes]:
    """The files of ours with their comments, by name."""
    content = files("ewms").joinpath("descriptors.binpb").read_bytes()
    documented = descriptor_pb2.FileDescriptorSet.FromString(content)
    return {file.name: file.SerializeToString() for file in documented.file}


class _ReflectionServicer:
    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._answers: dict[str, Callable[[Any, Any], None]] = {
            "file_by_filename": self._file_by_name,
            "file_containing_symbol": self._file_of_symbol,
            "file_containing_extension": self._file_of_extension,
            "all_extension_numbers_of_type": self._extension_numbers,
            "list_services": self._services,
        }

    async def ServerReflectionInfo(
        self, requests: AsyncIterator[Any], context: CallContext
    ) -> AsyncIterator[bytes]:
        """Answers each request in turn; what is not there is an error in the answer."""
        async for request in requests:
            response = reflection_pb2.ServerReflectionResponse(valid_host=request.host)
            response.original_request.ParseFromString(request.SerializeToString())
            kind = request.WhichOneof("message_request")
            if kind is None:
                _fail(response, grpc.StatusCode.INVALID_ARGUMENT, "nothing is asked for")
            else:
                try:
                    self._answers[kind](getattr(request, kind), response)
                except KeyError:
                    _fail(response, grpc.StatusCode.NOT_FOUND, "there is no such thing here")
            yield response.SerializeToString()

    def _file_by_name(self, name: str, response: Any) -> None:
        _add_files(_POOL.FindFileByName(name), response)

    def _file_of_symbol(self, symbol: str, response: Any) -> None:
        _add_files(_file_of(symbol), response)

    def _file_of_extension(self, asked: Any, response: Any) -> None:
        extended = _POOL.FindMessageTypeByName(asked.containing_type)
        extension: Any = _POOL.FindExtensionByNumber(extended, asked.extension_number)
        _add_files(extension.file, response)

    def _extension_numbers(self, name: str, response: Any) -> None:
        extensions = _POOL.FindAllExtensions(_POOL.FindMessageTypeByName(name))
        numbers = sorted(extension.number for extension in extensions)
        answer = response.all_extension_numbers_response
        answer.base_type_name = name
        answer.extension_number.extend(numbers)

    def _services(self, _: str, response: Any) -> None:
        for name in self._names:
            response.list_services_response.service.add(name=name)


def _file_of(symbol: str) -> FileDescriptor:
    """The file that has the symbol. The pool does not find methods, nor the values of enums."""
    try:
        return _POOL.FindFileContainingSymbol(symbol)
    except KeyError:
        parent, _, name = symbol.rpartition(".")
        file = _POOL.FindFileContainingSymbol(parent)
        members = file.services_by_name.get(parent.rpartition(".")[2])
        if members is None or name not in members.methods_by_name:
            raise
        return file


def _fail(response: Any, code: grpc.StatusCode, words: str) -> None:
    response.error_response.error_code = code.value[0]
    response.error_response.error_message = words


def _add_files(file: FileDescriptor, response: Any) -> None:
    """The file and all that it imports, which spares the client a request for each."""
    waiting, seen = [file], {file.name}
    while waiting:
        file = waiting.pop()
        response.file_descriptor_response.file_descriptor_proto.append(
            _documented().get(file.name, file.serialized_pb)
        )
        for imported in file.dependencies:
            if imported.name not in seen:
                seen.add(imported.name)
                waiting.append(imported)
