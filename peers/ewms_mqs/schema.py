"""The MQS's schema, for `ewms db` and for the server."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ewms_mqs.config import MqsSettings
from ewms_postgres.part_schema import PartSchema

__all__ = ["MIGRATIONS", "PART_SCHEMA", "SCHEMA"]

SCHEMA: Final = "mqs"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
PART_SCHEMA: Final = PartSchema(SCHEMA, MIGRATIONS, MqsSettings)
