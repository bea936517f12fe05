"""XML from people who mean harm, and bytes from people who mean nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xml_corpus import CORPUS

from wms_grpc.gateway.gworkflowdl_reader import GWorkflowDL
from wms_grpc.gateway.gworkflowdl_writer import GWorkflowDLWriter
from wms_grpc.gateway.model import Bundle, Finding, Language, Refused
from wms_grpc.gateway.own_json import object_of
from wms_grpc.gateway.pnml_reader import Pnml
from wms_grpc.gateway.pnml_writer import PnmlWriter

_LANGUAGES: list[Language] = [GWorkflowDL(), Pnml()]
_GW = '<workflow xmlns="http://www.gridworkflow.org/gworkflowdl" ID="w">'
_CORPUS = [
    path.read_bytes()
    for path in sorted([*CORPUS.glob("gworkflowdl/*.gwdl"), *CORPUS.glob("pnml/*.pnml")])
    if path.stat().st_size < 20_000
]


def read_or_refuse(data: bytes) -> None:
    """Whatever the bytes are: a translation that can be written, or a refusal with a position."""
    for language in _LANGUAGES:
        bundle = Bundle({"main": data}, "main")
        language.claims(bundle)
        try:
            translation = language.read(bundle)
        except Refused as refused:
            _check(refused.finding)
            continue
        GWorkflowDLWriter().write(translation.workflow)
        PnmlWriter().write(translation.workflow)


def _check(finding: Finding) -> None:
    assert finding.position.file == "main"
    assert finding.message
    assert finding.code.isupper()


def refusal(data: bytes, language: Language = _LANGUAGES[0]) -> tuple[str, int]:
    with pytest.raises(Refused) as caught:
        language.read(Bundle({"main": data}, "main"))
    return caught.value.finding.code, caught.value.finding.position.line


@pytest.mark.parametrize("language", _LANGUAGES)
@pytest.mark.timeout(90)
def test_a_billion_laughs_are_refused(language: Language) -> None:
    entities = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
    doctype = f'<!DOCTYPE w [<!ENTITY l0 "ha">{entities}]>'
    for inner in (f"{_GW}&l9;</workflow>", '<workflow ID="&l9;"/>'):
        assert refusal(f"\n{doctype}{inner}".encode(), language)[0] in ("ENTITIES", "SYNTAX")


@pytest.mark.parametrize("scheme", ["file://", "", "http://127.0.0.1:9"])
def test_nothing_is_fetched_or_opened(tmp_path: Path, scheme: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text('<place ID="secret"/>')
    for doctype in (
        f'<!DOCTYPE w [<!ENTITY x SYSTEM "{scheme}{secret}">]>{_GW}&x;</workflow>',
        f'<!DOCTYPE w [<!ENTITY % x SYSTEM "{scheme}{secret}"> %x;]>{_GW}</workflow>',
    ):
        assert refusal(doctype.encode()) == ("ENTITIES", 1)
    external = f'<!DOCTYPE workflow SYSTEM "{scheme}{secret}">{_GW}</workflow>'
    translation = _LANGUAGES[0].read(Bundle({"main": external.encode()}, "main"))
    assert [finding.code for finding in translation.findings] == ["DOCTYPE_IGNORED"]
    included = f'{_GW}<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{secret}"/>'
    translation = _LANGUAGES[0].read(Bundle({"main": f"{included}</workflow>".encode()}, "main"))
    assert translation.workflow.net.places == ()


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    "data",
    [
        b"<a>" * 5_000_000,
        b"<a/>" * 4_000_000,
        b"<workflow " + b" ".join(b'a%d=""' % n for n in range(500_000)) + b"/>",
        b"<workflow>" + b"<place/>" * 15_000 + b"</workflow>",
        b"<workflow ID='" + b"x" * 12_000_000 + b"'/>",
        b"<workflow>" + b"&amp;" * 1_000_000 + b"</workflow>",
        b"<pnml><net id='n' type='ptnet'>" + b"<page id='p'>" * 300,
        b'<pnml><net id="n" type="ptnet"><page id="p"><place id="q"><initialMarking><text>'
        + b"9" * 5_000
        + b"</text></initialMarking></place></page></net></pnml>",
        b'<pnml><net id="n" type="ptnet"><page id="p">'
        + b"".join(
            b'<place id="q%d"><initialMarking><text>900000</text></initialMarking></place>' % n
            for n in range(1000)
        )
        + b"</page></net></pnml>",
        b'<pnml><net id="n" type="ptnet"><page id="p"><place id="r0"/><transition id="t"/>'
        + b"".join(b'<referencePlace id="r%d" ref="r%d"/>' % (n + 1, n) for n in range(10_000))
        + b'<arc source="r10000" target="t"/>' * 10_000
        + b"</page></net></pnml>",
    ],
    ids=range(10),
)
def test_large_and_deep_documents_end_soon(data: bytes) -> None:
    began = time.process_time()
    read_or_refuse(data)
    assert time.process_time() - began < 15


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\xff\xfe",
        b"<",
        b"<?xml version='1.0' encoding='nonsense'?><workflow/>",
        "<workflow ID='ä'/>".encode("utf-16"),
        "<?xml version='1.0' encoding='latin-1'?><workflow ID='ä'/>".encode("latin-1"),
        b"<workflow xmlns='relative'><place ID='p'><token><data><x/></data></token></place>"
        b"</workflow>",
        b"<pnml><net/></pnml>",
        b"<pnml/>",
        b"<x:workflow xmlns:x='http://www.gridworkflow.org/gworkflowdl'/>",
    ],
)
def test_odd_documents_are_read_or_refused(data: bytes) -> None:
    read_or_refuse(data)


def test_lines_are_counted_in_every_encoding() -> None:
    text = f'{_GW}\n\n<place ID="a b"/></workflow>'
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        data = text.encode(encoding)
        translation = _LANGUAGES[0].read(Bundle({"main": data}, "main"))
        [finding] = translation.findings
        assert (finding.position.line, finding.position.column) == (3, 1)


def test_markup_in_comments_and_text_does_not_shift_positions() -> None:
    inner = "<!-- <place> --><?pi <place> ?><description><![CDATA[<place/>]]></description>"
    translation = _LANGUAGES[0].read(
        Bundle({"main": f'{_GW}{inner}\n <place ID="a b"\n/></workflow>'.encode()}, "main")
    )

    found = [(f.code, f.position.line, f.position.column) for f in translation.findings]
    assert found == [("INSTRUCTION_IGNORED", 1, 0), ("ID_NOT_NAME", 2, 2)]


def test_a_thousand_findings_are_told_and_the_others_counted() -> None:
    places = "".join(f'<place ID="a {n}"/>' for n in range(3_000))
    translation = _LANGUAGES[0].read(Bundle({"main": f"{_GW}{places}</workflow>".encode()}, "main"))

    assert len(translation.findings) == 1_001
    assert translation.findings[-1].message.startswith("2000 more")


@pytest.mark.parametrize("depth", [150, 900, 100_000])
def test_what_nests_in_our_own_properties_is_bounded(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    said = f'{{"annotations": {{"x": {nested}}}}}'
    place = f'<place ID="p"><property name="ewms.json">{said}</property></place>'
    translation = _LANGUAGES[0].read(Bundle({"m": f"{_GW}{place}</workflow>".encode()}, "m"))

    [read] = translation.workflow.net.places
    assert read.annotations == {"gworkflowdl": {"properties": [["ewms.json", said]]}}
    assert object_of('{"a": [{"b": 1}]}') == {"a": [{"b": 1}]}


@pytest.mark.timeout(90)
def test_what_claims_a_file_does_not_hang() -> None:
    for start in (b"<!---->" * 9_000, b"<?a?>" * 9_000, b" " * 60_000, b"<!--" * 9_000):
        for language in _LANGUAGES:
            assert not language.claims(Bundle({"main": start + b"x"}, "main"))
    utf_16 = _GW.encode("utf-16") + "</workflow>".encode("utf-16")[2:]
    assert _LANGUAGES[0].claims(Bundle({"main": utf_16}, "main"))
    commented = b"<?xml version='1.0'?>\n<!-- <a> -->\n<!-- b --><pnml>"
    assert [language.claims(Bundle({"main": commented}, "main")) for language in _LANGUAGES] == [
        False,
        True,
    ]


_FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_FUZZ
@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    read_or_refuse(data)


@_FUZZ
@given(st.sampled_from(_CORPUS), st.data())
def test_mutated_files(original: bytes, data: st.DataObject) -> None:
    mutated = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(mutated)))
        length = data.draw(st.integers(0, 40))
        piece = data.draw(
            st.binary(max_size=8)
            | st.sampled_from(
                [b"<place>", b'ID="', b"</", b"$", b"&#0;", b"&x;", b"<!--", b"]]>", b"999999999"]
            )
            | st.integers(0, len(original)).map(lambda at: original[at : at + 60])
        )
        mutated[start : start + length] = piece
    read_or_refuse(bytes(mutated))


@_FUZZ
@given(st.sampled_from(_CORPUS), st.integers(0, 20_000))
def test_truncated_files(original: bytes, length: int) -> None:
    read_or_refuse(original[:length])


_NAMES = ["workflow", "place", "transition", "token", "data", "control", "property", "inputPlace"]
_NAMES += ["outputPlace", "condition", "operation", "pnml", "net", "page", "arc", "name", "text"]
_NAMES += ["initialMarking", "inscription", "toolspecific", "referencePlace", "description"]
_ATTRIBUTES = ["ID", "placeID", "edgeExpression", "name", "capacity", "id", "source", "target"]
_ATTRIBUTES += ["ref", "type", "tool"]
_VALUES = ["", "a", "b", "a b", "$a", "1", "-1", "true", "ewms.id", "ewms.json", "ewms.value"]
_VALUES += ["ewms", '{"id": 3}', '{"kind": []}', "[1", '{"annotations": {"gworkflowdl": 1}}']
_VALUES += ['{"gworkflowdl": {"properties": 3, "operation": {"candidates": 7}}}', "ptnet"]


@st.composite
def documents(draw: st.DrawFn, depth: int = 0) -> str:
    """Elements of both languages in any order, as deep as four."""
    name = draw(st.sampled_from(_NAMES))
    attributes = draw(
        st.dictionaries(st.sampled_from(_ATTRIBUTES), st.sampled_from(_VALUES), max_size=3)
    )
    shown = "".join(
        f' {key}="{value.replace(chr(34), "&quot;")}"' for key, value in attributes.items()
    )
    inner = draw(st.sampled_from(_VALUES)) if draw(st.booleans()) else ""
    if depth < 4:
        inner += "".join(draw(st.lists(documents(depth=depth + 1), max_size=3)))
    return f"<{name}{shown}>{inner}</{name}>"


@settings(_FUZZ, max_examples=40)
@given(st.lists(documents(depth=2), max_size=5))
def test_elements_where_they_do_not_belong(inner: list[str]) -> None:
    read_or_refuse(f"{_GW}{''.join(inner)}</workflow>".encode())
    net = '<pnml xmlns="http://www.pnml.org/version-2009/grammar/pnml"><net id="n" type="ptnet">'
    read_or_refuse(f"{net}<page id='p'>{''.join(inner)}</page></net></pnml>".encode())
