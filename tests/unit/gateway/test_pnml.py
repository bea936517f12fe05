"""PNML, feature by feature, and what is not ISO's."""

from __future__ import annotations

import pytest

from wms_grpc.domain.nets import Arc, Dependency, Net, Place, Token, Transition
from wms_grpc.domain.tasks import BatchWork, Task
from wms_grpc.domain.token_game import TokenGame
from wms_grpc.gateway.equality import differences
from wms_grpc.gateway.model import Bundle, Finding, Refused, Translation, Workflow
from wms_grpc.gateway.pnml_reader import Pnml
from wms_grpc.gateway.pnml_writer import PnmlWriter

_GRAMMAR = "http://www.pnml.org/version-2009/grammar"
_HEAD = f'<pnml xmlns="{_GRAMMAR}/pnml"><net id="n" type="{_GRAMMAR}/ptnet">'


def read(inner: str, head: str = _HEAD) -> Translation:
    return Pnml().read(Bundle({"n.pnml": f"{head}\n{inner}\n</net></pnml>".encode()}, "n.pnml"))


def refused(inner: str, head: str = _HEAD) -> Finding:
    with pytest.raises(Refused) as caught:
        read(inner, head)
    return caught.value.finding


def page(inner: str) -> str:
    return f'<page id="g">\n{inner}</page>'


def codes(translation: Translation) -> list[tuple[str, int]]:
    return [(finding.code, finding.position.line) for finding in translation.findings]


def marking(n: int | str) -> str:
    return f"<initialMarking><text>{n}</text></initialMarking>"


_NODES = (
    f'<place id="p">{marking(2)}</place><transition id="t"><name><text>T</text></name></transition>'
)


def test_places_transitions_weights_and_markings_are_read() -> None:
    arcs = (
        '<arc id="a" source="p" target="t"><inscription><text>2</text></inscription></arc>'
        '<arc id="b" source="t" target="p"/>'
    )
    translation = read(page(_NODES + arcs))

    assert codes(translation) == []
    net = translation.workflow.net
    assert net.language == "pnml"
    assert [(place.id, len(place.tokens)) for place in net.places] == [("p", 2)]
    assert [(t.id, t.name, t.task) for t in net.transitions] == [("t", "T", None)]
    assert net.arcs == (Arc("p", "t", "take", 2), Arc("p", "t", "put", 1))
    assert TokenGame(net).run() == 1


def test_pages_within_pages_and_references_are_one_flat_net() -> None:
    inner = (
        f'<page id="one">{_NODES}<page id="inner"><name><text>In</text></name>\n'
        '<referencePlace id="rp" ref="rp2"/><referenceTransition id="rt" ref="t"/>\n'
        '<arc id="a" source="rp" target="rt"/></page></page>\n'
        '<page id="two"><referencePlace id="rp2" ref="p"/></page>'
    )
    translation = read(inner)

    assert translation.workflow.net.arcs == (Arc("p", "t", "take"),)
    assert codes(translation) == [
        ("PAGE_FLATTENED", 2),
        ("PAGE_FLATTENED", 2),
        ("REFERENCE_FLATTENED", 3),
        ("REFERENCE_FLATTENED", 3),
        ("PAGE_FLATTENED", 5),
        ("REFERENCE_FLATTENED", 5),
    ]
    assert {finding.severity for finding in translation.findings} == {"info"}
    assert {finding.subject for finding in translation.findings} >= {"In", "rp", "rt", "two"}
    written = PnmlWriter().write(translation.workflow)
    assert differences(translation.workflow, Pnml().read(written.bundle).workflow) == []


