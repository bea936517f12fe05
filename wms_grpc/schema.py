"""The WMS's schema, for `ewms db` and for the server."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ewms_postgres.part_schema import PartSchema
from wms_grpc.config import WmsSettings

__all__ = ["MIGRATIONS", "PART_SCHEMA", "SCHEMA"]

SCHEMA: Final = "wms"
MIGRATIONS: Final = Path(__file__).parent / "storage" / "migrations"
PART_SCHEMA: Final = PartSchema(SCHEMA, MIGRATIONS, WmsSettings)
