"""Whatever the bytes: a translation, or a refusal with its place. Nothing else, and soon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wms_grpc.domain.tasks import NoopWork, Task
from wms_grpc.gateway import jdl_said
from wms_grpc.gateway.ewms import Ewms
from wms_grpc.gateway.jdl import Jdl
from wms_grpc.gateway.model import Bundle, Language, Refused, Workflow

CORPUS = Path(__file__).resolve().parents[2] / "corpus"
LANGUAGES: dict[str, Language] = {"jdl": Jdl(), "ewms": Ewms()}
FILES = {
    language: [path.read_bytes() for path in sorted((CORPUS / language).rglob(f"*.{ending}"))]
    for language, ending in (("jdl", "jdl"), ("ewms", "json"))
}
JDL_PIECES = """[ ] { } ( ) ; , . = == "x" ' a nodes dependencies description root 1 0x - ! ? : //
    # /* */ is"""
EWMS_PIECES = """{ } [ ] : , "tasks" "name" "batch" "net" "wait" null true -1 1e9 "\\u0000"
    "\\ud800" """
PIECES = {"jdl": JDL_PIECES.split(), "ewms": EWMS_PIECES.split()}


def is_read_or_refused(language: str, data: bytes) -> None:
    bundle = Bundle({"main": data, "a.jdl": data}, "main")
    LANGUAGES[language].claims(bundle)
    finding = None
    try:
        translation = LANGUAGES[language].read(bundle)
    except Refused as refused:
        finding = refused.finding
    if finding is None:
        assert translation.workflow.net.transitions
    else:
        assert finding.message
        assert finding.code.isupper()
        assert 0 < finding.position.line <= data.count(b"\n") + 1


@pytest.mark.parametrize("language", LANGUAGES)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_file(language: str, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(FILES[language])))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = min(len(content), start + data.draw(st.integers(0, 30)))
        pieces = st.sampled_from(PIECES[language]).map(str.encode) | st.binary(max_size=4)
        content[start:end] = data.draw(pieces)
    is_read_or_refused(language, bytes(content))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_file_that_is_cut_off_anywhere(language: str) -> None:
    for content in FILES[language]:
        for end in range(0, len(content), 1 + len(content) // 20):
            is_read_or_refused(language, content[:end])


@pytest.mark.parametrize("language", LANGUAGES)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pieces_of_the_language_in_any_order(language: str, data: st.DataObject) -> None:
    pieces = st.lists(st.sampled_from(PIECES[language]), max_size=60)
    is_read_or_refused(language, " ".join(data.draw(pieces)).encode())


@pytest.mark.parametrize("language", LANGUAGES)
@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(language: str, content: bytes) -> None:
    is_read_or_refused(language, content)


@pytest.mark.parametrize(
    ("language", "content"),
    [
        ("jdl", b"a = " + b"[x = " * 200_000),
        ("jdl", b"a = " + b"(" * 200_000),
        ("jdl", b"a = " + b"!" * 200_000),
        ("jdl", b"a = " + b'"" ' * 200_000),
        ("jdl", b"a = " + b"x ? " * 10_000),
        ("jdl", b"a = " + b"x + " * 50_000 + b"x;"),
        ("jdl", b"a = x" + b".x" * 50_000 + b";"),
        ("jdl", b'a = "' + b"x" * 70_000 + b'";'),
        ("jdl", b"/*" * 200_000),
        ("jdl", b'a = "' + b'\\"' * 200_000),
        ("jdl", b"a = " + b"9" * 100_000),
        ("ewms", b'{"a":' * 200_000),
        ("ewms", b"[" * 200_000),
        ("ewms", b'{"tasks": [{"name": "' + b"x" * 200_000 + b'"}]}'),
        ("ewms", b'{"priority": ' + b"9" * 100_000 + b"}"),
        ("ewms", b'{"priority": 1e999}'),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:12].decode(),
)
def test_what_is_beyond_the_bounds_is_refused_at_once(language: str, content: bytes) -> None:
    with pytest.raises(Refused) as refused:
        LANGUAGES[language].read(Bundle({"main": content}, "main"))
    codes = ("TOO_DEEP", "TOO_LARGE", "SYNTAX", "OUT_OF_RANGE", "NO_EXECUTABLE")
    assert refused.value.finding.code in codes


def doubling() -> str:
    nodes = ['n0 = [ description = [ Executable = "x"; OutputSandbox = { "a", "b" }; ]; ];']
    for number in range(1, 60):
        files = "InputSandbox" if number > 1 else "OutputSandbox"
        path = f"root.nodes.n{number - 1}.description.{files}"
        job = f'Executable = "x"; InputSandbox = {{ {path}, {path} }};'
        nodes.append(f"n{number} = [ description = [ {job} ]; ];")
    return f'[ Type = "dag"; nodes = [ {" ".join(nodes)} ]; ]'


def handed_to_all() -> str:
    files = ", ".join(f'"f{number}"' for number in range(300))
    nodes = " ".join(f'n{number} = [ Executable = "x"; ];' for number in range(300))
    return f'[ Type = "dag"; InputSandbox = {{ {files} }}; nodes = [ {nodes} ]; ]'


def below_a_long_base() -> str:
    files = ", ".join(['"f"'] * 300)
    return (
        f'Executable = "x"; InputSandboxBaseURI = "{"x" * 60_000}"; InputSandbox = {{ {files} }};'
    )


@pytest.mark.parametrize("text", [doubling, handed_to_all, below_a_long_base])
def test_a_short_file_that_would_become_a_huge_workflow_is_refused(
    text: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jdl_said, "MAX_MADE", 4 * 1024 * 1024)
    with pytest.raises(Refused) as refused:
        Jdl().read(Bundle({"main": text().encode()}, "main"))
    assert refused.value.finding.code == "TOO_LARGE"


def test_a_parameter_that_comes_again_and_again_makes_names_that_stay_short() -> None:
    values = ", ".join(["a"] * 1_000)
    text = f'JobType = "Parametric"; Executable = "x"; Parameters = {{ {values} }};'
    tasks = Jdl().read(Bundle({"main": text.encode()}, "main")).workflow.tasks

    assert len({task.name for task in tasks}) == 1_000
    assert max(len(task.name) for task in tasks) < 20


def test_names_that_the_contract_does_not_allow_are_told_apart_soon() -> None:
    tasks = tuple(Task("\N{SNOWMAN}" * number, NoopWork()) for number in range(1, 1_000))
    workflow = Workflow("w", tasks)
    written = Ewms().write(workflow).bundle

    assert Ewms().read(written).workflow.tasks == tasks
