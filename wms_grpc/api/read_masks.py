"""Read masks: which fields of a resource an answer holds."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from wms_grpc.domain.errors import InvalidSubmission, Violation

__all__ = ["ReadMask", "read_mask"]

_M = TypeVar("_M", bound=Message)


class ReadMask:
    """The fields that were asked for; None stands for all that come by default."""

    def __init__(self, mask: FieldMask | None) -> None:
        self._mask = mask

    def names(self, field: str) -> bool:
        """Whether the caller has named this top-level field, or one below it, or `*`."""
        paths = self._mask.paths if self._mask else ()
        return any(path == "*" or path.partition(".")[0] == field for path in paths)

    def applied(self, message: _M) -> _M:
        """Return the message with these fields alone."""
        if self._mask is None or "*" in self._mask.paths:
            return message
        kept = type(message)()
        self._mask.MergeMessage(message, kept)
        return kept


def read_mask(requested: FieldMask, resource: type[Message]) -> ReadMask:
    """Return the mask of a request, which is empty where none was given.

    Raises InvalidSubmission that names every path which is no field of the resource.
    """
    if not requested.paths:
        return ReadMask(None)
    descriptor: Any = resource.DESCRIPTOR
    violations = [
        Violation("read_mask", f"{path!r} is no field of {descriptor.name}")
        for path in requested.paths
        if path != "*" and not FieldMask(paths=[path]).IsValidForDescriptor(descriptor)
    ]
    if violations:
        raise InvalidSubmission(violations)
    return ReadMask(requested)
