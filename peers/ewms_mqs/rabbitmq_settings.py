"""What the settings of RabbitMQ mean: its address for clients, its password, whom to trust."""

from __future__ import annotations

import ssl

from ewms_amqp.address import AmqpAddress
from ewms_mqs.config import MqsSettings

__all__ = ["password_of", "public_address", "tls_context"]

# Whoever shows a token is who the token says; RabbitMQ only wants a name there.
_CLIENT = "ewms"


def public_address(settings: MqsSettings) -> str:
    """`user@host:port[/vhost]`, as clients of the field take it."""
    host, _, port = (settings.rabbitmq_advertise or settings.rabbitmq_address).rpartition(":")
    return str(AmqpAddress(host.strip("[]"), int(port), settings.rabbitmq_vhost, _CLIENT))


def password_of(settings: MqsSettings) -> str:
    """The MQS's own password. Raises OSError when its file cannot be read."""
    if settings.rabbitmq_password_file is not None:
        return settings.rabbitmq_password_file.read_text().strip()
    return settings.rabbitmq_password.get_secret_value()


def tls_context(settings: MqsSettings) -> ssl.SSLContext | None:
    """Whom to trust; None for those that everybody trusts. Raises OSError."""
    if settings.rabbitmq_ca is None:
        return None
    return ssl.create_default_context(cafile=str(settings.rabbitmq_ca))
