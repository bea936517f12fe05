"""What can go wrong with a broker, in three kinds that ask for three answers.

AmqpFailure
├── ConnectionBroken   transient: connect again
├── AccessRefused      the token is bad, expired, or of another queue: fetch another
└── QueueGone          there is no such queue now: ask the MQS whether there ever will be
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aio_pika import exceptions as amqp
from aiormq import exceptions as wire

__all__ = ["AccessRefused", "AmqpFailure", "ConnectionBroken", "QueueGone", "amqp_errors"]


class AmqpFailure(Exception):
    """Root of what a broker does to us."""


class ConnectionBroken(AmqpFailure):
    """The broker is away, or the connection broke, or it confirmed nothing."""


class AccessRefused(AmqpFailure):
    """The broker does not accept the token, or not for this."""


class QueueGone(AmqpFailure):
    """The queue does not exist, or its node is down; the broker does not tell which."""


@contextmanager
def amqp_errors() -> Iterator[None]:
    """Raise what the AMQP library raises in the block as one of the three kinds."""
    try:
        yield
    except (
        amqp.AuthenticationError,
        amqp.ProbableAuthenticationError,
        wire.ChannelAccessRefused,
        wire.ConnectionNotAllowed,
    ) as error:
        raise AccessRefused(_words(error)) from error
    except amqp.ChannelNotFoundEntity as error:
        raise QueueGone(_words(error)) from error
    except amqp.DeliveryError as error:
        if error.message is not None:
            raise QueueGone("the broker has no such queue") from error
        raise ConnectionBroken("the broker did not take an event: its queue is full") from error
    except (amqp.AMQPError, TimeoutError, OSError, RuntimeError) as error:
        raise ConnectionBroken(_words(error)) from error


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
