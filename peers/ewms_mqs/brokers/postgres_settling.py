"""Delivery ids, and settlements as the arrays that one statement takes. Pure.

A delivery id names the event and the claim, so that one of an earlier claim settles nothing. Text
that is no id of ours is treated like one that came too late.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any

from ewms_mqs.model import DeliveryId, Settled, Settlement

__all__ = ["arguments_of", "keys_of", "made_id", "outcome_of", "parsed_id"]

_MAX_EVENT_NO = (1 << 63) - 1
_MAX_CLAIM_NO = (1 << 31) - 1
_NO_REASON = "refused by its consumer"


def made_id(event_no: int, claim_no: int) -> DeliveryId:
    """The id of a claim's delivery."""
    return DeliveryId(f"{event_no:x}.{claim_no:x}")


def parsed_id(delivery_id: str) -> tuple[int, int] | None:
    """Event and claim of a delivery id; None when it is none."""
    event_text, dot, claim_text = delivery_id.partition(".")
    try:
        event_no, claim_no = int(event_text, 16), int(claim_text, 16)
    except ValueError:
        return None
    is_ours = 0 < event_no <= _MAX_EVENT_NO and 0 < claim_no <= _MAX_CLAIM_NO
    return (event_no, claim_no) if dot and is_ours else None


def keys_of(delivery_ids: Iterable[DeliveryId]) -> tuple[list[int], list[int]]:
    """The events and the claims of what are ids, in the order of the events, each once.

    In that order, so that two statements never wait for one another's rows in a circle.
    """
    keys = sorted({key for text in delivery_ids if (key := parsed_id(text)) is not None})
    return [event_no for event_no, _ in keys], [claim_no for _, claim_no in keys]


def arguments_of(settlement: Settlement) -> dict[str, list[Any]]:
    """What the statement takes."""
    ack_nos, ack_claims = keys_of(settlement.acks)
    refusals = {
        key: refusal
        for refusal in settlement.refusals
        if (key := parsed_id(refusal.delivery_id)) is not None
    }
    extend_nos, extend_claims = keys_of(settlement.extensions)
    ordered = sorted(refusals)
    return {
        "ack_nos": ack_nos,
        "ack_claims": ack_claims,
        "nack_nos": [event_no for event_no, _ in ordered],
        "nack_claims": [claim_no for _, claim_no in ordered],
        "nack_requeue": [refusals[key].requeue for key in ordered],
        "nack_reasons": [refusals[key].reason or _NO_REASON for key in ordered],
        "extend_nos": extend_nos,
        "extend_claims": extend_claims,
        "extend_held": [settlement.is_elsewhere] * len(extend_nos),
    }


def outcome_of(
    settlement: Settlement, acked: Set[int], refused: Set[int], extended: Set[int]
) -> Settled:
    """Which deliveries are settled, and which came too late.

    Parameters
    ----------
    acked
        Numbers of events that are gone for good, through whichever delivery.
    refused, extended
        Numbers of events of which the settlement named the current delivery.
    """
    outcome = Settled()
    for delivery_id in settlement.acks:
        key = parsed_id(delivery_id)
        is_settled = key is not None and key[0] in acked
        (outcome.settled if is_settled else outcome.lost).append(delivery_id)
    refusals = [refusal.delivery_id for refusal in settlement.refusals]
    for delivery_ids, numbers in ((refusals, refused), (settlement.extensions, extended)):
        # Claims only grow: of two deliveries of one event, only the later can be the current one.
        latest = dict(sorted(key for text in delivery_ids if (key := parsed_id(text))))
        for delivery_id in delivery_ids:
            key = parsed_id(delivery_id)
            is_settled = key is not None and key[0] in numbers and key[1] == latest[key[0]]
            (outcome.settled if is_settled else outcome.lost).append(delivery_id)
    return outcome
