"""Writes the tables of all settings, in Markdown, from the classes that hold them.

scripts/generate_settings.py docs/settings.md            writes them
scripts/generate_settings.py docs/settings.md --check    exits 1 if they are not fresh
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from generated_page import write_or_check
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python
from pydantic_settings import BaseSettings

from ewms_mqs.config import MqsSettings
from ewms_tms.config import TmsSettings
from wms_grpc.config import WmsSettings

PARTS: dict[str, type[BaseSettings]] = {
    "ewms wms": WmsSettings,
    "ewms mqs": MqsSettings,
    "ewms tms": TmsSettings,
}
_INTRODUCTION = """# Settings

Generated from the programs; do not edit.

Each setting is an environment variable; those that are options of the command go before the
environment. Durations are seconds or ISO 8601 (`PT1H`, `P7D`), tables are JSON. `ewms up` passes
its environment on to its parts, so all of these hold there, too; its own options are the variables
`EWMS_UP_DATA`, `EWMS_UP_WMS`, `EWMS_UP_MQS`, `EWMS_UP_SLOTS`, `EWMS_UP_INSECURE` and
`EWMS_UP_LOG_JSON`. The client knows `EWMS_WMS`, where the WMS is, `EWMS_INSECURE`, which
allows plain text beyond this machine, `EWMS_WMS_CA` and `EWMS_MQS_CA`, PEM files of the CAs of
their certificates, and `EWMS_CLIENT_CERT` and `EWMS_CLIENT_KEY`, a certificate to show.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *(line for part in PARTS for line in _table(part))])


def _table(part: str) -> Iterator[str]:
    settings = PARTS[part]
    prefix = settings.model_config["env_prefix"]
    yield from (f"## {part}", "", "| variable | default | meaning |", "| --- | --- | --- |")
    for name, field in settings.model_fields.items():
        meaning = (field.description or "").replace("|", "\\|")
        yield f"| `{prefix}{name.upper()}` | {_default(field)} | {meaning} |"
    yield ""


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "by the machine"
    value = to_jsonable_python(field.default)
    if value is None:
        return "none"
    if isinstance(value, list):
        value = ",".join(value)
    text = value if isinstance(value, str) else json.dumps(value)
    # Where an environment keeps its programs says nothing to others.
    text = text.replace(f"{Path(sys.executable).parent}/", "")
    return f"`{text}`" if text else "none"


def main() -> int:
    """Write or check the page; return the exit code."""
    parser = argparse.ArgumentParser(description="The tables of all settings.")
    parser.add_argument("page", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if not fresh")
    arguments = parser.parse_args()
    return write_or_check(arguments.page, page(), check=arguments.check)


if __name__ == "__main__":
    sys.exit(main())
