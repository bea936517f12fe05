"""JSON values as their readers want them: typed, or refused where they stand."""

from __future__ import annotations

import re
from typing import Final

from wms_grpc.gateway.json_text import Json, Member
from wms_grpc.gateway.sources import Source

__all__ = [
    "bool_of",
    "choice_of",
    "integer_of",
    "list_of",
    "mapping_of",
    "names_of",
    "number_of",
    "text_map_of",
    "text_of",
    "unique_texts_of",
]

_ALIAS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)


def text_of(source: Source, json: Json, name: str) -> str:
    """Return a text. Raises Refused."""
    if isinstance(json.value, str):
        return json.value
    raise source.refused("WRONG_TYPE", f"{name} must be a text", json.start, name)


def bool_of(source: Source, json: Json, name: str) -> bool:
    """Return true or false. Raises Refused."""
    if isinstance(json.value, bool):
        return json.value
    raise source.refused("WRONG_TYPE", f"{name} must be true or false", json.start, name)


def list_of(source: Source, json: Json, name: str) -> list[Json]:
    """Return the items of a list. Raises Refused."""
    if isinstance(json.value, list):
        return json.value
    raise source.refused("WRONG_TYPE", f"{name} must be a list", json.start, name)


def integer_of(source: Source, json: Json, name: str, limits: tuple[float, float]) -> int:
    """Return an integer within its limits. Raises Refused."""
    value = json.value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise source.refused("WRONG_TYPE", f"{name} must be an integer", json.start, name)
    return int(_within(source, json, name, limits, value))


def number_of(source: Source, json: Json, name: str, limits: tuple[float, float]) -> float:
    """Return a number within its limits. Raises Refused."""
    value = json.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise source.refused("WRONG_TYPE", f"{name} must be a number", json.start, name)
    return float(_within(source, json, name, limits, value))


def _within(
    source: Source, json: Json, name: str, limits: tuple[float, float], value: float
) -> float:
    low, high = limits
    if low <= value <= high:
        return value
    message = f"{name} must be from {low} to {high}"
    raise source.refused("OUT_OF_RANGE", message, json.start, name)


def choice_of(source: Source, json: Json, name: str, choices: tuple[str, ...]) -> str:
    """Return one of some texts. Raises Refused."""
    value = text_of(source, json, name)
    if value in choices:
        return value
    message = f"{name} must be one of {', '.join(choices)}"
    raise source.refused("OUT_OF_RANGE", message, json.start, name)


def mapping_of(source: Source, json: Json, name: str) -> dict[str, Member]:
    """Return the members of an object. Raises Refused."""
    if isinstance(json.value, dict):
        return json.value
    raise source.refused("WRONG_TYPE", f"{name} must be an object", json.start, name)


def text_map_of(source: Source, json: Json, name: str) -> dict[str, str]:
    """Return an object of texts. Raises Refused."""
    members = mapping_of(source, json, name)
    return {key: text_of(source, member.value, f"{name}.{key}") for key, member in members.items()}


def unique_texts_of(source: Source, json: Json, name: str) -> tuple[str, ...]:
    """Return a list of texts, none of them empty or given twice. Raises Refused."""
    texts: dict[str, None] = {}
    for item in list_of(source, json, name):
        text = text_of(source, item, name)
        if not text or text in texts:
            message = f"{name} has an item that is empty or given twice"
            raise source.refused("DUPLICATE_NAME", message, item.start, name)
        texts[text] = None
    return tuple(texts)


def names_of(source: Source, json: Json, name: str) -> tuple[str, ...]:
    """Return a list of aliases of queues, none of them twice. Raises Refused."""
    aliases = unique_texts_of(source, json, name)
    for item, alias in zip(list_of(source, json, name), aliases, strict=True):
        if not _ALIAS.fullmatch(alias):
            message = (
                "an alias must start with a letter or digit and hold only letters, digits, "
                "'.', '_' and '-', 128 at most"
            )
            raise source.refused("BAD_NAME", message, item.start, alias[:100])
    return aliases
