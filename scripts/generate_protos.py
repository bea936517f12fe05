"""Generates the `ewms` package (messages, stubs, types) from `protos/`.

The output is a function of the proto files and of the installed plugins alone: the same input
gives the same bytes, and a file whose proto is gone is removed. Nothing outside `OUT/ewms` is
ever touched, and with `--check` nothing at all.

    scripts/generate_protos.py clients            writes clients/ewms
    scripts/generate_protos.py clients --check    exits 1 and names the files that are not fresh
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PACKAGE = "ewms"
# The descriptors with their comments, which the generated modules leave out: reflection serves
# them, so that `grpcurl describe` is documentation.
DESCRIPTOR_SET = "descriptors.binpb"


def googleapis_folder() -> Path:
    """The folder under which googleapis-common-protos keeps `google/api/*.proto`."""
    return Path(str(files("google.api").joinpath("http.proto"))).parents[2]


def generate(protos: Path, out: Path) -> None:
    """Writes the package for every proto file below `protos` into the folder `out`.

    Raises `SystemExit` with protoc's own words (on stderr) when a file does not compile.
    """
    sources = sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))
    if not sources:
        raise SystemExit(f"no proto file below {protos}")
    (out / PACKAGE).mkdir(parents=True, exist_ok=True)
    plugins = Path(sys.executable).parent
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={protos}",
            f"--proto_path={googleapis_folder()}",
            f"--proto_path={files('grpc_tools').joinpath('_proto')}",
            f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out=quiet:{out}",
            f"--mypy_grpc_out=quiet:{out}",
            "--include_source_info",
            f"--descriptor_set_out={out / PACKAGE / DESCRIPTOR_SET}",
            *sources,
        ]
    )
    if status != 0:
        raise SystemExit(status)
    _complete_package(out / PACKAGE)


def _complete_package(package: Path) -> None:
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").touch()
    (package / "py.typed").touch()
    # The plugin writes a file for each proto, with or without services.
    for stub in package.rglob("*_pb2_grpc.py"):
        if "class " not in stub.read_text():
            stub.unlink()
            stub.with_suffix(".pyi").unlink(missing_ok=True)


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _install(fresh: Path, target: Path) -> None:
    wanted, present = _contents(fresh), _contents(target)
    for name in present.keys() - wanted.keys():
        (target / name).unlink()
    for name, content in wanted.items():
        # Untouched when equal, so that a running type checker or server sees no change.
        if present.get(name) != content:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content)
    for folder in sorted((path for path in target.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.name != "__pycache__" for path in folder.iterdir()):
            shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder that holds the package")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if not fresh")
    arguments = parser.parse_args()
    target = arguments.out / PACKAGE
    with tempfile.TemporaryDirectory() as scratch:
        generate(PROTOS, Path(scratch))
        fresh = Path(scratch) / PACKAGE
        if not arguments.check:
            _install(fresh, target)
            return 0
        wanted, present = _contents(fresh), _contents(target)
    stale = sorted(
        name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name)
    )
    for name in stale:
        sys.stderr.write(f"not fresh: {target / name} (run `make protos`)\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
