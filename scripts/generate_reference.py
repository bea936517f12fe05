"""Writes the reference of the contracts, in Markdown, from the proto files' own comments.

scripts/generate_reference.py docs/reference.md            writes it
scripts/generate_reference.py docs/reference.md --check    exits 1 if it is not fresh
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from generated_page import write_or_check
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2 as pb

from ewms.rules.v1 import rules_pb2

ROOT = Path(__file__).resolve().parent.parent
DESCRIPTORS = ROOT / "clients" / "ewms" / "descriptors.binpb"
PACKAGES = {
    "ewms.wms.v1": "What users and TMS agents call on the WMS.",
    "ewms.mqs.v1": "What the WMS, users and pilots call on the MQS.",
}
# Numbers of fields in descriptor.proto, of which the paths of comments are made.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_NESTED, _MESSAGE_ENUM = 2, 3, 4
_ENUM_VALUE = _SERVICE_METHOD = 2

_Path = tuple[int, ...]


class FilePage:
    """The Markdown of one proto file."""

    def __init__(self, file: pb.FileDescriptorProto) -> None:
        self._file = file
        self._comments = {
            tuple(location.path): location.leading_comments
            for location in file.source_code_info.location
        }

    def lines(self) -> Iterator[str]:
        """Services first, then what their messages hold."""
        for i, service in enumerate(self._file.service):
            yield from self._service(service, (_FILE_SERVICE, i))
        for i, message in enumerate(self._file.message_type):
            yield from self._message(message, (_FILE_MESSAGE, i), message.name)
        for i, enum in enumerate(self._file.enum_type):
            yield from self._enum(enum, (_FILE_ENUM, i), enum.name)

    def _service(self, service: pb.ServiceDescriptorProto, path: _Path) -> Iterator[str]:
        yield from (f"### {service.name}", "", *self._prose(path))
        for i, method in enumerate(service.method):
            takes = f"{'stream ' * method.client_streaming}{self._link(method.input_type)}"
            gives = f"{'stream ' * method.server_streaming}{self._link(method.output_type)}"
            yield from (
                f"#### {service.name}.{method.name}",
                "",
                f"{takes} → {gives}{_http(method)}",
            )
            yield from ("", *self._prose((*path, _SERVICE_METHOD, i)))

    def _message(self, message: pb.DescriptorProto, path: _Path, name: str) -> Iterator[str]:
        if message.options.map_entry:
            return
        yield from (f"#### {name}", "", *self._prose(path))
        if message.field:
            yield from ("| field | type | meaning |", "| --- | --- | --- |")
            for i, field in enumerate(message.field):
                meaning = self._sentence((*path, _MESSAGE_FIELD, i)) + _rules(field)
                yield f"| `{field.name}` | {self._type(field, message)} | {meaning} |"
            yield ""
        for i, nested in enumerate(message.nested_type):
            yield from self._message(nested, (*path, _MESSAGE_NESTED, i), f"{name}.{nested.name}")
        for i, enum in enumerate(message.enum_type):
            yield from self._enum(enum, (*path, _MESSAGE_ENUM, i), f"{name}.{enum.name}")

    def _enum(self, enum: pb.EnumDescriptorProto, path: _Path, name: str) -> Iterator[str]:
        yield from (f"#### {name}", "", *self._prose(path))
        yield from ("| value | number | meaning |", "| --- | --- | --- |")
        for i, value in enumerate(enum.value):
            yield f"| `{value.name}` | {value.number} | {self._sentence((*path, _ENUM_VALUE, i))} |"
        yield ""

    def _type(self, field: pb.FieldDescriptorProto, message: pb.DescriptorProto) -> str:
        entry = next(
            (
                n
                for n in message.nested_type
                if field.type_name.endswith(f".{message.name}.{n.name}")
            ),
            None,
        )
        if entry is not None and entry.options.map_entry:
            key, value = (self._type(part, entry) for part in entry.field)
            return f"map of {key} to {value}"
        repeated = "repeated " * (field.label == pb.FieldDescriptorProto.LABEL_REPEATED)
        optional = "optional " * field.proto3_optional
        if field.type_name:
            return repeated + optional + self._link(field.type_name)
        kind = pb.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
        return repeated + optional + kind

    def _link(self, full_name: str) -> str:
        name = full_name.removeprefix(".")
        package = next((p for p in PACKAGES if name.startswith(p + ".")), None)
        if package is None:
            return f"`{name}`"
        short = name.removeprefix(package + ".")
        return f"[{short}](#{short.replace('.', '').lower()})"

    def _prose(self, path: _Path) -> list[str]:
        comment = self._comments.get(path, "")
        return [line.removeprefix(" ").rstrip() for line in comment.splitlines()] + [""]

    def _sentence(self, path: _Path) -> str:
        text = re.sub(r"\s+", " ", self._comments.get(path, "")).strip()
        return text.replace("|", "\\|")


def _http(method: pb.MethodDescriptorProto) -> str:
    rule = method.options.Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    return f", REST: `{verb.upper()} {getattr(rule, verb)}`" if verb else ""


def _rules(field: pb.FieldDescriptorProto) -> str:
    rules = field.options.Extensions[rules_pb2.field]
    words = " ".join(str(rules).replace("\n", " ").split()).replace("|", "\\|")
    return f" *Rules:* `{words}`" if words else ""


def page(files: Sequence[pb.FileDescriptorProto]) -> str:
    """The whole page."""
    lines = ["# Reference of the contracts", "", "Generated from `protos/`; do not edit.", ""]
    for package, about in PACKAGES.items():
        lines += [f"## {package}", "", about, ""]
        for file in sorted(files, key=lambda file: (not file.service, file.name)):
            if file.package == package:
                lines += FilePage(file).lines()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def main() -> int:
    """Write or check the page; return the exit code."""
    parser = argparse.ArgumentParser(description="The reference of the contracts.")
    parser.add_argument("page", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if not fresh")
    arguments = parser.parse_args()
    files = pb.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file
    return write_or_check(arguments.page, page(files), check=arguments.check)


if __name__ == "__main__":
    sys.exit(main())
