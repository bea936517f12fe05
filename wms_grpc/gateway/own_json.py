"""What we write into the files of other languages for ourselves: an object of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

from wms_grpc.gateway.model import MAX_DEPTH

__all__ = ["object_of"]


def object_of(text: str) -> Mapping[str, object]:
    """Read an object; an empty one for what is none, or nests deeper than anything may.

    Somebody else may have written it.
    """
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(read, dict):
        return {}
    level: list[object] = [read]
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
        if not inner:
            return read
        level = inner
    return {}
