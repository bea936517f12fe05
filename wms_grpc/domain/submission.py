"""A workflow as its user asks for it, before it is translated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wms_grpc.domain.model import PilotConfig, WorkerConfig
from wms_grpc.domain.tasks import Recovery, Work

__all__ = ["ClusterLocation", "ClusterLocations", "Submission", "TaskSpec"]


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task of a submission. `work` is None for a container task."""

    name: str
    cluster_locations: tuple[str, ...]
    input_aliases: tuple[str, ...]
    output_aliases: tuple[str, ...]
    task_image: str
    task_args: str
    task_env: Mapping[str, str]
    init_image: str
    init_args: str
    init_env: Mapping[str, str]
    n_workers: int
    worker_config: WorkerConfig
    pilot_config: PilotConfig
    depends_on: tuple[str, ...] = ()
    recovery: Recovery | None = None
    work: Work | None = None

    @property
    def is_container(self) -> bool:
        """Whether pilots run it on the events of its queues."""
        return self.work is None


@dataclass(frozen=True, slots=True)
class Submission:
    """A workflow that is asked for. `priority` has its default filled in."""

    owner: str
    name: str
    labels: Mapping[str, str]
    priority: int
    public_aliases: tuple[str, ...]
    tasks: tuple[TaskSpec, ...]

    @property
    def has_net(self) -> bool:
        """Whether its tasks are ordered, or some of them are no containers."""
        return any(spec.depends_on or spec.recovery or not spec.is_container for spec in self.tasks)


@dataclass(frozen=True, slots=True)
class ClusterLocation:
    """A place where workers run: its name, its schedd, its other names.

    `max_idle_workers` bounds how many workers wait there at a time.
    """

    name: str
    schedd: str
    aliases: tuple[str, ...] = ()
    max_idle_workers: int = 10_000


class ClusterLocations:
    """The operator's cluster locations, by name and alias."""

    def __init__(self, locations: Iterable[ClusterLocation]) -> None:
        self.all = tuple(locations)
        self._by_name = {
            name: location for location in self.all for name in (location.name, *location.aliases)
        }
        n_names = sum(1 + len(location.aliases) for location in self.all)
        if len(self._by_name) != n_names:
            raise ValueError("two cluster locations share a name or an alias")

    def find(self, name: str) -> ClusterLocation | None:
        """Return the location of that name or alias."""
        return self._by_name.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name and alias, sorted."""
        return tuple(sorted(self._by_name))

    @property
    def schedds(self) -> frozenset[str]:
        """Every schedd."""
        return frozenset(location.schedd for location in self.all)
