"""Dead letters of the broker in PostgreSQL: listed in pages, and put back.

Those that are named are put back all or none, in one transaction. A body is the event as it was
published, so that its headers come back with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ewms_mqs.brokers import DeadLetterPage
from ewms_mqs.brokers.postgres_calls import again, event_of, require
from ewms_mqs.errors import DeadLettersNotFound, RequestTaken
from ewms_mqs.model import DeadLetter, Queue
from ewms_postgres.database import Database
from ewms_postgres.statements import statement

__all__ = ["list_page", "requeue", "requeue_all"]

_REQUEUED_AT_ONCE = 5_000
# A page goes into one message of at most 16 MiB.
_LISTED_BYTES = 12 * 1024 * 1024

# A page of dead letters, and whether there are more; at least one, and no more bytes than asked
# for. The body as a whole: where in it the payload begins, and where the headers, only we know.
_LIST = statement(
    """
    WITH page AS (
      SELECT dead_no, row_number() OVER w AS nth, sum(size) OVER w AS bytes,
        count(*) OVER () AS n_found
      FROM (
        SELECT dead_no, octet_length(body) AS size FROM mqs.dead_letters
        WHERE queue_no = :queue AND dead_no > :after ORDER BY dead_no LIMIT :limit + 1
      ) found
      WINDOW w AS (ORDER BY dead_no ROWS UNBOUNDED PRECEDING)
    )
    SELECT l.dead_no, l.event_no, l.n_deliveries, l.dead_time, l.reason, l.body, p.n_found
    FROM page p JOIN mqs.dead_letters l USING (dead_no)
    WHERE p.nth <= :limit AND (p.nth = 1 OR p.bytes <= :max_bytes)
    ORDER BY l.dead_no
    """
)
# Let dead letters wait again.
_REQUEUE = statement(
    "SELECT outcome, n, missing FROM mqs.requeue_dead(:queue, :dead_nos, :request, :limit)"
)


async def list_page(database: Database, queue: Queue, limit: int, after: int) -> DeadLetterPage:
    """Return a page of a queue's dead letters, oldest first."""
    rows = await database.fetch(
        _LIST, queue=queue.number, after=after, limit=limit, max_bytes=_LISTED_BYTES
    )
    letters = [
        DeadLetter(
            str(row["dead_no"]),
            event_of(row["event_no"], row["body"]),
            row["n_deliveries"],
            row["dead_time"],
            row["reason"],
        )
        for row in rows
    ]
    has_more = bool(rows) and len(rows) < rows[0]["n_found"]
    return DeadLetterPage(letters, rows[-1]["dead_no"] if has_more else None)


async def requeue_all(database: Database, queue: Queue) -> int:
    """Put all dead letters at the end of the queue, some at a time; return how many."""
    n_requeued, n = 0, _REQUEUED_AT_ONCE
    while n == _REQUEUED_AT_ONCE:
        n = await _requeue(database, queue, None, "", _REQUEUED_AT_ONCE)
        n_requeued += n
    return n_requeued


async def requeue(database: Database, queue: Queue, ids: Sequence[str], request_id: str) -> int:
    """Put these dead letters at the end of the queue, or none of them; return how many."""
    unknown = [text for text in dict.fromkeys(ids) if not _is_number(text)]
    if unknown:
        raise DeadLettersNotFound(queue.mqid, unknown)
    dead_nos = sorted({int(text) for text in ids})
    return await _requeue(database, queue, dead_nos, request_id, len(dead_nos))


async def _requeue(
    database: Database, queue: Queue, dead_nos: list[int] | None, request_id: str, limit: int
) -> int:
    row = await again(
        lambda: database.fetchrow(
            _REQUEUE, queue=queue.number, dead_nos=dead_nos, request=request_id, limit=limit
        )
    )
    match row["outcome"]:
        case "unknown":
            raise DeadLettersNotFound(queue.mqid, [str(number) for number in row["missing"]])
        case "taken":
            raise RequestTaken(request_id)
        case outcome:
            require(outcome, queue)
    return int(row["n"])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
