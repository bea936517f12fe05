"""An MQS on a real RabbitMQ, with a workflow whose queues are granted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from mqs_under_test import MqsUnderTest, StartMqs
from rabbitmq_node import RabbitNode


@pytest.fixture
async def start_mqs(
    database_url: str, rabbitmq_node: RabbitNode, rabbitmq_vhost: str
) -> AsyncIterator[StartMqs]:
    """Starts an MQS with settings, and grants it a workflow with the queues `in` and `out`."""
    async with AsyncExitStack() as stack:

        async def start(**settings: object) -> MqsUnderTest:
            broker = rabbitmq_node.settings(rabbitmq_vhost)
            mqs = MqsUnderTest(database_url, broker, **settings)
            stack.push_async_callback(mqs.end)
            await mqs.start()
            await mqs.grant("in", "out")
            return mqs

        yield start


@pytest.fixture
async def mqs(start_mqs: StartMqs) -> MqsUnderTest:
    """An MQS that counts a queue as quiet after four seconds."""
    return await start_mqs()
