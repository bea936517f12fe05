"""Any net, written in a language that is read, is the same net when it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from test_gworkflowdl_corpus import schema_errors

from wms_grpc.domain.nets import Arc, Net, Place, Token, Transition
from wms_grpc.domain.token_game import TokenGame
from wms_grpc.gateway.equality import differences
from wms_grpc.gateway.gworkflowdl_reader import GWorkflowDL
from wms_grpc.gateway.gworkflowdl_writer import GWorkflowDLWriter
from wms_grpc.gateway.model import Language, Workflow, Writer
from wms_grpc.gateway.pnml_reader import Pnml
from wms_grpc.gateway.pnml_writer import PnmlWriter
from wms_grpc.gateway.xml_tokens import element_of

_SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_texts = st.text(max_size=12)
_names = st.text(min_size=1, max_size=8).map(lambda name: " ".join(name.split())).filter(bool)
_lines = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=12
)
_variables = st.from_regex(r"[a-z][a-z0-9_]{0,4}", fullmatch=True)


@st.composite
def elements(draw: st.DrawFn, depth: int = 0) -> str:
    """A small tree of XML, in several namespaces or in none."""
    name = draw(st.sampled_from(["a", "b", "p:c", "sdpa"]))
    shown = draw(
        st.sampled_from(
            ["", ' xmlns=""', ' xmlns="urn:one"', ' k="v"', ' xmlns:q="urn:q" q:t="q:x"']
        )
    )
    if name.startswith("p:"):
        shown += ' xmlns:p="urn:p"'
    inner = draw(st.sampled_from(["", "5", " x ", "&lt;", "p:y"]))
    if depth < 2:
        inner += "".join(draw(st.lists(elements(depth=depth + 1), max_size=2)))
    return f"<{name}{shown}>{inner}</{name}>"


@st.composite
def token_elements(draw: st.DrawFn) -> str:
    """A token as it may stand in a file."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return "<token/>"
    inner = draw(st.sampled_from(["<control>true</control>", "<control>0</control>", "<data/>"]))
    if kind > 1:
        inner = f"<data>{''.join(draw(st.lists(elements(), max_size=3)))}</data>"
    named = '<property name="n">v</property>' if kind == 3 else ""
    return f"<token>{named}{inner}</token>"


def _read_tokens(texts: list[str]) -> tuple[Token, ...]:
    from test_gworkflowdl import read

    return read(f'<place ID="p">{"".join(texts)}</place>').workflow.net.places[0].tokens


@st.composite
def nets(draw: st.DrawFn, language: str, *, is_coloured: bool) -> Net:
    """A net with everything that the model has, as the language's reader would give it."""
    places = []
    for name in draw(st.lists(_names, max_size=4, unique=True)):
        tokens = (Token(),) * draw(st.integers(0, 3))
        if is_coloured:
            tokens = _read_tokens(draw(st.lists(token_elements(), max_size=3)))
        kind = draw(st.sampled_from(["control", "data"]))
        capacity = draw(st.none() | st.integers(3, 9))
        place = Place(name, name, kind, capacity, tokens, draw(_annotated))  # type: ignore[arg-type]
        places.append(place)
    transitions = tuple(
        Transition(
            f"t {name}" if is_coloured else f"t{n}",
            f"t {name}",
            None,
            tuple(draw(st.lists(_variables.map("${} > 1".format), max_size=2)))
            if is_coloured
            else (),
            draw(_annotated),
        )
        for n, name in enumerate(draw(st.lists(_names, max_size=4, unique=True)))
    )
    arcs: list[Arc] = []
    if places and transitions:
        arcs = draw(
            st.lists(
                st.builds(
                    Arc,
                    st.sampled_from([place.id for place in places]),
                    st.sampled_from([transition.id for transition in transitions]),
                    st.sampled_from(["take", "read", "put", "write"]),
                    st.integers(1, 3),
                    _variables | st.just("") if is_coloured else st.just(""),
                ),
                max_size=8,
                unique_by=lambda arc: (arc.place, arc.transition, arc.mode, arc.expression),
            )
        )
    return Net(tuple(places), transitions, tuple(arcs), language)


