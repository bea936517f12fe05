"""The broker that the settings name, with all that runs beside it: the one place that knows both.

What only RabbitMQ needs is imported only then: it comes with an extra of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ewms_mqs.background import through_outages
from ewms_mqs.brokers import Broker
from ewms_mqs.brokers.postgres import PostgresBroker
from ewms_mqs.brokers.postgres_leases import LeaseKeeper
from ewms_mqs.config import MqsSettings
from ewms_mqs.model import QueueNo
from ewms_postgres.database import Database
from ewms_postgres.leadership import run_elected

__all__ = ["RunningBroker", "open_broker"]


@dataclass(frozen=True)
class RunningBroker:
    """A broker; `loops` are to be run beside it. `address`: where it is, if that is elsewhere."""

    broker: Broker
    loops: Sequence[Callable[[], Coroutine[Any, Any, None]]]
    address: str = ""
    is_tls: bool = False


@asynccontextmanager
async def open_broker(
    database: Database,
    url: str,
    settings: MqsSettings,
    *,
    on_ready: Callable[[QueueNo], None],
    on_suspicion: Callable[[QueueNo], None],
) -> AsyncIterator[RunningBroker]:
    """The broker, for as long as the block runs.

    Parameters
    ----------
    url
        Of the database's server itself, for elections.
    on_ready
        Called after a commit that lets events of a queue wait.
    on_suspicion
        Called when a closed queue may have become drained.
    """
    if settings.broker == "rabbitmq":
        async with _rabbitmq(database, url, settings, on_suspicion) as running:
            yield running
        return
    broker = PostgresBroker(database, settings, on_ready=on_ready, on_suspicion=on_suspicion)
    keeper = LeaseKeeper(database, settings, on_ready=on_ready, on_suspicion=on_suspicion)
    async with keeper:
        yield RunningBroker(broker, [keeper.run])


@asynccontextmanager
async def _rabbitmq(
    database: Database,
    url: str,
    settings: MqsSettings,
    on_suspicion: Callable[[QueueNo], None],
) -> AsyncIterator[RunningBroker]:
    from ewms_amqp.address import AmqpAddress
    from ewms_mqs.brokers.rabbitmq import RabbitBroker
    from ewms_mqs.brokers.rabbitmq_letters import DeadLetters
    from ewms_mqs.brokers.rabbitmq_management import open_management
    from ewms_mqs.brokers.rabbitmq_upkeep import Upkeep
    from ewms_mqs.rabbitmq_settings import password_of, public_address, tls_context

    password = password_of(settings)
    host, _, port = settings.rabbitmq_address.rpartition(":")
    own = AmqpAddress(
        host.strip("[]"), int(port), settings.rabbitmq_vhost, settings.rabbitmq_user,
        settings.rabbitmq_tls,
    )  # fmt: skip
    tls = tls_context(settings)
    async with open_management(
        settings.rabbitmq_management, settings.rabbitmq_vhost, settings.rabbitmq_user, password, tls
    ) as management:
        address = public_address(settings)
        letters = DeadLetters(database, own, password, settings.max_deliveries, tls)
        broker = RabbitBroker(database, management, settings, address, on_returned=letters.wake)
        upkeep = Upkeep(database, management, settings, on_suspicion=on_suspicion)

        async def sampling() -> None:
            await run_elected(url, "samples of RabbitMQ", upkeep.sample_for_ever)

        async def returning() -> None:
            await run_elected(url, "returns to RabbitMQ", letters.return_for_ever)

        async def chores() -> None:
            await through_outages("rabbitmq chores", upkeep.chores_for_ever)

        async def copying() -> None:
            await through_outages("rabbitmq dead letters", letters.copy_for_ever)

        loops = [sampling, returning, chores, copying]
        yield RunningBroker(broker, loops, address, settings.rabbitmq_tls)
