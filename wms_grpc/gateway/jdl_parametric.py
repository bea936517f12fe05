"""Parametric jobs: one description, and a value for each job of it.

`Parameters` is a list of values, or a number. A number is read as how many jobs there are, starting
at `ParameterStart` with steps of `ParameterStep`. gLite's manuals take it for the first value that
is not reached any more; where that gives other jobs, a finding says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from wms_grpc.gateway.jdl_quoting import quoted_text
from wms_grpc.gateway.jdl_said import Report, Said, Sayings
from wms_grpc.gateway.jdl_syntax import List, Path

__all__ = ["expanded"]

_OWN: Final = ("parameters", "parameterstart", "parameterstep", "jobtype")
MAX_JOBS: Final = 100_000
"""Fewer than nodes that are written out: here a line of text asks for all of them."""
_MAX_CHARACTERS: Final = 256 * 1024 * 1024


def expanded(job: Sayings, report: Report) -> Iterator[tuple[str, Sayings]]:
    """Yield a name and the attributes of each job. Raises Refused."""
    parameters = job.get("parameters")
    if parameters is None:
        said = job["jobtype"]
        raise said.refused("NO_PARAMETERS", "a parametric job needs Parameters", said.start)
    if isinstance(parameters.value, List):
        values: Sequence[str] = _listed(parameters)
        for name in ("parameterstart", "parameterstep"):
            if name in job:
                message = f"{job[name].name} says nothing beside a list of values"
                report.note(job[name], "UNUSED", message, "info")
    else:
        values = _counted(job, report)
    rest = {name: said for name, said in job.items() if name not in _OWN} | _other_types(job)
    size = sum(said.value.end - said.value.start for said in rest.values())
    if len(values) > MAX_JOBS or len(values) * size > _MAX_CHARACTERS:
        raise parameters.refused("TOO_LARGE", f"{len(values)} jobs are too many")
    for value, name in zip(values, _names(values), strict=True):
        yield name, {word: said.with_parameter(value) for word, said in rest.items()}


def _other_types(job: Sayings) -> dict[str, Said]:
    """Return what the job is besides being parametric."""
    said = job["jobtype"]
    others = [item for item in said.items() if said.text_of(item).lower() != "parametric"]
    if not others:
        return {}
    written = ", ".join(quoted_text(said.text_of(item)) for item in others)
    value = List(said.value.start, said.value.end, others)
    return {"jobtype": replace(said, value=value, filled=f"{{ {written} }}")}


def _names(values: Sequence[str]) -> list[str]:
    """Name the jobs after their values; where a value comes again, after its number, too."""
    names: dict[str, None] = {}
    for number, value in enumerate(values):
        name = f"Node_{value}"
        if name in names:
            name = f"Node_{value}_{number}"
        while name in names:
            name += "_"
        names[name] = None
    return list(names)


def _listed(parameters: Said) -> list[str]:
    values: list[str] = []
    for item in parameters.items():
        if isinstance(item, Path) and len(item.parts) == 1:
            values.append(str(item.parts[0]))
        else:
            values.append(parameters.text_of(item))
    if not values:
        raise parameters.refused("NO_PARAMETERS", "a parametric job needs a value at least")
    return values


def _counted(job: Sayings, report: Report) -> Sequence[str]:
    parameters = job["parameters"]
    count = parameters.integer()
    start = job["parameterstart"].integer() if "parameterstart" in job else 0
    step = job["parameterstep"].integer() if "parameterstep" in job else 1
    if not 0 < count <= MAX_JOBS:
        raise parameters.refused("OUT_OF_RANGE", f"Parameters must be from 1 to {MAX_JOBS}")
    if step == 0:
        said = job["parameterstep"]
        raise said.refused("OUT_OF_RANGE", "ParameterStep must not be 0")
    n_below = len(range(start, count, step))
    if n_below != count:
        message = (
            f"read as {count} jobs, {start} to {start + (count - 1) * step}; to gLite it is a bound"
            f" that is not reached, and gives {n_below}"
        )
        report.note(parameters, "AMBIGUOUS_PARAMETERS", message)
    return [str(start + number * step) for number in range(count)]
