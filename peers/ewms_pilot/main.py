"""Entry point of a worker: environment in, exit code out.

| exit code | meaning |
| --- | --- |
| 0 | every incoming queue is drained, or nothing came for the time that is set |
| 1 | FatalError: init failed, a queue refuses this worker, it stopped after a task's error |
| 2 | the environment is wrong |
| 143 | SIGTERM: the tasks are killed and the events given back, within 5 s |

143 and not 0 after SIGTERM, since the work is not done: a worker that is being removed is not
looked at any more, and one that something else stopped is started again by the pool, which takes
codes from 128 on for an interruption. The spawner is forked here before anything else is loaded.

The only arguments are `--help` and `--version`, by which somebody sees whether a worker can run it.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import PackageNotFoundError, version

from ewms_pilot.environment import read_config, take_env_file
from ewms_pilot.errors import ConfigurationError
from ewms_pilot.one_file import settle_in
from ewms_pilot.spawner import fork_spawner

__all__ = ["main"]

_LOG = logging.getLogger(__name__)
_EXIT_CONFIGURATION = 2
_HELP = """usage: ewms-pilot [--help | --version]

Runs a worker of EWMS: takes events, runs the task for each, publishes the results.
Everything comes from the environment: EWMS_PILOT_..., or the JSON file EWMS_PILOT_ENV_FILE.
"""


def main() -> None:
    """Run the pilot of this process's environment; never returns."""
    settle_in()
    if sys.argv[1:]:
        sys.exit(_answer(sys.argv[1:]))
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        config = read_config(take_env_file(os.environ))
    except ConfigurationError as error:
        _LOG.error("%s", error)
        sys.exit(_EXIT_CONFIGURATION)
    spawner = fork_spawner()
    # Only now: gRPC has threads, which the spawner must not inherit.
    from ewms_pilot.pilot import run_pilot

    sys.exit(run_pilot(config, spawner))


def _answer(arguments: list[str]) -> int:
    match arguments:
        case ["--version"]:
            sys.stdout.write(f"ewms-pilot {_version()}\n")
        case ["--help" | "-h"]:
            sys.stdout.write(_HELP)
        case _:
            sys.stderr.write(_HELP)
            return _EXIT_CONFIGURATION
    return 0


def _version() -> str:
    try:
        return version("ewms-grpc")
    except PackageNotFoundError:
        return "of unknown version"


if __name__ == "__main__":
    main()
