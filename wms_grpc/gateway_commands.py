"""`ewms translate` and `ewms analyze`: the gateway on files of this machine, without a server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ewms_bundle import collect
from wms_grpc.gateway.analysed import analysed
from wms_grpc.gateway.languages import READERS, WRITERS, read, write
from wms_grpc.gateway.model import Bundle, Finding, Refused, Translation, Written

__all__ = ["app"]

app = typer.Typer()

File = Annotated[Path, typer.Argument(metavar="FILE", help="Files that it names lie below it.")]
From = Annotated[
    str, typer.Option("--from", help=f"{', '.join(sorted(READERS))}. Default: by content.")
]
Json = Annotated[bool, typer.Option("--json", help="The report as JSON, one finding a line.")]


@app.command()
def translate(
    file: File,
    to: Annotated[str, typer.Option(help=f"{', '.join(sorted(WRITERS))}.")] = "ewms",
    language: From = "",
    into: Annotated[
        Path | None, typer.Option(help="A folder for a translation of several files.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Translate a workflow: the translation on stdout, what had no counterpart on stderr.

    Exit code 1, and only the report, if it cannot be translated.
    """
    try:
        translation = read(_bundle(file), language)
        written = write(translation.workflow, to)
    except Refused as refusal:
        _fail([refusal.finding], as_json)
    _report((*translation.findings, *written.findings), as_json)
    _output(written, into)


@app.command()
def analyze(file: File, language: From = "", as_json: Json = False) -> None:
    """Say what is wrong with a workflow and what is worth knowing; exit code 1 for an error."""
    try:
        translation = read(_bundle(file), language)
    except Refused as refusal:
        _fail([refusal.finding], as_json)
    findings = (*translation.findings, *analysed(translation))
    if not as_json:
        typer.echo(_summary(translation))
    for line in _lines(findings, as_json):
        typer.echo(line)
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)


def _bundle(main: Path) -> Bundle:
    try:
        collected = collect(main)
    except OSError as error:
        typer.echo(f"ewms: {main}: {error.strerror}", err=True)
        raise typer.Exit(1) from None
    if not collected.is_whole:
        typer.echo(f"ewms: not everything below {main.parent} fits a bundle", err=True)
    return Bundle(collected.files, collected.main)


def _output(written: Written, into: Path | None) -> None:
    bundle = written.bundle
    if into is None:
        sys.stdout.buffer.write(bundle.files[bundle.main])
        if others := sorted(bundle.files.keys() - {bundle.main}):
            typer.echo(f"ewms: --into a folder for {', '.join(others)}, too", err=True)
        return
    for name, content in bundle.files.items():
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    typer.echo(str(into / bundle.main))


def _summary(translation: Translation) -> str:
    workflow = translation.workflow
    net = workflow.net
    return (
        f"{workflow.name or 'workflow'} ({translation.language}): {len(workflow.tasks)} tasks, "
        f"{len(net.places)} places, {len(net.transitions)} transitions"
    )


def _fail(findings: Iterable[Finding], as_json: bool) -> NoReturn:
    _report(findings, as_json)
    raise typer.Exit(1)


def _report(findings: Iterable[Finding], as_json: bool) -> None:
    for line in _lines(findings, as_json):
        typer.echo(line, err=True)


def _lines(findings: Iterable[Finding], as_json: bool) -> Iterator[str]:
    for finding in findings:
        if as_json:
            yield json.dumps(asdict(finding), ensure_ascii=False)
            continue
        where = finding.position
        place = f"{where.file}:{where.line}:{where.column}: " if where.line else ""
        about = f" [{finding.subject}]" if finding.subject else ""
        yield f"{place}{finding.severity}: {finding.code}: {finding.message}{about}"
