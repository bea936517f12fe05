"""Logs of a server of ours: to stderr, as JSON or for a person, each line with its call.

What is logged while a call is served carries its method and request id. Lines of libraries that
use the standard library's logging come out in the same form.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from ewms_rpc.context import current_call

__all__ = ["configure"]

# Local variables stay out of the traces: some of them are tokens.
_TRACES = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def configure(json: bool, level: str = "INFO") -> None:
    """Sets logging up for the whole process; the last call stands.

    Parameters
    ----------
    json
        One JSON object a line, instead of coloured columns.
    level
        The least level that is written: DEBUG, INFO, WARNING or ERROR.

    Raises
    ------
    ValueError
        For a level that is none.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_call,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(json))
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # At INFO it names every plugin at each migration.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _rendering(json: bool) -> list[Processor]:
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if json:
        return [
            strip,
            structlog.processors.ExceptionRenderer(_TRACES),
            structlog.processors.JSONRenderer(default=str),
        ]
    return [
        strip,
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        ),
    ]


def _add_call(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    call = current_call.get()
    if call is not None:
        event.setdefault("method", call.method)
        event.setdefault("request_id", call.request_id)
    return event
