"""Uses the PostgreSQL of a folder, and so keeps it: `keep_postgres.py FOLDER` until stdin ends.

Prints the URL of its database once it is there. A process of its own, since starting PostgreSQL
under another account forks, which a process with gRPC's threads must not do.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ewms_postgres.embedded import EmbeddedPostgresError, database_from
from ewms_rpc import logs

_RETRY_SECONDS = 0.2


async def keep(folder: Path) -> None:
    """Start it, or adopt the one that runs; the last one who keeps it stops it."""
    while True:
        try:
            async with database_from("embedded", folder) as url:
                sys.stdout.write(f"{url}\n")
                sys.stdout.flush()
                await asyncio.to_thread(sys.stdin.read)
            return
        except EmbeddedPostgresError as error:
            # What is left of a killed one may still have its memory for a moment.
            sys.stderr.write(f"{error}\n")
            await asyncio.sleep(_RETRY_SECONDS)


logs.configure(json=False)
asyncio.run(keep(Path(sys.argv[1])))
