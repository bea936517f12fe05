"""The exit codes of the client's commands: what a script can tell from them, one table for all."""

from __future__ import annotations

from enum import IntEnum

import grpc

from ewms_client.command_files import UnusablePath
from ewms_client.errors import ClientError, QueueGone, RpcError, WaitTimeout, WorkflowEnded

__all__ = ["ExitCode", "exit_code_of"]


class ExitCode(IntEnum):
    """What became of a command."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    INVALID_ARGUMENT = 4
    FAILED_PRECONDITION = 5
    UNAVAILABLE = 6
    TIMEOUT = 7
    WORKFLOW_FAILED = 8
    NOT_ALLOWED = 9
    INTERRUPTED = 130


_BY_STATUS = {
    grpc.StatusCode.NOT_FOUND: ExitCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT: ExitCode.INVALID_ARGUMENT,
    grpc.StatusCode.OUT_OF_RANGE: ExitCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION: ExitCode.FAILED_PRECONDITION,
    grpc.StatusCode.ALREADY_EXISTS: ExitCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNAVAILABLE: ExitCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ExitCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: ExitCode.TIMEOUT,
    grpc.StatusCode.UNAUTHENTICATED: ExitCode.NOT_ALLOWED,
    grpc.StatusCode.PERMISSION_DENIED: ExitCode.NOT_ALLOWED,
}


def exit_code_of(error: RpcError | ClientError | OSError) -> ExitCode:
    """The code with which a command ends on this error."""
    match error:
        case RpcError():
            return _BY_STATUS.get(error.code, ExitCode.FAILURE)
        case WaitTimeout():
            return ExitCode.TIMEOUT
        case WorkflowEnded() | QueueGone():
            return ExitCode.FAILED_PRECONDITION
        case UnusablePath():
            return ExitCode.USAGE
        case _:
            return ExitCode.FAILURE
