"""The body of an event on RabbitMQ: `zstd(json({"headers": ..., "data": ...}))`.

It is the format of the field's own client, so that either reads what the other wrote. Text is a
JSON string, other bytes are `{"base64": ...}`; any other JSON of a foreign client is passed on as
JSON text. What we encode decodes to the same bytes. Never expands beyond `MAX_BYTES`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import zstandard

__all__ = ["MAX_BYTES", "MAX_PAYLOAD", "Body", "NotABody", "decode_body", "encode_body"]

MAX_PAYLOAD = 15 * 1024 * 1024
# JSON escapes a control character with six, and base64 takes a third more.
MAX_BYTES = 6 * MAX_PAYLOAD + 1024 * 1024
_LEVEL = 3


class NotABody(ValueError):
    """The bytes are none of this format, or expand to more than may be."""


@dataclass(frozen=True, slots=True)
class Body:
    """What an event carries."""

    payload: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def encode_body(body: Body) -> bytes:
    """The bytes to publish."""
    text = json.dumps({"headers": dict(body.headers), "data": _data_of(body.payload)})
    return zstandard.ZstdCompressor(level=_LEVEL).compress(text.encode())


def decode_body(data: bytes) -> Body:
    """What was published. Raises NotABody."""
    try:
        # One byte more than may be tells what is cut off.
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            text = reader.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise NotABody(f"it expands to more than {MAX_BYTES} bytes")
        content = json.loads(text)
        headers, value = content["headers"], content["data"]
    except (zstandard.ZstdError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, NotABody):
            raise
        raise NotABody("it is no compressed JSON of headers and data") from error
    if not isinstance(headers, dict):
        raise NotABody("its headers are no object")
    return Body(_payload_of(value), {str(key): _text_of(item) for key, item in headers.items()})


def _data_of(payload: bytes) -> object:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(payload).decode()}


def _payload_of(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    if isinstance(value, dict) and value.keys() == {"base64"} and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except binascii.Error:
            pass
    return json.dumps(value).encode()


def _text_of(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