def test_graphics_and_what_tools_have_added_come_back() -> None:
    inner = page(
        '<name><text>G</text><graphics/></name><place id="p"><graphics><position x="1" y="2"/>'
        '</graphics><name><text> P </text><graphics><offset x="0" y="-10"/></graphics></name>'
        f'<toolspecific tool="x" version="1"><a xmlns=""> b <c/></a></toolspecific>{marking(1)}'
        '</place><transition id="t"/><arc id="a" source="p" target="t"><graphics/></arc>'
    )
    translation = read(inner)
    again = Pnml().read(PnmlWriter().write(translation.workflow).bundle)

    assert codes(translation) == codes(again) == []
    assert differences(translation.workflow, again.workflow) == []
    text = str(again.workflow)
    for part in ('<position x="1" y="2"/>', 'x="0" y="-10"', "> b <c/></a>", "'text': 'G'"):
        assert part in text


@pytest.mark.parametrize(
    "kind",
    ["symmetricnet", "highlevelnet", "pt-hlpng", "pnmlcoremodel", "http://x/timenet", ""],
)
def test_other_types_of_nets_are_refused_by_their_names(kind: str) -> None:
    finding = refused(page(""), f'<pnml xmlns="{_GRAMMAR}/pnml"><net id="n" type="{kind}">')

    assert (finding.code, finding.position.line) == ("NET_TYPE", 1)
    assert kind in finding.message


@pytest.mark.parametrize(
    "head",
    [
        '<pnml><net id="n" type="http://www.informatik.hu-berlin.de/top/pntd/ptNetb">',
        '<pnml><net id="n" type="P/T net">',
    ],
)
def test_place_transition_nets_from_before_the_standard_are_read_and_told(head: str) -> None:
    inner = (
        '<place id="p"><initialMarking><value>Default,3</value></initialMarking>'
        "<capacity><value>0</value></capacity></place><transition id='t'/>"
        '<arc id="a" source="p" target="t"><inscription><value>2</value></inscription>'
        '<type value="normal"/></arc>'
    )
    translation = read(inner, head)

    found = [code for code, _ in codes(translation)]
    assert sorted(found) == ["NAMESPACE", "NOT_ISO", "NO_PAGE", *["OLD_VERSION"] * 4]
    [place], [arc] = translation.workflow.net.places, translation.workflow.net.arcs
    assert (len(place.tokens), place.capacity, arc.weight) == (3, None, 2)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<net id="" type="ptnet"><page>', ["MISSING_ID", "MISSING_ID"]),
        ('<net id="n" type="ptnet"><page id="p">', ["ID_TWICE"]),
        ('<net id="1" type="ptnet"><page id="a b">', ["ID_NOT_NAME", "ID_NOT_NAME"]),
    ],
)
def test_ids_of_nets_pages_and_arcs_come_back_or_are_told(text: str, found: list[str]) -> None:
    inner = (
        '<place id="p"/><transition id="1t"/><arc id="2 a" source="p" target="1t"/>'
        '<arc source="1t" target="p"/>'
    )
    data = f'<pnml xmlns="{_GRAMMAR}/pnml">{text}{inner}</page></net></pnml>'
    translation = Pnml().read(Bundle({"n": data.encode()}, "n"))

    expected = [*found, "OLD_VERSION", "ID_NOT_NAME", "ID_NOT_NAME", "MISSING_ID"]
    assert sorted(code for code, _ in codes(translation)) == sorted(expected)
    again = Pnml().read(PnmlWriter().write(translation.workflow).bundle)
    assert differences(translation.workflow, again.workflow) == []
    assert codes(again) == []


