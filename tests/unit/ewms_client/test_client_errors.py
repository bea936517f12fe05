"""The client's errors for what a call ended with."""

from __future__ import annotations

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from ewms_client.errors import Internal, RpcError, Unavailable, typed


def failure(code: grpc.StatusCode, details: str) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), details)


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (grpc.StatusCode.CANCELLED, "the server goes away", Unavailable),
        # What grpc.aio says where a stream ends that is just being written to.
        (grpc.StatusCode.INTERNAL, "Internal error from Core", Unavailable),
        (grpc.StatusCode.INTERNAL, "correlation id 1", Internal),
    ],
)
def test_what_breaks_on_the_way_may_be_tried_again(
    code: grpc.StatusCode, details: str, kind: type[RpcError]
) -> None:
    assert type(typed(failure(code, details))) is kind
