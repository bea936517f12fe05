"""Messages from and to JSON: the protobuf mapping, with the names of the proto files.

Reading is strict: a name that the message does not know, a name given twice, or a value of another
type is an InvalidArgument that names each of them by its path. Nothing is left out in silence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from ewms.wms.v1 import workflow_service_pb2
from ewms_client.errors import FieldViolation, InvalidArgument

__all__ = ["Submission", "message_from_json", "read_submission", "to_json"]

Submission = workflow_service_pb2.SubmitWorkflowRequest | Mapping[str, Any] | str | os.PathLike[str]
"""A workflow to submit: the request, the same as a mapping, or the path of a JSON file."""

_M = TypeVar("_M", bound=Message)
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: range(-(2**31), 2**31),
    FieldDescriptor.CPPTYPE_INT64: range(-(2**63), 2**63),
    FieldDescriptor.CPPTYPE_UINT32: range(2**32),
    FieldDescriptor.CPPTYPE_UINT64: range(2**64),
}


def read_submission(source: Submission) -> workflow_service_pb2.SubmitWorkflowRequest:
    """A request of its own from any of the forms. InvalidArgument names every bad field; a file
    that cannot be read is an OSError."""
    request = workflow_service_pb2.SubmitWorkflowRequest()
    if isinstance(source, workflow_service_pb2.SubmitWorkflowRequest):
        request.CopyFrom(source)
        return request
    if isinstance(source, Mapping):
        return _filled(source, request)
    return message_from_json(Path(source).read_bytes(), request)


def message_from_json(document: str | bytes, message: _M) -> _M:
    """Fill `message` from a JSON document and return it. InvalidArgument names every bad field."""
    try:
        value = json.loads(document, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument([FieldViolation("", f"not a JSON document: {error}")]) from None
    if not isinstance(value, dict):
        raise InvalidArgument([FieldViolation("", "must be a JSON object")])
    return _filled(value, message)


def to_json(message: Message, *, indent: int | None = None, with_zeros: bool = False) -> str:
    """The message in the protobuf JSON mapping, on one line unless `indent` says otherwise.

    Fields that have their default value are left out, unless `with_zeros` asks for them.
    """
    return json_format.MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=with_zeros,
        indent=indent,
        ensure_ascii=False,
    )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {repeated!r} is given twice in one object")
    return members


def _filled(value: Mapping[str, Any], message: _M) -> _M:
    violations = list(_message_violations(value, cast(Descriptor, message.DESCRIPTOR), ""))
    if violations:
        raise InvalidArgument(violations)
    try:
        json_format.ParseDict(dict(value), message)
    except json_format.ParseError as error:
        raise InvalidArgument([FieldViolation("", str(error))]) from None
    return message


def _message_violations(value: Any, descriptor: Descriptor, path: str) -> Iterator[FieldViolation]:
    if descriptor.full_name.startswith("google.protobuf."):
        return  # the well-known types have forms of their own, which json_format checks
    if not isinstance(value, Mapping):
        yield FieldViolation(path, "must be an object")
        return
    fields = {field.name: field for field in descriptor.fields}
    fields |= {field.json_name: field for field in descriptor.fields}
    for name, member in value.items():
        member_path = f"{path}.{name}" if path else str(name)
        field = fields.get(name)
        if field is None:
            yield FieldViolation(member_path, "there is no such field")
        elif member is not None:
            yield from _field_violations(member, field, member_path)


def _field_violations(value: Any, field: FieldDescriptor, path: str) -> Iterator[FieldViolation]:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        if not isinstance(value, Mapping):
            yield FieldViolation(path, "must be an object")
            return
        for key, member in value.items():
            yield from _value_violations(member, entry.fields_by_name["value"], f"{path}.{key}")
    elif field.is_repeated:
        if not isinstance(value, (list, tuple)):
            yield FieldViolation(path, "must be a list")
            return
        for index, member in enumerate(value):
            yield from _value_violations(member, field, f"{path}[{index}]")
    else:
        yield from _value_violations(value, field, path)


def _value_violations(value: Any, field: FieldDescriptor, path: str) -> Iterator[FieldViolation]:
    if field.message_type is not None:
        yield from _message_violations(value, field.message_type, path)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING and not isinstance(value, str):
        yield FieldViolation(path, "must be a string")
    elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL and not isinstance(value, bool):
        yield FieldViolation(path, "must be true or false")
    elif field.cpp_type in _INTEGERS and not _is_integer(value, _INTEGERS[field.cpp_type]):
        allowed = _INTEGERS[field.cpp_type]
        yield FieldViolation(path, f"must be an integer from {allowed.start} to {allowed[-1]}")
    elif isinstance(value, str) and not _is_text(value):
        yield FieldViolation(path, "must be text that UTF-8 can hold")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_integer(value: Any, allowed: range) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return False
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return False
    return number in allowed and not (isinstance(value, float) and value != number)
