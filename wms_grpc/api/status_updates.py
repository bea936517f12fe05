"""ReportStatuses' messages to the storage's reports and back: the hot path, so in one pass each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ewms.wms.v1 import tms_service_pb2 as pb
from wms_grpc.storage.statuses import StatusReport, StatusResult

__all__ = ["results_message", "status_report"]

_MOST_ERRORS: Final = 10
_RESULTS: Final = {
    name.removeprefix("STATUS_UPDATE_RESULT_"): value
    for name, value in pb.StatusUpdateResult.items()
}


def status_report(update: pb.StatusUpdate) -> StatusReport | None:
    """Return the report, None for one that is bad in itself."""
    if not update.taskforce_uuid or update.sequence <= 0:
        return None
    statuses: dict[str, dict[str, int]] = {}
    compound = update.compound_statuses
    # By subscript: the views and the dict() of a map field cost twice as much.
    for status in compound:
        counts = compound[status].counts
        statuses[status] = {pilot: counts[pilot] for pilot in counts}
    given = update.top_task_errors
    errors = {words: given[words] for words in given}
    if not _are_counts(errors) or not all(map(_are_counts, statuses.values())):
        return None
    # The database holds no NUL in a text, and would refuse the whole batch.
    if "\0" in "".join(statuses):
        return None
    if len(errors) > _MOST_ERRORS:
        by_count = sorted(errors.items(), key=lambda error: (-error[1], error[0]))
        errors = dict(by_count[:_MOST_ERRORS])
    return StatusReport(
        update.taskforce_uuid, update.cluster_id, update.sequence, statuses, errors, compound
    )


def results_message(
    reports: Sequence[StatusReport | None], results: Iterable[StatusResult]
) -> pb.ReportStatusesResponse:
    """Return a result for each update; those of the sound ones are `results`, in their order."""
    known = iter(results)
    return pb.ReportStatusesResponse(
        results=[
            pb.STATUS_UPDATE_RESULT_INVALID if report is None else _RESULTS[next(known)]
            for report in reports
        ]
    )


def _are_counts(counts: dict[str, int]) -> bool:
    # Joined and compared as a whole: a loop over the items takes three times as long.
    return min(counts.values(), default=0) >= 0 and "\0" not in "".join(counts)
