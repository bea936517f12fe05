"""BPEL: what becomes of its structure, what is told, and that structured processes are sound."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from corpus_manifests import bundle_of, corpus_files, expectations, outcome, page_with_table
from hypothesis import given, settings
from hypothesis import strategies as st

from wms_grpc.domain.analysis import Subject, analyze
from wms_grpc.domain.findings import Finding
from wms_grpc.domain.nets import Net
from wms_grpc.domain.tasks import CustomWork, NoopWork, WaitWork
from wms_grpc.gateway.bpel_reader import Bpel
from wms_grpc.gateway.model import Bundle, Refused, Translation

FILES = sorted(expectations("bpel"))
_SPACE = "http://docs.oasis-open.org/wsbpel/2.0/process/executable"


def _read(body: str) -> Translation:
    text = f'<process name="p" xmlns="{_SPACE}" suppressJoinFailure="yes">\n{body}\n</process>'
    return Bpel().read(Bundle({"p.bpel": text.encode()}, "p.bpel"))


def _net(translation: Translation) -> Net:
    assert translation.workflow.given_net is not None
    return translation.workflow.given_net


def _analysis(translation: Translation, *, with_conditions: bool = True) -> tuple[Finding, ...]:
    net = _net(translation)
    if not with_conditions:
        net = replace(net, transitions=tuple(replace(t, conditions=()) for t in net.transitions))
    return analyze(Subject(translation.workflow.tasks, net=net, positions=translation.positions))


def _codes(translation: Translation) -> list[str]:
    return [finding.code for finding in translation.findings if finding.code != "NO_OPERATION"]


@pytest.mark.parametrize("file", FILES)
def test_each_file_of_the_corpus_gives_what_its_manifest_says(file: str) -> None:
    expected = expectations("bpel")[file]
    found = outcome(Bpel(), bundle_of("bpel", file))
    assert (found.gives, sorted(found.findings)) == (expected.gives, sorted(expected.findings))


def test_the_manifest_has_every_file_and_the_page_its_table() -> None:
    assert corpus_files("bpel") == set(FILES)
    page, fresh = page_with_table("bpel")
    assert page == fresh, "run `python tests/corpus_manifests.py bpel`"


def test_a_process_is_never_submitted() -> None:
    translation = _read("<empty/>")
    assert [(f.code, f.severity) for f in translation.findings] == [("NO_OPERATION", "error")]


def test_a_sequence_is_a_chain_and_a_flow_a_fork_and_a_join() -> None:
    translation = _read(
        '<sequence><invoke name="a"/><flow><invoke name="b"/><invoke name="c"/></flow>'
        '<invoke name="d"/></sequence>'
    )
    found = {finding.code: finding.message for finding in _analysis(translation)}
    assert "2 tasks can run at the same time on level 2 of 3" in found["WIDTH"]
    assert "3 tasks: a, b, d" in found["CRITICAL_PATH"]
    assert "SOUND" in found


def test_a_choice_tries_its_branches_one_after_another() -> None:
    translation = _read(
        '<if><condition>$a</condition><invoke name="x"/>'
        '<elseif><condition>$b</condition><invoke name="y"/></elseif>'
        '<else><invoke name="z"/></else></if>'
    )
    conditions = [t.conditions for t in _net(translation).transitions if t.conditions]
    assert conditions == [("$a",), ("not($a)",), ("$b",), ("not($b)",)]
    found = _analysis(translation)
    assert [finding.code for finding in found] == ["UNKNOWN"]
    assert "would be sound" in found[0].message


def test_a_loop_leads_back() -> None:
    for body in (
        '<while><condition>$n</condition><invoke name="x"/></while>',
        '<repeatUntil><invoke name="x"/><condition>$n</condition></repeatUntil>',
    ):
        found = _analysis(_read(body), with_conditions=False)
        assert [finding.code for finding in found] == ["SOUND"]


def test_links_order_what_a_flow_does_not() -> None:
    translation = Bpel().read(bundle_of("bpel", "links.bpel"))
    net = _net(translation)
    links = {p.id for p in net.places if p.id.startswith("link:")}
    assert links == {"link:1:a-to-c", "link:2:b-to-c"}
    assert not any(transition.conditions for transition in net.transitions)
    assert "SOUND" in [finding.code for finding in _analysis(translation)]


def test_a_link_that_may_be_false_lets_its_target_be_skipped() -> None:
    translation = Bpel().read(bundle_of("bpel", "conditional-links.bpel"))
    conditions = {c for t in _net(translation).transitions for c in t.conditions}
    assert conditions == {"$big", "not($big)", "$first", "not($first)", "$third", "not($third)"}
    assert "SOUND" in [f.code for f in _analysis(translation, with_conditions=False)]


def test_a_join_condition_may_skip_too() -> None:
    translation = _read(
        '<flow><links><link name="l"/></links>'
        '<invoke name="a"><sources><source linkName="l"/></sources></invoke>'
        '<invoke name="b"><targets><joinCondition>not($l)</joinCondition>'
        '<target linkName="l"/></targets></invoke></flow>'
    )
    conditions = {c for t in _net(translation).transitions for c in t.conditions}
    assert conditions == {"not($l)", "not(not($l))"}


def test_a_join_that_may_fail_without_being_suppressed_is_told() -> None:
    translation = _read(
        '<flow suppressJoinFailure="no"><links><link name="l"/></links><invoke name="a"><sources>'
        '<source linkName="l"><transitionCondition>$x</transitionCondition></source></sources>'
        '</invoke><invoke name="b"><targets><target linkName="l"/></targets></invoke></flow>'
    )
    assert _codes(translation) == ["JOIN_FAILURE"]


def test_links_in_a_circle_never_start_and_say_where() -> None:
    found = _analysis(Bpel().read(bundle_of("bpel", "links-in-a-circle.bpel")))
    errors = [(f.code, f.subject, f.position.line) for f in found if f.severity == "error"]
    assert errors == [("NEVER_STARTS", "a", 4), ("NEVER_STARTS", "b", 8)]


def test_activities_are_tasks_with_distinct_names() -> None:
    translation = _read(
        '<sequence><invoke operation="pay" partnerLink="bank"/><invoke operation="pay"/>'
        "<empty/><wait><for>'P1DT1M0.5S'</for></wait><wait><until>$t</until></wait></sequence>"
    )
    works = {task.name: task.work for task in translation.workflow.tasks}
    assert list(works) == ["pay", "pay#2", "empty", "wait", "wait#2"]
    assert works["pay"] == CustomWork("bpel:invoke", {"operation": "pay", "partnerLink": "bank"})
    assert works["empty"] == NoopWork()
    assert works["wait"] == WaitWork(seconds=86_460.5)
    assert works["wait#2"] == CustomWork("bpel:wait", {})
    assert _codes(translation) == ["OUTSIDE_SUBSET"]


def test_what_the_net_does_not_say_is_kept() -> None:
    workflow = Bpel().read(bundle_of("bpel", "outside.bpel")).workflow
    text = json.dumps([dict(workflow.annotations), [dict(t.annotations) for t in workflow.tasks]])
    for said in (
        "faultHandlers",
        "xsd:int",
        "<from>1</from>",
        "onMessage",
        "counterName",
        "colour",
        "catchAll",
    ):
        assert said.replace('"', '\\"') in text
    assert {"element": "scope", "name": "all"} in workflow.annotations["bpel"]["structures"]  # type: ignore[index]


def test_it_claims_processes_and_no_other_xml() -> None:
    reader = Bpel()
    for file in FILES:
        assert reader.claims(bundle_of("bpel", file))
    for content in (b"", b"<process/>", b"<net/>", b"JOB a b", b"\x00\xff"):
        assert not reader.claims(Bundle({"x.xml": content}, "x.xml"))
    renamed = bundle_of("bpel", "travel.bpel").files["travel.bpel"]
    assert reader.claims(Bundle({"x.xml": renamed}, "x.xml"))


def test_what_is_too_deep_or_too_long_is_refused() -> None:
    deep = "<sequence>" * 200 + "<empty/>" + "</sequence>" * 200
    long = f"<while><condition>{'x' * 5_000}</condition><empty/></while>"
    for body, code in ((deep, "TOO_DEEP"), (long, "TOO_LARGE")):
        with pytest.raises(Refused) as refused:
            _read(body)
        assert refused.value.finding.code == code


def test_ten_thousand_branches_take_no_more_than_linear_room() -> None:
    branches = "<elseif><condition>$x</condition><invoke/></elseif>" * 10_000
    net = _net(_read(f"<if><condition>$y</condition><invoke/>{branches}</if>"))
    assert len(net.arcs) < 100_000


def _processes() -> st.SearchStrategy[str]:
    """Return structured processes; `@` stands where an activity may have links."""
    leaf = st.just("<invoke>@</invoke>")
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(
                lambda parts: f"<sequence>@{''.join(parts)}</sequence>"
            ),
            st.lists(inner, min_size=1, max_size=3).map(
                lambda parts: f"<flow>@{''.join(parts)}</flow>"
            ),
            st.lists(inner, min_size=1, max_size=2).map(
                lambda parts: (
                    f"<if>@<condition>$c</condition>{parts[0]}"
                    + "".join(f"<else>{part}</else>" for part in parts[1:])
                    + "</if>"
                )
            ),
            inner.map(lambda part: f"<while>@<condition>$c</condition>{part}</while>"),
        ),
        max_leaves=6,
    )


@settings(max_examples=150, deadline=None)
@given(_processes(), st.data())
def test_structured_processes_with_links_onwards_are_sound(
    process: str, data: st.DataObject
) -> None:
    """Links that lead onwards in the text make no circle, wherever they lead."""
    n_places = process.count("@")
    pairs = data.draw(
        st.lists(st.tuples(st.integers(0, n_places - 1), st.integers(0, n_places - 1)), max_size=4)
    )
    ends: dict[int, tuple[str, str]] = dict.fromkeys(range(n_places), ("", ""))
    declared = ""
    for number, (one, other) in enumerate(pairs):
        first, last = min(one, other), max(one, other)
        if first == last:
            continue
        declared += f'<link name="l{number}"/>'
        sources, targets = ends[first]
        ends[first] = (f'{sources}<source linkName="l{number}"/>', targets)
        sources, targets = ends[last]
        ends[last] = (sources, f'{targets}<target linkName="l{number}"/>')
    for number in range(n_places):
        sources, targets = ends[number]
        links = f"<targets>{targets}</targets>" if targets else ""
        links += f"<sources>{sources}</sources>" if sources else ""
        process = process.replace("@", links, 1)
    translation = _read(f"<flow><links>{declared}</links>{process}</flow>")
    codes = [f.code for f in _analysis(translation, with_conditions=False)]
    assert "SOUND" in codes or codes == ["UNKNOWN"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([f for f in FILES if f != "laughs.bpel"]), st.data())
def test_whatever_is_done_to_a_file_it_is_read_or_refused(file: str, data: st.DataObject) -> None:
    content = bytearray(bundle_of("bpel", file).files[file])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 30))] = data.draw(
            st.binary(max_size=8)
            | st.sampled_from([b"<flow>", b"</flow>", b"<!--", b"&x;", b"<a/>"])
        )
    try:
        translation = Bpel().read(Bundle({"x.bpel": bytes(content)}, "x.bpel"))
    except Refused:
        return
    _analysis(translation)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(content: bytes) -> None:
    bundle = Bundle({"x": content}, "x")
    Bpel().claims(bundle)
    with pytest.raises(Refused):
        Bpel().read(bundle)
