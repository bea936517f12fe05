"""A consumer whose process dies: its leases run on, so that nobody works on its event at once."""

from __future__ import annotations

import asyncio
import sys

from mqs_client import Client

_CONSUMER = """
import sys, time
import grpc
from ewms.mqs.v1 import event_service_pb2 as ev
from ewms.mqs.v1.event_service_pb2_grpc import EventServiceStub
address, mqid, token = sys.argv[1:]
def requests():
    yield ev.ConsumeRequest(mqid=mqid, credit=2)
    time.sleep(3600)
stub = EventServiceStub(grpc.insecure_channel(address))
metadata = (("authorization", "Bearer " + token),)
for response in stub.Consume(requests(), metadata=metadata):
    for delivery in response.deliveries:
        print(delivery.delivery_id, flush=True)
"""


async def test_a_killed_consumer_keeps_its_lease_until_it_runs_out(client: Client) -> None:
    queue = await client.queue()
    await client.publish(queue, b"worked on")
    assert client.running is not None
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _CONSUMER,
        client.running.address,
        queue.mqid,
        queue.auth_token,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline()
    process.kill()
    await process.wait()
    # Each call gives the server a turn, in which it learns that the connection is gone.
    while (await client.stats(queue)).n_consumers:
        continue
    assert (await client.stats(queue)).in_flight == 1
    (again,) = await (await client.consume(queue, credit=1)).take(1)
    assert again.n_deliveries == 2
