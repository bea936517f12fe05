"""Tokens end and keys change while clients are connected, and nobody notices."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from mqs_under_test import StartMqs
from rabbitmq_node import RabbitNode


def connections(node: RabbitNode, vhost: str) -> set[str]:
    """The names of our consumers' connections."""
    found = node.ask("GET", f"vhosts/{vhost}/connections")
    return {one["name"] for one in found if one.get("user_provided_name") == "test"}


async def test_keys_rotate_and_tokens_are_renewed_on_an_open_connection(
    start_mqs: StartMqs, rabbitmq_node: RabbitNode, rabbitmq_vhost: str
) -> None:
    mqs = await start_mqs(token_life=timedelta(seconds=3), key_rotation=timedelta(seconds=2))
    async with mqs.consume("in") as deliveries:
        for _ in range(100):
            if first := connections(rabbitmq_node, rabbitmq_vhost):
                break
            # The broker shows it with its next statistics.
            await asyncio.sleep(0.1)
        assert len(first) == 1
        number = 0
        while len(mqs.key_ids) < 4:
            await mqs.publish("in", [str(number).encode()])
            delivery = await anext(deliveries)
            assert (delivery.payload, delivery.n_deliveries) == (str(number).encode(), 1)
            await delivery.ack()
            number += 1
        assert connections(rabbitmq_node, rabbitmq_vhost) == first
    assert mqs.n_tokens > 4
