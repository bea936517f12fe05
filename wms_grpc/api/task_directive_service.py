"""TaskDirectiveService: reads task directives and adds workers to them."""

from __future__ import annotations

from dataclasses import dataclass

from ewms.wms.v1 import task_directive_service_pb2 as pb
from ewms_rpc.context import CallContext
from wms_grpc.api import listing
from wms_grpc.api.requests import request_key
from wms_grpc.domain.errors import InvalidSubmission, Violation
from wms_grpc.domain.submission import ClusterLocations
from wms_grpc.storage import messages, steering
from wms_grpc.storage.store import Store

__all__ = ["TaskDirectiveService"]


@dataclass(frozen=True, slots=True)
class TaskDirectiveService:
    """The servicer."""

    store: Store
    locations: ClusterLocations

    async def GetTaskDirective(
        self, request: pb.GetTaskDirectiveRequest, context: CallContext
    ) -> pb.GetTaskDirectiveResponse:
        return await listing.get_task_directive(self.store, request)

    async def ListTaskDirectives(
        self, request: pb.ListTaskDirectivesRequest, context: CallContext
    ) -> pb.ListTaskDirectivesResponse:
        return await listing.list_task_directives(self.store, request)

    async def AddWorkers(
        self, request: pb.AddWorkersRequest, context: CallContext
    ) -> pb.AddWorkersResponse:
        location = self.locations.find(request.cluster_location)
        if location is None:
            known = ", ".join(self.locations.names)
            raise InvalidSubmission(
                [
                    Violation(
                        "cluster_location",
                        f"{request.cluster_location!r} is no cluster location; known are {known}",
                    )
                ]
            )
        taskforce = await steering.add_workers(
            self.store, request.task_id, location, request.n_workers, request_key(request, context)
        )
        return pb.AddWorkersResponse(taskforce=messages.taskforce_message(taskforce))
