"""Proto files of tests, compiled when the tests run; nothing generated lies about."""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent.parent / "protos"


def compile_proto(path: Path) -> FileDescriptor:
    """The descriptor of a proto file, in the default pool; it may import our protos."""
    pool = descriptor_pool.Default()
    name = f"{path.parent.parent.name}/{path.parent.name}/{path.name}"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        status = protoc.main(
            [
                "protoc",
                f"--proto_path={path.parent}",
                f"--proto_path={PROTOS}",
                f"--proto_path={files('grpc_tools').joinpath('_proto')}",
                f"--descriptor_set_out={out}",
                path.name,
            ]
        )
        assert status == 0, f"{path} does not compile"
        compiled = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]
    compiled.name = name
    return pool.AddSerializedFile(compiled.SerializeToString())
