"""Errors: what goes over the wire, how much of it at most, and what a client makes of it."""

from __future__ import annotations

from datetime import timedelta

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from ewms_rpc.errors import (
    DETAILS_KEY,
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    PreconditionViolation,
    ResourceExhausted,
    Unavailable,
    Unclassified,
    from_rpc_error,
)

# What gRPC's trailers hold in all, less what other keys and HTTP/2 itself need.
TRAILER_BYTES = 7 * 1024


class Failed(grpc.RpcError):
    """A failed call as grpc and grpc.aio present it."""

    def __init__(self, code, details, trailers=()):
        self._answer = code, details, trailers

    def code(self):
        return self._answer[0]

    def details(self):
        return self._answer[1]

    def trailing_metadata(self):
        return self._answer[2]


texts = st.text(max_size=2_000)


def violations(kind, fields):
    return st.lists(st.builds(kind, *[texts] * fields), max_size=60)


@given(
    st.one_of(
        st.builds(InvalidArgument, violations(FieldViolation, 2)),
        st.builds(FailedPrecondition, violations(PreconditionViolation, 3)),
        st.builds(NotFound, texts, texts),
        st.builds(AlreadyExists, texts, texts, texts),
        st.builds(ResourceExhausted, texts, texts, st.none() | st.just(timedelta(seconds=1))),
        st.builds(Unavailable, texts),
    )
)
def test_whatever_is_in_an_error_fits_the_trailers(error):
    status = error.to_status()
    in_base64 = len(status.SerializeToString()) * 4 / 3
    percent_encoded = 3 * len(status.message.encode())

    assert status.ByteSize() <= 4096
    assert in_base64 + percent_encoded <= TRAILER_BYTES


def test_a_lone_surrogate_in_a_text_does_not_break_the_answer():
    assert NotFound("file", "\udcff").to_status().message == "there is no file ?"


def test_the_rest_of_the_violations_is_counted():
    error = InvalidArgument([FieldViolation(f"f[{n}]", "x" * 50) for n in range(500)])
    (detail,) = error.to_status().details
    bad_request = error_details_pb2.BadRequest()
    assert detail.Unpack(bad_request)

    *listed, rest = bad_request.field_violations
    assert rest.description == f"and {500 - len(listed)} more"
    assert error.message == f"f[0]: {'x' * 50} (and 499 more)"


def test_a_fault_of_ours_carries_its_id_and_nothing_else():
    status = Internal("c0ffee").to_status()
    (detail,) = status.details
    info = error_details_pb2.ErrorInfo()
    assert detail.Unpack(info)
    assert dict(info.metadata) == {"correlation_id": "c0ffee"}


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.value[0] != 0])
@pytest.mark.parametrize("trailers", [None, (), ((DETAILS_KEY, b"\xff\xff"),)])
def test_code_and_message_are_there_without_details(code, trailers):
    error = from_rpc_error(Failed(code, "words", trailers))

    assert error.code is code
    assert error.message == "words"


def test_details_of_another_server_are_read_past():
    status = status_pb2.Status(code=14, message="away")
    status.details.add(type_url="type.googleapis.com/some.Thing", value=b"\x01")
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromTimedelta(timedelta(seconds=3))
    status.details.add().Pack(retry)

    error = from_rpc_error(
        Failed(grpc.StatusCode.UNAVAILABLE, "away", ((DETAILS_KEY, status.SerializeToString()),))
    )

    assert isinstance(error, Unavailable)
    assert error.retry_after == timedelta(seconds=3)


def test_a_code_without_a_type_of_its_own_stays_what_it_is():
    error = from_rpc_error(Failed(grpc.StatusCode.DEADLINE_EXCEEDED, None))

    assert isinstance(error, Unclassified)
    assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error.message == ""
