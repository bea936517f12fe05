"""Lints `protos/` with buf's STANDARD rules, offline.

The Google protos that ours import are copied from the installed googleapis-common-protos into
`build/googleapis`, where `buf.yaml` expects them; nothing is fetched. Further arguments go to
`buf lint`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from generate_protos import ROOT, googleapis_folder


def main() -> int:
    source, target = googleapis_folder(), ROOT / "build" / "googleapis"
    for package in ("google/api", "google/rpc"):
        (target / package).mkdir(parents=True, exist_ok=True)
        for proto in (source / package).glob("*.proto"):
            shutil.copyfile(proto, target / package / proto.name)
    buf = Path(sys.executable).parent / "buf"
    return subprocess.run([str(buf), "lint", *sys.argv[1:]], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
