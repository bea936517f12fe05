"""Every language of the gateway, by name and by content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wms_grpc.gateway.bpel_reader import Bpel
from wms_grpc.gateway.dagman.language import Dagman
from wms_grpc.gateway.dot_writer import DotWriter
from wms_grpc.gateway.ewms import Ewms
from wms_grpc.gateway.gworkflowdl_reader import GWorkflowDL
from wms_grpc.gateway.gworkflowdl_writer import GWorkflowDLWriter
from wms_grpc.gateway.jdl import Jdl
from wms_grpc.gateway.jsdl_reader import Jsdl
from wms_grpc.gateway.mermaid_writer import MermaidWriter
from wms_grpc.gateway.model import (
    Bundle,
    Finding,
    Language,
    Position,
    Refused,
    Translation,
    Workflow,
    Writer,
    Written,
)
from wms_grpc.gateway.pi_writer import PiWriter
from wms_grpc.gateway.pnml_reader import Pnml
from wms_grpc.gateway.pnml_writer import PnmlWriter
from wms_grpc.gateway.wfformat_reader import WfFormat

__all__ = ["READERS", "WRITERS", "read", "write"]


def _by_name(*languages: Language) -> Mapping[str, Language]:
    return {language.name: language for language in languages}


def _writers(*writers: Writer) -> Mapping[str, Writer]:
    return {writer.name: writer for writer in writers}


# Asked in this order: those that are told by their content alone come before those that are also
# told by a file's name.
READERS: Final = _by_name(
    WfFormat(), Ewms(), GWorkflowDL(), Bpel(), Jsdl(), Pnml(), Jdl(), Dagman()
)
WRITERS: Final = _writers(
    Ewms(),
    Jdl(),
    Dagman(),
    GWorkflowDLWriter(),
    PnmlWriter(),
    PiWriter(),
    DotWriter(),
    MermaidWriter(),
)


def read(bundle: Bundle, language: str = "") -> Translation:
    """Translate a bundle, in the language of that name or as its content says.

    Raises Refused, also for a language that is not read.
    """
    if language:
        if language not in READERS:
            known = ", ".join(sorted(READERS))
            raise _unknown(bundle, f"{language!r} is no language that is read; known are {known}")
        return READERS[language].read(bundle)
    for reader in READERS.values():
        if reader.claims(bundle):
            return reader.read(bundle)
    raise _unknown(bundle, "it is in no language that is known here; name it")


def write(workflow: Workflow, language: str) -> Written:
    """Write a workflow. Raises Refused, also for a language that is not written."""
    if language not in WRITERS:
        known = ", ".join(sorted(WRITERS))
        words = f"{language!r} is no language that is written; known are {known}"
        raise Refused(Finding("UNKNOWN_LANGUAGE", words, severity="error"))
    return WRITERS[language].write(workflow)


def _unknown(bundle: Bundle, words: str) -> Refused:
    return Refused(Finding("UNKNOWN_LANGUAGE", words, Position(bundle.main), severity="error"))
