"""Whatever the bytes, the reader translates or refuses; and what it translates comes back."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from dagman_bundles import corpus, read
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wms_grpc.gateway.dagman import Dagman
from wms_grpc.gateway.dagman.parser import KEYWORDS
from wms_grpc.gateway.equality import differences
from wms_grpc.gateway.model import Bundle, Refused

_FILES = corpus()
_QUICK = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))

_SUBMIT = (
    "executable = $(exe:x)\narguments = \"a 'b $(n)' $$(X)\"\nenvironment = A=1;B=2\n"
    "if defined n\n n2 = $(n)$(n)\nelif version > 8\n n2 = 1\nendif\nn2 = $(n2)x\n"
    "request_memory = 1.5GB\ntransfer_input_files = a, b\n+X = $ENV(HOME)\nqueue 3\n"
)
_WORDS = [
    *sorted(KEYWORDS), "CHILD", "ALL_NODES", "EXTERNAL", "DIR", "NOOP", "DONE", "DEFER", "PRE",
    "POST", "UNLESS-EXIT", "RETURN", "APPEND", "SET", "GET", "A", "B", "S", "S+A", "+", "1", "-1",
    "2%", "x=1", 'x="$(JOB)"', '"', "'", "\\", "{", "}", "@=e", "@e", "#", "//", "=", "a.sub",
    "s.dag", "main.dag", "c.config", "$(x)", "queue", "if", "é", "\t", "%2B",
]  # fmt: skip
_lines = st.lists(st.lists(st.sampled_from(_WORDS), max_size=7).map(" ".join), max_size=14)


def _survives(files: dict[str, bytes], main: str) -> None:
    language = Dagman()
    bundle = Bundle(files, main)
    language.claims(bundle)
    try:
        translation = language.read(bundle)
    except Refused as refusal:
        finding = refusal.finding
        assert finding.message
        assert finding.code.isupper()
        assert finding.position.file in files
        return
    for finding in translation.findings:
        assert finding.position.file in files
        assert finding.position.line or finding.code == "NO_NODES"
    written = language.write(translation.workflow)
    again = language.read(written.bundle)
    if not written.findings:
        assert differences(translation.workflow, again.workflow) == []


@_QUICK
@given(st.binary(max_size=300))
@example(b"JOB A {\n")
@example(b'VARS A x="')
@example(b"\xff\xfe\n\\")
@example(b"\xa0")
@example(b"executable = \x1c\nqueue \x1c\narguments = '\xc2\xa0'")
def test_any_bytes(content: bytes) -> None:
    _survives({"main.dag": content}, "main.dag")
    _survives({"main.dag": b"JOB A a.sub\nVARS A n=1\n", "a.sub": content}, "main.dag")
    _survives({"main.dag": b"JOB A a.sub\nCONFIG c\n", "c": content}, "main.dag")


@_QUICK
@given(_lines, _lines, st.sampled_from(["\n", "\r\n", " \\\n"]))
def test_any_order_of_the_words_of_the_language(
    main: list[str], splice: list[str], end: str
) -> None:
    begin = ["JOB A a.sub", "JOB B b.sub", "SPLICE S s.dag"]
    text = end.join([*begin, *main]) if end != " \\\n" else "\n".join(begin) + "\n" + end.join(main)
    files = {
        "main.dag": text.encode(),
        "s.dag": "\n".join(["JOB A a.sub", *splice]).encode(),
        "a.sub": _SUBMIT.encode(),
        "c.config": b"DAGMAN_MAX_JOBS_IDLE = 4\n",
    }
    _survives(files, "main.dag")


@_QUICK
@given(st.randoms(use_true_random=False), st.sampled_from(sorted(_FILES)))
def test_files_of_the_corpus_with_bytes_changed(chance: random.Random, name: str) -> None:
    content = bytearray(_FILES[name])
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(content) or 1)
        piece = chance.choice([b"", b"\\\n", b'"', b"+", b"\0", b"{", b"=", b"%", b"\xc3", b"\n"])
        content[at : at + chance.randrange(3)] = piece
    _survives({**_FILES, name: bytes(content)}, name)


@pytest.mark.parametrize("name", sorted(_FILES)[::8])
def test_files_of_the_corpus_cut_off(name: str) -> None:
    content = _FILES[name]
    for end in range(0, len(content), max(1, len(content) // 12)):
        _survives({**_FILES, name: content[:end]}, name)


@_QUICK
@given(st.randoms(use_true_random=False))
def test_a_submit_file_with_bytes_changed(chance: random.Random) -> None:
    content = bytearray(_SUBMIT.encode())
    for _ in range(chance.randrange(1, 8)):
        at = chance.randrange(len(content))
        piece = chance.choice([b"", b"$(", b")", b"'", b'"', b"\n", b"queue ", b"@=", b"$$(", b":"])
        content[at : at + chance.randrange(3)] = piece
    main = b'JOB A a.sub\nVARS A n="$(JOB)" exe="$(n)"\n'
    _survives({"main.dag": main, "a.sub": bytes(content)}, "main.dag")


@pytest.mark.parametrize(
    "text",
    [
        "JOB A a.sub " + "\\\n" * 100_000,
        "JOB A a.sub" + " " * 1_000_000,
        "PARENT " + "A " * 200_000 + "CHILD A",
        "VARS A " + "x=1 " * 100_000,
        "JOB A {\n" + "a = $(" * 50_000,
        'VARS A x="' + '\\"' * 200_000,
        "SCRIPT PRE A " + "x " * 200_000,
        "S+" * 30_000,
    ],
)
def test_long_lines_take_no_time(text: str) -> None:
    with suppress(Refused):
        read("JOB B a.sub\n" + text)


@pytest.mark.parametrize(
    "value",
    ["$(" * 30_000, "$(a:" * 15_000 + ")" * 15_000, "$$(" * 20_000, "(" * 60_000, "$(x)" * 15_000],
)
def test_nested_macros_take_no_time(value: str) -> None:
    read("JOB A a.sub\n", {"a.sub": f"executable = x\nx = {value}\narguments = $(x)\n"})
