"""Write the table of the corpus's DAG files in docs/languages/dagman.md from their manifest.

    python scripts/generate_dagman_table.py [--check]

With --check it writes nothing, and exits with 1 if the table is not what the manifest says.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent.parent
_PAGE = _ROOT / "docs" / "languages" / "dagman.md"
_MANIFEST = _ROOT / "tests" / "corpus" / "dagman" / "manifest.json"
_BEGIN, _END = "<!-- corpus: generated -->\n", "<!-- corpus: end -->\n"


def main() -> int:
    """Write or check the table."""
    page = _PAGE.read_text()
    before, rest = page.split(_BEGIN)
    _, after = rest.split(_END)
    made = before + _BEGIN + table(json.loads(_MANIFEST.read_text())) + _END + after
    if "--check" in sys.argv:
        return int(made != page)
    _PAGE.write_text(made)
    return 0


def table(manifest: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table in Markdown."""
    rows = [f"| `{name}` | {_gives(entry)} |" for name, entry in manifest.items()]
    return "\n".join(["| file | gives |", "| --- | --- |", *rows]) + "\n"


def _gives(entry: Mapping[str, Any]) -> str:
    if entry["gives"] == "refused":
        where = (
            f"{entry['file']}, line {entry['line']}" if "file" in entry else f"line {entry['line']}"
        )
        return f"refused at {where}: {entry['reason']} (`{entry['code']}`)"
    said = f"translated, {entry['tasks']} task{'s' * (entry['tasks'] != 1)}"
    found = Counter((code, severity) for code, _, severity, *_ in entry.get("findings", ()))
    report = ", ".join(f"{n} × `{code}` ({severity})" for (code, severity), n in found.items())
    return f"{said}; report: {report}" if report else said


if __name__ == "__main__":
    sys.exit(main())
