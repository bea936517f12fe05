"""Consumes two events of the queue whose profile it is given, says which, and settles nothing."""

from __future__ import annotations

import asyncio
import json
import sys

from ewms.mqs.v1 import mqs_service_pb2 as pb
from ewms.mqs.v1.event_service_pb2_grpc import EventServiceStub
from ewms.wms.v1 import workflow_service_pb2 as wms_pb
from ewms_client.consumer import Consumer
from ewms_client.queue_access import QueueAccess
from ewms_rpc.channel import open_channel


async def consume_until_killed(profile: pb.QueueProfile) -> None:
    async with open_channel(profile.broker_address) as channel:

        async def look_up() -> wms_pb.PublicQueue:
            return wms_pb.PublicQueue(
                alias=profile.alias,
                mqid=profile.mqid,
                is_activated=True,
                broker_type=profile.broker_type,
                broker_address=profile.broker_address,
                auth_token=profile.auth_token,
            )

        async def find_queue() -> QueueAccess:
            return QueueAccess(await look_up(), look_up, lambda *_: EventServiceStub(channel))

        async with Consumer(
            find_queue, count=None, credit=2, name="doomed", patience=60
        ) as deliveries:
            got = sorted([(await anext(deliveries)).payload.decode() for _ in range(2)])
            sys.stdout.write(f"{json.dumps(got)}\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


asyncio.run(consume_until_killed(pb.QueueProfile.FromString(bytes.fromhex(sys.argv[1]))))
