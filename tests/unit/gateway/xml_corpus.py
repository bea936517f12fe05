"""The corpora of the XML languages: their manifests, and the tables of them in the docs.

tests/unit/gateway/xml_corpus.py            writes the tables into docs/languages
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wms_grpc.gateway.model import Bundle

ROOT = Path(__file__).parents[3]
CORPUS = ROOT / "tests" / "corpus"
_MARKS = ("<!-- corpus -->", "<!-- end of corpus -->")


def manifest(language: str) -> dict[str, dict[str, Any]]:
    """What each file of a language's corpus must give."""
    read: dict[str, dict[str, Any]] = json.loads((CORPUS / language / "manifest.json").read_text())
    return read


def bundle_of(language: str, name: str) -> Bundle:
    """One file of a corpus, by itself."""
    return Bundle({name: (CORPUS / language / name).read_bytes()}, name)


def table(language: str) -> str:
    """The files of a corpus in Markdown, and what becomes of them."""
    rows = ["| file | | |", "| --- | --- | --- |"]
    for name, entry in manifest(language).items():
        rows.append(f"| `{name}` | {entry['outcome']} | {_why(entry)} |")
    return "\n".join(rows)


def _why(entry: Mapping[str, Any]) -> str:
    if entry["outcome"] == "refused":
        return f"line {entry['line']}: {entry['reason']} (`{entry['code']}`)"
    findings = entry.get("findings", {})
    counted = [f"{len(lines)} × `{code}`" for code, lines in findings.items()]
    size = f"{entry['places']} places, {entry['transitions']} transitions"
    tasks = f", tasks: {', '.join(entry['tasks'])}" if entry["tasks"] else ""
    return "; ".join([size + tasks, *counted])


def page_with_table(language: str) -> str:
    """The language's page with its table fresh."""
    text = (ROOT / "docs" / "languages" / f"{language}.md").read_text()
    before, _, rest = text.partition(_MARKS[0])
    _, _, after = rest.partition(_MARKS[1])
    return f"{before}{_MARKS[0]}\n{table(language)}\n{_MARKS[1]}{after}"


if __name__ == "__main__":
    for written in ("gworkflowdl", "pnml"):
        path = ROOT / "docs" / "languages" / f"{written}.md"
        path.write_text(page_with_table(written))
