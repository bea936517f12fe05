"""How a command is run on this worker: its argument list and environment, for each runner.

Nothing here starts anything; it looks at images, once each. Placeholders are replaced after the
arguments were split, so a path with blanks stays one argument, and no shell ever sees them. In a
container the task's folder and the data hub are mounted under `/ewms-pilot-data`; a plain process
sees them where they are.

A container of Docker belongs to its daemon and not to the pilot: it is stopped through the
client, which passes SIGTERM on, but a SIGKILL of the pilot leaves it to `docker run --rm` and the
task's own end. Apptainer's processes are the pilot's and die with it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from ewms_pilot.environment import Command, RunnerKind
from ewms_pilot.errors import ConfigurationError

__all__ = ["Folders", "Image", "Invocation", "Runner", "inherited_environment"]

_RUNSCRIPT = ".singularity.d/runscript"
_NO_RUNSCRIPT = "There is no runscript defined"
_IN_CONTAINER = PurePosixPath("/ewms-pilot-data")


@dataclass(frozen=True, slots=True)
class Invocation:
    """What to execute: arguments (the first one is the program) and the whole environment."""

    argv: list[str]
    env: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a command finds its files, on the worker. The init command has no files."""

    data_hub: Path
    task: Path
    infile: str = ""
    outfile: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is ready. `entry`: by its own entry point, or by the arguments alone."""

    name: str
    entry: Literal["run", "exec"] = "run"


@dataclass(frozen=True, slots=True)
class Runner:
    """Builds invocations of one kind.

    Parameters
    ----------
    kind
        `apptainer`, `docker` or `process`.
    program
        Path of apptainer or docker; not used for processes.
    inherited
        The environment that a plain process, or the container's own client, inherits.
    """

    kind: RunnerKind
    program: str
    inherited: Mapping[str, str] = field(repr=False)

    @classmethod
    def find(cls, kind: RunnerKind, inherited: Mapping[str, str]) -> Runner:
        """The runner, with its program looked up. Raises ConfigurationError without it."""
        if kind == "process":
            return cls(kind, "", inherited)
        program = shutil.which(kind, path=inherited.get("PATH"))
        if program is None:
            raise ConfigurationError("EWMS_PILOT_RUNNER", f"{kind} is not on this worker's PATH")
        return cls(kind, program, inherited)

    def prepare(self, image: str, to: Path) -> tuple[str, Invocation | None]:
        """The image to use, and the command that must be run once before it can be.

        An image that is no folder is unpacked for Apptainer, below `to`: it would otherwise be
        fetched for each task, and mounting an image file needs rights that workers often lack.
        """
        if self.kind == "apptainer" and "://" not in image and Path(image).exists():
            # An input file of the job, say: tasks run in other folders than the pilot.
            image = str(Path(image).absolute())
        if self.kind != "apptainer" or Path(image).is_dir():
            return image, None
        is_complete = "://" in image or image.startswith("/") or image.endswith(".sif")
        source = image if is_complete else f"docker://{image}"
        unpacked = str(to / "".join(c if c.isalnum() else "-" for c in source))
        argv = [self.program, "build", "--fix-perms", "--force", "--sandbox", unpacked, source]
        return unpacked, Invocation(argv, self.inherited)

    def inspect(self, name: str) -> Image:
        """How a prepared image is entered.

        One that was built from bare files has no entry point, or one of Apptainer's that says so
        and ends well; its arguments are the command then.
        """
        if self.kind != "apptainer":
            return Image(name)
        try:
            script = (Path(name) / _RUNSCRIPT).read_text(errors="replace")
        except OSError:
            script = ""
        return Image(name, "run" if script and _NO_RUNSCRIPT not in script else "exec")

    def invocation(self, command: Command, image: Image, folders: Folders) -> Invocation:
        """The invocation of `command` in these folders."""
        inside = folders if self.kind == "process" else _inside(folders)
        args = [_fill(argument, inside) for argument in command.args]
        env = {**command.env, **_task_variables(inside)}
        if self.kind == "process":
            return Invocation(args, {**self.inherited, **env})
        if self.kind == "docker":
            options = ["--rm", "--init", *_mounts(folders), *_env_options(env)]
            return Invocation([self.program, "run", *options, image.name, *args], self.inherited)
        # As variables and not as options: they would stand in the list of processes.
        passed = {f"APPTAINERENV_{name}": value for name, value in env.items()}
        options = ["--containall", "--no-eval", *_mounts(folders)]
        return Invocation(
            [self.program, "--silent", image.entry, *options, image.name, *args],
            {**self.inherited, **passed},
        )


def inherited_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What commands inherit: everything but the pilot's own variables, secrets among them."""
    return {name: value for name, value in environ.items() if not name.startswith("EWMS_PILOT_")}


def _inside(folders: Folders) -> Folders:
    task = Path(_IN_CONTAINER / "task-io")
    return Folders(Path(_IN_CONTAINER / "data-hub"), task, folders.infile, folders.outfile)


def _fill(argument: str, folders: Folders) -> str:
    hub = str(folders.data_hub)
    values = {"{{DATA_HUB}}": hub, "{{DATAHUB}}": hub}
    if folders.infile:
        infile, outfile = str(folders.task / folders.infile), str(folders.task / folders.outfile)
        values |= {"{{INFILE}}": infile, "{{IN_FILE}}": infile}
        values |= {"{{OUTFILE}}": outfile, "{{OUT_FILE}}": outfile}
    for placeholder, value in values.items():
        argument = argument.replace(placeholder, value)
    return argument


def _task_variables(folders: Folders) -> dict[str, str]:
    variables = {"EWMS_TASK_DATA_HUB_DIR": str(folders.data_hub)}
    if folders.infile:
        variables["EWMS_TASK_INFILE"] = str(folders.task / folders.infile)
        variables["EWMS_TASK_OUTFILE"] = str(folders.task / folders.outfile)
    return variables


def _mounts(folders: Folders) -> list[str]:
    inside = _inside(folders)
    options = []
    for source, target in ((folders.data_hub, inside.data_hub), (folders.task, inside.task)):
        # A row of CSV for both programs: a field with a comma or a quote is quoted.
        fields = ("type=bind", f"source={source}", f"target={target}")
        options += ["--mount", ",".join(_csv_field(item) for item in fields)]
    return options


def _csv_field(text: str) -> str:
    if not any(character in text for character in ',"\n'):
        return text
    return '"' + text.replace('"', '""') + '"'


def _env_options(env: Mapping[str, str]) -> list[str]:
    return [part for name, value in env.items() for part in ("--env", f"{name}={value}")]
