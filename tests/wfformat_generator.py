"""A WfFormat workflow of any size, the same for the same seed.

`python tests/wfformat_generator.py --tasks 1000 --seed 5 > workflow.json`. Layers of tasks, as
real applications have them: each task reads files of some of the layer before, runs for a while
and writes a file or two.
"""

from __future__ import annotations

import argparse
import json
import random
import sys

__all__ = ["generated"]


def generated(n_tasks: int, seed: int) -> bytes:
    """Return a file of version 1.5."""
    chance = random.Random(seed)
    specification: list[dict[str, object]] = []
    execution: list[dict[str, object]] = []
    files: list[dict[str, object]] = [{"id": "input.dat", "sizeInBytes": 1_000_000}]
    before: list[str] = []
    children: dict[str, list[str]] = {}
    outputs: dict[str, list[str]] = {}
    while len(specification) < n_tasks:
        layer: list[str] = []
        for _ in range(min(chance.randint(1, max(2, n_tasks // 10)), n_tasks - len(specification))):
            task = (
                f"{chance.choice(['split', 'map', 'merge', 'plot'])}_{len(specification) + 1:06d}"
            )
            parents = sorted(chance.sample(before, min(len(before), chance.randint(1, 3))))
            for parent in parents:
                children[parent].append(task)
            outputs[task] = [f"{task}.out{n}" for n in range(chance.randint(1, 2))]
            children[task] = []
            layer.append(task)
            specification.append(_task(task, parents, children[task], outputs))
            execution.append(_execution(task, chance))
            files.extend(
                {"id": f, "sizeInBytes": chance.randint(0, 10_000_000)} for f in outputs[task]
            )
        before = layer
    return _file(n_tasks, seed, specification, files, execution)


def _task(
    task: str, parents: list[str], children: list[str], outputs: dict[str, list[str]]
) -> dict[str, object]:
    return {
        "name": task.partition("_")[0],
        "id": task,
        "parents": parents,
        "children": children,
        "inputFiles": [outputs[parent][0] for parent in parents] or ["input.dat"],
        "outputFiles": outputs[task],
    }


def _execution(task: str, chance: random.Random) -> dict[str, object]:
    return {
        "id": task,
        "runtimeInSeconds": round(chance.lognormvariate(2, 1), 3),
        "command": {"program": task.partition("_")[0], "arguments": [task]},
        "coreCount": chance.choice([1, 1, 2, 4]),
    }


def _file(
    n_tasks: int,
    seed: int,
    specification: list[dict[str, object]],
    files: list[dict[str, object]],
    execution: list[dict[str, object]],
) -> bytes:
    document = {
        "name": f"generated-{n_tasks}-{seed}",
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {"tasks": specification, "files": files},
            "execution": {
                "makespanInSeconds": 0,
                "executedAt": "2026-01-01T00:00:00Z",
                "tasks": execution,
            },
        },
    }
    return json.dumps(document, indent=1).encode()


def main() -> None:
    """Write one to the standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    sys.stdout.buffer.write(generated(given.tasks, given.seed))


if __name__ == "__main__":
    main()
