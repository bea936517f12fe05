"""The whole stack over TLS: users, agents, workers and services."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest
from certificates import Authority
from running_stack import EWMS, RunningStack

from ewms_client import AsyncClient

COPY = {
    "public_queue_aliases": ["input", "output"],
    "tasks": [
        {
            "cluster_locations": ["local"],
            "input_queue_aliases": ["input"],
            "output_queue_aliases": ["output"],
            "task_image": "image",
            "task_args": "cp {{INFILE}} {{OUTFILE}}",
            "n_workers": 1,
        }
    ],
}


async def work(wms: str) -> list[bytes]:
    """What a worker makes of an event, sent and fetched through public queues."""
    async with AsyncClient(wms) as client, asyncio.timeout(60):
        workflow_id = (await client.submit(COPY)).workflow.workflow_id
        await client.publish(workflow_id, "input", [b"event"])
        results = []
        async with client.consume(workflow_id, "output", count=1) as deliveries:
            async for delivery in deliveries:
                results.append(delivery.payload)
                await delivery.ack()
        await client.finish(workflow_id)
        return results


def test_events_go_through_a_stack_that_speaks_nothing_but_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wms_ca, mqs_ca, people = (Authority(tmp_path / name) for name in ("wms", "mqs", "people"))
    agent, user = people.issue("agent"), people.issue("user")
    wms, mqs = wms_ca.issue("wms"), mqs_ca.issue("mqs")
    settings = {
        "EWMS_WMS_TLS_CERT": wms.certificate,
        "EWMS_WMS_TLS_KEY": wms.key,
        "EWMS_WMS_TLS_CLIENT_CA": people.certificate,
        "EWMS_WMS_MQS_CA": mqs_ca.certificate,
        "EWMS_MQS_TLS_CERT": mqs.certificate,
        "EWMS_MQS_TLS_KEY": mqs.key,
        "EWMS_TMS_WMS_CA": wms_ca.certificate,
        "EWMS_TMS_WMS_CERT": agent.certificate,
        "EWMS_TMS_WMS_KEY": agent.key,
        "EWMS_TMS_MQS_CA": mqs_ca.certificate,
        "EWMS_CLIENT_CERT": user.certificate,
        "EWMS_CLIENT_KEY": user.key,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    with RunningStack(tmp_path / "data") as stack:
        stack.await_ready()
        with monkeypatch.context() as client:
            client.setenv("EWMS_WMS_CA", str(wms_ca.certificate))
            client.setenv("EWMS_MQS_CA", str(mqs_ca.certificate))
            assert asyncio.run(work(stack.wms)) == [b"event"]
        options = ("--wms-ca", str(wms_ca.certificate), "list", "--wms", stack.wms)
        listed = subprocess.run([EWMS, *options], capture_output=True, text=True, timeout=60)
        assert listed.returncode == 0, listed.stderr
        assert "WF-" in listed.stdout
        wrong = {**os.environ, "EWMS_WMS_CA": str(mqs_ca.certificate)}
        refused = subprocess.run(
            [EWMS, "list", "--wms", stack.wms],
            capture_output=True, text=True, timeout=60, env=wrong,
        )  # fmt: skip
        assert refused.returncode == 6
