"""TaskforceService: reads and watches taskforces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from ewms.wms.v1 import taskforce_service_pb2 as pb
from ewms_rpc.context import CallContext
from wms_grpc.api import listing, watch_feed
from wms_grpc.engine.feed import Feed
from wms_grpc.storage.store import Store

__all__ = ["TaskforceService"]


@dataclass(frozen=True, slots=True)
class TaskforceService:
    """The servicer."""

    store: Store
    feed: Feed

    async def GetTaskforce(
        self, request: pb.GetTaskforceRequest, context: CallContext
    ) -> pb.GetTaskforceResponse:
        return await listing.get_taskforce(self.store, request)

    async def ListTaskforces(
        self, request: pb.ListTaskforcesRequest, context: CallContext
    ) -> pb.ListTaskforcesResponse:
        return await listing.list_taskforces(self.store, request)

    def WatchTaskforces(
        self, request: pb.WatchTaskforcesRequest, context: CallContext
    ) -> AsyncIterator[bytes]:
        return watch_feed.watch_taskforces(self.feed, self.store, request)
