"""The whole system on RabbitMQ: users' commands and pilots speak AMQP, and nothing else differs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rabbitmq_node import RabbitNode

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_s_workflows_have_every_result_right_on_rabbitmq(
    rabbitmq_node: RabbitNode, rabbitmq_vhost: str
) -> None:
    environment = rabbitmq_node.environment(rabbitmq_vhost) | {"EWMS_MQS_DRAIN_QUIET": "6"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "demo.py")],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    # Two workflows of two and three queues, 200 events through each.
    statistics = rabbitmq_node.ask("GET", f"vhosts/{rabbitmq_vhost}")["message_stats"]
    assert statistics["publish"] >= 1000
    assert statistics["ack"] >= 1000
