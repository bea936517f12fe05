"""From the MQS's values to the messages of the contract. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ewms.mqs.v1 import event_service_pb2 as events_pb
from ewms.mqs.v1 import mqs_service_pb2 as mqs_pb
from ewms_mqs.consumer import Parcel
from ewms_mqs.model import Counts, DeadLetter, DeliveryId, QueueState, Refusal, Settlement
from ewms_mqs.tokens import Token

__all__ = [
    "BrokerAddress",
    "Profiles",
    "dead_letter_message",
    "parcel_message",
    "settlement_of",
    "stats_message",
]

_SHOWN_BYTES = 64 * 1024


def parcel_message(parcel: Parcel) -> events_pb.ConsumeResponse:
    """What goes to a consumer."""
    response = events_pb.ConsumeResponse(settled=parcel.settled, lost=parcel.lost)
    for delivery in parcel.deliveries:
        message = response.deliveries.add(
            delivery_id=delivery.delivery_id,
            event=delivery.event,
            n_deliveries=delivery.n_deliveries,
        )
        message.publish_time.FromDatetime(delivery.publish_time)
    return response


def settlement_of(
    request: events_pb.ConsumeRequest | events_pb.SettleDeliveriesRequest, *, is_elsewhere: bool
) -> Settlement:
    """What a consumer says of its deliveries."""
    return Settlement(
        [DeliveryId(i) for i in request.ack],
        [Refusal(DeliveryId(n.delivery_id), n.requeue, n.reason) for n in request.nack],
        [DeliveryId(i) for i in request.extend],
        is_elsewhere,
    )


@dataclass
class BrokerAddress:
    """Where clients find the broker; known once the server listens, before it is told to anyone."""

    text: str = ""
    is_tls: bool = False


class Profiles:
    """Makes queue profiles; the broker is the same in all of them."""

    def __init__(self, broker_type: str, broker_address: BrokerAddress) -> None:
        self._broker_type = broker_type
        self._broker_address = broker_address

    def message(self, state: QueueState, token: Token | None = None) -> mqs_pb.QueueProfile:
        """A queue's profile, with its token if one is given."""
        queue = state.queue
        profile = mqs_pb.QueueProfile(
            mqid=queue.mqid,
            workflow_id=queue.workflow_id,
            alias=queue.alias,
            is_public=queue.is_public,
            is_activated=True,
            is_closed=state.is_closed,
            is_drained=state.is_drained,
            broker_type=self._broker_type,
            broker_address=self._broker_address.text,
            broker_tls=self._broker_address.is_tls,
        )
        if token is not None:
            profile.auth_token = token.text
            profile.token_expire_time.FromSeconds(int(token.expire_time))
        return profile

    def messages(self, states: Sequence[QueueState]) -> list[mqs_pb.QueueProfile]:
        """The profiles of several queues, without tokens."""
        return [self.message(state) for state in states]


def stats_message(
    state: QueueState,
    counts: Counts | None = None,
    *,
    n_consumers: int = 0,
    publish_rate: float = 0.0,
    ack_rate: float = 0.0,
) -> mqs_pb.QueueStats:
    """A queue's counts; without them, its state and its dead letters alone."""
    dead = state.n_dead if counts is None else counts.dead
    counts = counts or Counts()
    queue = state.queue
    return mqs_pb.QueueStats(
        mqid=queue.mqid,
        workflow_id=queue.workflow_id,
        alias=queue.alias,
        depth=counts.depth,
        in_flight=counts.in_flight,
        done=counts.done,
        dead=dead,
        published=counts.published,
        publish_rate=publish_rate,
        ack_rate=ack_rate,
        is_closed=state.is_closed,
        is_drained=state.is_drained,
        n_consumers=n_consumers,
    )


def dead_letter_message(letter: DeadLetter) -> mqs_pb.DeadLetter:
    """A dead letter with its headers and the beginning of its payload."""
    message = mqs_pb.DeadLetter(
        dead_letter_id=letter.dead_letter_id,
        event_id=letter.event.event_id,
        n_deliveries=letter.n_deliveries,
        reason=letter.reason,
        size=len(letter.event.payload),
        payload=letter.event.payload[:_SHOWN_BYTES],
        headers=letter.event.headers,
    )
    message.dead_time.FromDatetime(letter.dead_time)
    return message