_annotated = st.just({}) | st.just({"other": {"k": [1, "ä\x00", None]}})


def _comes_back(workflow: Workflow, writer: Writer, language: Language) -> Workflow:
    written = writer.write(workflow)
    again = language.read(written.bundle).workflow
    assert differences(workflow, again) == []
    return again


@_SETTINGS
@given(nets("gworkflowdl", is_coloured=True), _names, _lines)
def test_a_net_in_gworkflowdl(net: Net, name: str, text: str) -> None:
    said = {"description": text, "properties": [["p", text], ["q", ""]]}
    place_said = {"gworkflowdl": {"description": text, "tokenClass": {"type": text}}}
    places = tuple(
        replace(p, annotations={**p.annotations, **(place_said if n % 2 else {})})
        for n, p in enumerate(net.places)
    )
    net = replace(net, places=places)
    workflow = Workflow(name, (), given_net=net, annotations={"gworkflowdl": said})

    _comes_back(workflow, GWorkflowDLWriter(), GWorkflowDL())
    bundle = GWorkflowDLWriter().write(workflow).bundle
    assert schema_errors(bundle.files[bundle.main]) == []


@_SETTINGS
@given(nets("pnml", is_coloured=False), _names)
def test_a_net_in_pnml(net: Net, name: str) -> None:
    first = PnmlWriter().write(Workflow(name, (), given_net=net))
    read = Pnml().read(first.bundle)
    assert {finding.code for finding in read.findings} == set()

    again = read.workflow
    _comes_back(again, PnmlWriter(), Pnml())
    assert _without_language(again.net) == _without_language(net)


@_SETTINGS
@given(nets("pnml", is_coloured=False), st.integers(0, 9))
def test_a_net_plays_the_same_in_every_language(net: Net, seed: int) -> None:
    """The arcs of one transition to one place may change their order, and no more than that."""
    played = _played(net, seed)
    for writer, language in _BOTH:
        written = writer.write(Workflow("w", (), given_net=net))
        assert _played(language.read(written.bundle).workflow.net, seed) == played


_BOTH: list[tuple[Writer, Language]] = [
    (GWorkflowDLWriter(), GWorkflowDL()),
    (PnmlWriter(), Pnml()),
]


def _played(net: Net, seed: int) -> list[tuple[str, int]]:
    game = TokenGame(net, seed=seed)
    for _ in range(12):
        if game.step() is None:
            break
    names = {place.id: place.name for place in net.places}
    return sorted((names[place], len(tokens)) for place, tokens in game.marking.items())


def _without_language(net: Net) -> object:
    key: Callable[[str], str] = str
    names = {p.id: p.name for p in net.places} | {t.id: t.name for t in net.transitions}
    arcs = [(names[a.place], names[a.transition], a.mode, a.weight) for a in net.arcs]
    places = [(p.name, p.kind, p.capacity, len(p.tokens)) for p in net.places]
    return sorted(arcs, key=key), sorted(places, key=key), sorted(t.name for t in net.transitions)


@_SETTINGS
@given(st.lists(elements(), max_size=3))
def test_the_data_of_a_token_keep_every_name_and_text(inner: list[str]) -> None:
    text = "".join(inner)
    space = "http://www.gridworkflow.org/gworkflowdl"
    [token] = _read_tokens([f"<token><data>{text}</data></token>"])
    kept = element_of(token.value or "")
    assert kept is not None

    assert _expanded(kept) == _expanded(etree.fromstring(f'<data xmlns="{space}">{text}</data>'))


def _expanded(data: etree._Element) -> list[object]:
    return [
        (node.tag, node.text, node.tail if node not in list(data) else None, dict(node.attrib))
        for node in data.iter("*")
        if node is not data
    ]
