"""A connection to a pooler that gives sessions away between transactions.

Guarantees that no cancel request ever goes to the pooler. PgBouncer before 1.21 dies of one that is
on its way while the server ends the session, as a restart of the server does: `server_proto: server
in bad state: 11` and `disconnect_client(): bad client state: 0` are the last lines of its log.
"""

from __future__ import annotations

import asyncpg

__all__ = ["PooledConnection"]


class PooledConnection(asyncpg.Connection):  # type: ignore[misc]
    """Where a statement is given up, the connection is.

    The pooler then ends the server's session, which notices within its
    `client_connection_check_interval`, or when the statement has ended.
    """

    def _cancel_current_command(self, *waiters: object) -> None:
        # Called by the driver in the middle of its own work. It has whoever waits for the cancel
        # request go on when the connection is lost.
        self._loop.call_soon(self.terminate)