def test_the_first_of_several_nets_is_read_and_the_others_told() -> None:
    bundle = Bundle(
        {"n": f'{_HEAD}<page id="g"/></net>\n<net id="m" type=""/></pnml>'.encode()}, "n"
    )
    translation = Pnml().read(bundle)

    assert translation.workflow.name == "n"
    assert codes(translation) == [("MORE_NETS", 2)]


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ('<place id="p"/><place id="p"/>', "DUPLICATE_NAME"),
        ('<place id="p"/><transition id="p"/>', "DUPLICATE_NAME"),
        ("<place/>", "MISSING_ID"),
        (_NODES + '<arc id="a" source="p" target="x"/>', "UNKNOWN_NODE"),
        (_NODES + '<arc id="a" source="p" target="p"/>', "BAD_ARC"),
        (_NODES + '<arc id="a"/>', "UNKNOWN_NODE"),
        (f'<place id="p">{marking(-1)}</place>', "BAD_VALUE"),
        (f'<place id="p">{marking("1.5")}</place>', "BAD_VALUE"),
        (f'<place id="p">{marking(10**7)}</place>', "BAD_VALUE"),
        (
            _NODES + '<arc id="a" source="p" target="t"><inscription><text>0</text>'
            "</inscription></arc>",
            "BAD_VALUE",
        ),
        (
            _NODES + '<arc id="a" source="p" target="t"><type value="inhibitor"/></arc>',
            "NO_COUNTERPART",
        ),
        (
            '<referencePlace id="a" ref="b"/><referencePlace id="b" ref="a"/>'
            '<transition id="t"/><arc id="c" source="a" target="t"/>',
            "CYCLE",
        ),
    ],
)
def test_what_cannot_be_told_is_refused_at_its_line(inner: str, code: str) -> None:
    finding = refused(page(inner))

    assert (finding.code, finding.position.line) == (code, 3)


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ('<place id="a b"/>', "ID_NOT_NAME"),
        ('<place id="p" colour="red"/>', "UNKNOWN_ATTRIBUTE"),
        ('<place id="p"><rate><text>2</text></rate></place>', "UNKNOWN_ELEMENT"),
        ('<place id="p"><name/><name/></place>', "DUPLICATE_ELEMENT"),
        ('<place id="p"><initialMarking/></place>', "BAD_VALUE"),
        (_NODES + '<arc source="p" target="t"/>', "MISSING_ID"),
        (_NODES + '<arc id="a" source="p" target="t"><type value="test"/></arc>', "NOT_ISO"),
        ('<place id="p"><capacity><text>3</text></capacity></place>', "NOT_ISO"),
    ],
)
def test_what_is_not_the_standards_is_a_finding(inner: str, code: str) -> None:
    translation = read(page(inner))

    assert codes(translation) == [(code, 3)]
    written = PnmlWriter().write(translation.workflow)
    assert differences(translation.workflow, Pnml().read(written.bundle).workflow) == []


def test_a_read_arc_is_written_as_the_loop_that_it_stands_for() -> None:
    net = Net(
        (Place("p", "p", tokens=(Token(),)), Place("q", "q", capacity=2, kind="data")),
        (Transition("t", "t"),),
        (Arc("p", "t", "read", 2), Arc("q", "t", "write")),
    )
    written = PnmlWriter().write(Workflow("w", (), given_net=net))

    assert [finding.code for finding in written.findings] == ["NOT_ISO"]
    assert written.bundle.files["w.pnml"].count(b"<arc ") == 4
    again = Pnml().read(written.bundle).workflow.net
    assert again.arcs == net.arcs
    assert (again.places[1].capacity, again.places[1].kind) == (2, "data")


def test_what_a_net_of_black_tokens_cannot_say_is_found() -> None:
    tasks = (Task("a b", BatchWork(executable="/x")), Task("c", BatchWork(executable="/y")))
    dag = Workflow("d", tasks, (Dependency(("a b",), ("c",)),), priority=3)
    findings = PnmlWriter().write(dag).findings
    assert [(f.code, f.subject) for f in findings] == [
        ("NO_COUNTERPART", "d"),
        ("NO_COUNTERPART", "a b"),
        ("NO_COUNTERPART", "c"),
    ]
    coloured = Net(
        (Place("p", "p", tokens=(Token("<data/>"),)),),
        (Transition("t", "t", conditions=("$x",)),),
        (Arc("p", "t", "take", expression="x"),),
    )
    findings = PnmlWriter().write(Workflow("w", (), given_net=coloured)).findings
    assert ["values" in findings[0].message, "conditions" in findings[1].message] == [True, True]
    again = Pnml().read(PnmlWriter().write(dag).bundle).workflow
    assert [transition.name for transition in again.net.transitions] == ["a b", "c"]
    assert TokenGame(again.net).run() == 2
