"""What is accepted as a workflow, and how what is not is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ewms.wms.v1 import workflow_service_pb2
from ewms_client.documents import message_from_json, read_submission, to_json
from ewms_client.errors import InvalidArgument

EXAMPLE = {
    "public_queue_aliases": ["input-queue", "output-queue"],
    "tasks": [
        {
            "cluster_locations": ["sub-2"],
            "input_queue_aliases": ["input-queue"],
            "output_queue_aliases": ["output-queue"],
            "task_image": "/cvmfs/icecube.opensciencegrid.org/containers/my-container:1.2.3",
            "task_args": "cp {{INFILE}} {{OUTFILE}}",
            "task_env": {"LEVEL": "3"},
            "n_workers": 1000,
            "worker_config": {
                "do_transfer_worker_stdouterr": True,
                "max_worker_runtime": 600,
                "n_cores": 1,
                "priority": 99,
                "worker_disk": "512M",
                "worker_memory": "512M",
            },
        }
    ],
}


def test_the_predecessors_example_is_read_from_a_mapping_and_from_a_file_alike(
    tmp_path: Path,
) -> None:
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(EXAMPLE))

    from_file, from_mapping = read_submission(file), read_submission(EXAMPLE)

    assert from_file == from_mapping
    assert from_file.tasks[0].worker_config.max_worker_runtime == 600
    assert from_file.tasks[0].task_env["LEVEL"] == "3"


def test_a_request_is_copied_so_that_the_callers_own_stays_as_it_is() -> None:
    request = workflow_service_pb2.SubmitWorkflowRequest(name="mine")

    read_submission(request).name = "other"

    assert request.name == "mine"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"tasks": [{}, {"n_wrkers": 1}]}, {"tasks[1].n_wrkers": "there is no such field"}),
        (
            {"foo": 1, "tasks": [{"worker_config": {"bar": 2}}]},
            {
                "foo": "there is no such field",
                "tasks[0].worker_config.bar": "there is no such field",
            },
        ),
        ({"tasks": 3}, {"tasks": "must be a list"}),
        ({"tasks": [3]}, {"tasks[0]": "must be an object"}),
        ({"name": 3}, {"name": "must be a string"}),
        ({"labels": {"team": 3}}, {"labels.team": "must be a string"}),
        ({"labels": ["team"]}, {"labels": "must be an object"}),
        ({"validate_only": "yes"}, {"validate_only": "must be true or false"}),
        (
            {"priority": 1.5},
            {"priority": "must be an integer from -2147483648 to 2147483647"},
        ),
        (
            {"tasks": [{"n_workers": 2**31}]},
            {"tasks[0].n_workers": "must be an integer from -2147483648 to 2147483647"},
        ),
        ({"name": "\ud800"}, {"name": "must be text that UTF-8 can hold"}),
    ],
)
def test_every_bad_field_is_named_by_its_path(
    document: dict[str, object], expected: dict[str, str]
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_submission(document)

    assert {v.path: v.description for v in caught.value.violations} == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a JSON document"),
        (b"\xff{}", "not a JSON document"),
        ("[]", "must be a JSON object"),
        ('{"name": "a", "name": "b"}', "'name' is given twice"),
        ("[" * 100_000, "not a JSON document"),
    ],
)
def test_text_that_is_no_document_is_an_invalid_argument(text: str | bytes, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        message_from_json(text, workflow_service_pb2.SubmitWorkflowRequest())


def test_json_keeps_the_names_of_the_proto_files_and_is_one_line() -> None:
    text = to_json(read_submission(EXAMPLE))

    assert json.loads(text) | {"tasks": []} == EXAMPLE | {"tasks": []}
    assert "\n" not in text
