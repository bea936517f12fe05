"""Speaking AMQP to RabbitMQ as EWMS does: body format, connections with tokens, events in and out.

Light, since the pilot brings it to workers: nothing but aio-pika and zstandard beside the standard
library. The extra `rabbitmq` installs both.
"""
