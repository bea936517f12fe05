"""The page of metrics has every metric that there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MODULES = (
    "libs/ewms_rpc/metrics.py",
    "wms_grpc/metrics.py",
    "peers/ewms_mqs/metrics.py",
    "peers/ewms_tms/metrics.py",
)
_NAME = re.compile(r'"(ewms_(?:rpc|loop|wms|mqs|tms)_[a-z_]+)"')
_ROW = re.compile(r"^\| `(ewms_[a-z_]+)` \|", re.MULTILINE)


def test_the_page_has_each_metric_once() -> None:
    made = {name for module in MODULES for name in _NAME.findall((ROOT / module).read_text())}
    told = _ROW.findall((ROOT / "docs/metrics.md").read_text())
    assert len(told) == len(set(told))
    assert {name.removesuffix("_total") for name in told} == made
