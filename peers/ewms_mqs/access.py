"""Who may use a queue: the bearer of its token, and for a fresh token the pilots of its taskforce.

Guarantees that no call reaches a queue without a token that is good for it, on whatever address
the service listens.
"""

from __future__ import annotations

from ewms_mqs.brokers import Broker
from ewms_mqs.credentials import PREFIX, Credentials
from ewms_mqs.errors import EventsElsewhere, TokenRefused
from ewms_mqs.messages import BrokerAddress
from ewms_mqs.model import Mqid, Queue
from ewms_mqs.register import Register
from ewms_mqs.tokens import Tokens
from ewms_rpc.identity import Metadata

__all__ = ["Access"]

_SCHEME = "bearer "


class Access:
    """Decides on each call to EventService."""

    def __init__(
        self,
        register: Register,
        tokens: Tokens,
        credentials: Credentials,
        broker: Broker,
        broker_address: BrokerAddress,
    ) -> None:
        self._register = register
        self._tokens = tokens
        self._credentials = credentials
        self._broker = broker
        self._broker_address = broker_address

    async def queue(self, metadata: Metadata, mqid: Mqid) -> Queue:
        """The queue, for the bearer of its token.

        Raises TokenRefused, OtherQueue, QueueNotFound; EventsElsewhere when the queue's events
        are kept by another broker, which the client speaks to itself.
        """
        await self._tokens.require(_bearer(metadata), mqid)
        queue = await self._register.queue(mqid)
        if not self._broker.capabilities.serves_events:
            raise EventsElsewhere(queue, self._broker.type, self._broker_address.text)
        return queue

    async def queue_to_renew(self, metadata: Metadata, mqid: Mqid) -> Queue:
        """The queue, for the bearer of its token or of a pilot's credential; raises as `queue`."""
        bearer = _bearer(metadata)
        if not bearer.startswith(PREFIX):
            await self._tokens.require(bearer, mqid)
            return await self._register.queue(mqid)
        # Whether there is such a queue is told only to who holds a credential at all.
        self._credentials.require_ours(bearer)
        queue = await self._register.queue(mqid)
        await self._credentials.require(bearer, queue)
        return queue


def _bearer(metadata: Metadata) -> str:
    for key, value in metadata:
        if key == "authorization":
            text = value if isinstance(value, str) else value.decode(errors="replace")
            if text[: len(_SCHEME)].lower() == _SCHEME:
                return text[len(_SCHEME) :].strip()
            raise TokenRefused("the metadata's authorization must be `Bearer TOKEN`")
    raise TokenRefused("the call needs `authorization: Bearer TOKEN` in its metadata")
