"""The command lines of each runner."""

from __future__ import annotations

from pathlib import Path

import pytest

from ewms_pilot.environment import Command
from ewms_pilot.errors import ConfigurationError
from ewms_pilot.runners import Folders, Image, Runner, inherited_environment

COMMAND = Command(
    "registry/image:1",
    ("run", "--in={{INFILE}}", "{{OUTFILE}}", "{{DATA_HUB}}/x", "a b"),
    {"SEED": "7"},
)
FOLDERS = Folders(Path("/s c/hub"), Path("/s c/task-1"), "1.in", "1.out")
INHERITED = {"PATH": "/bin", "HOME": "/root"}


def test_a_process_gets_its_files_where_they_are() -> None:
    invocation = Runner("process", "", INHERITED).invocation(COMMAND, Image(COMMAND.image), FOLDERS)
    assert invocation.argv == [
        "run", "--in=/s c/task-1/1.in", "/s c/task-1/1.out", "/s c/hub/x", "a b",
    ]  # fmt: skip
    assert invocation.env == {
        "PATH": "/bin",
        "HOME": "/root",
        "SEED": "7",
        "EWMS_TASK_INFILE": "/s c/task-1/1.in",
        "EWMS_TASK_OUTFILE": "/s c/task-1/1.out",
        "EWMS_TASK_DATA_HUB_DIR": "/s c/hub",
    }


def test_apptainer_mounts_the_folders_and_is_given_the_environment_by_variables() -> None:
    runner = Runner("apptainer", "/usr/bin/apptainer", INHERITED)
    invocation = runner.invocation(COMMAND, Image("/images/sandbox"), FOLDERS)
    assert invocation.argv == [
        "/usr/bin/apptainer", "--silent", "run", "--containall", "--no-eval",
        "--mount", "type=bind,source=/s c/hub,target=/ewms-pilot-data/data-hub",
        "--mount", "type=bind,source=/s c/task-1,target=/ewms-pilot-data/task-io",
        "/images/sandbox",
        "run", "--in=/ewms-pilot-data/task-io/1.in", "/ewms-pilot-data/task-io/1.out",
        "/ewms-pilot-data/data-hub/x", "a b",
    ]  # fmt: skip
    assert invocation.env["APPTAINERENV_SEED"] == "7"
    assert invocation.env["APPTAINERENV_EWMS_TASK_INFILE"] == "/ewms-pilot-data/task-io/1.in"
    assert invocation.env["PATH"] == "/bin"
    assert "SEED" not in invocation.env


def test_docker_mounts_the_folders_and_is_given_the_environment_by_options() -> None:
    runner = Runner("docker", "/usr/bin/docker", INHERITED)
    argv = runner.invocation(COMMAND, Image(COMMAND.image), FOLDERS).argv
    assert argv[:4] == ["/usr/bin/docker", "run", "--rm", "--init"]
    assert argv[argv.index("SEED=7") - 1] == "--env"
    assert "EWMS_TASK_OUTFILE=/ewms-pilot-data/task-io/1.out" in argv
    at = argv.index("registry/image:1")
    assert argv[at + 1 :] == [
        "run", "--in=/ewms-pilot-data/task-io/1.in", "/ewms-pilot-data/task-io/1.out",
        "/ewms-pilot-data/data-hub/x", "a b",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/with,comma", '/with"quote'])
def test_a_path_cannot_become_another_mount_option(path: str) -> None:
    runner = Runner("docker", "docker", {})
    folders = Folders(Path(path), Path("/task"), "i", "o")
    mount = runner.invocation(COMMAND, Image("image"), folders).argv[5]
    escaped = path.replace('"', '""')
    assert mount.startswith(f'type=bind,"source={escaped}",target=')


def test_the_init_command_has_a_data_hub_and_no_files() -> None:
    folders = Folders(Path("/hub"), Path("/task"))
    command = Command("i", ("{{DATA_HUB}}", "{{INFILE}}"), {})
    invocation = Runner("process", "", {}).invocation(command, Image("i"), folders)
    assert invocation.argv == ["/hub", "{{INFILE}}"]
    assert invocation.env == {"EWMS_TASK_DATA_HUB_DIR": "/hub"}


def test_an_image_of_a_registry_is_unpacked_once_for_apptainer() -> None:
    runner = Runner("apptainer", "apptainer", INHERITED)
    image, build = runner.prepare("icecube/tools:1.2", Path("/scratch"))
    assert image == "/scratch/docker---icecube-tools-1-2"
    assert build is not None
    assert build.argv[-2:] == [image, "docker://icecube/tools:1.2"]
    assert runner.prepare("oras://host/x", Path("/scratch"))[1] is not None


def test_an_image_file_is_unpacked_and_a_folder_used_as_it_is(tmp_path: Path) -> None:
    apptainer = Runner("apptainer", "apptainer", {})
    _, build = apptainer.prepare("/images/x.sif", tmp_path)
    assert build is not None
    assert build.argv[-1] == "/images/x.sif"
    assert apptainer.prepare(str(tmp_path), tmp_path) == (str(tmp_path), None)
    assert Runner("docker", "docker", {}).prepare("a/b:1", tmp_path) == ("a/b:1", None)


@pytest.mark.parametrize(
    ("runscript", "entry"),
    [
        ("#!/bin/sh\nexec /opt/entry $@\n", "run"),
        ('echo "There is no runscript defined for this container\\n";', "exec"),
        (None, "exec"),
    ],
)
def test_an_image_without_an_entry_point_is_entered_by_its_arguments(
    tmp_path: Path, runscript: str | None, entry: str
) -> None:
    if runscript is not None:
        (tmp_path / ".singularity.d").mkdir()
        (tmp_path / ".singularity.d/runscript").write_text(runscript)
    runner = Runner("apptainer", "apptainer", {})
    image = runner.inspect(str(tmp_path))
    assert runner.invocation(COMMAND, image, FOLDERS).argv[2] == entry


def test_a_runner_that_is_not_installed_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="apptainer is not on this worker's PATH"):
        Runner.find("apptainer", {"PATH": str(tmp_path)})


def test_commands_inherit_nothing_of_the_pilots_own() -> None:
    environ = {"PATH": "/bin", "EWMS_PILOT_QUEUE_INCOMING_AUTH_TOKEN": "t"}
    assert inherited_environment(environ) == {"PATH": "/bin"}
