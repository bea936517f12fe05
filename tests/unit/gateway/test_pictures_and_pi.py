"""What is only written: DOT, Mermaid and the π-calculus."""

from __future__ import annotations

import re
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from xml_corpus import bundle_of

from wms_grpc.domain.nets import Arc, Dependency, Net, Place, Token, Transition
from wms_grpc.domain.tasks import BatchWork, NoopWork, Task
from wms_grpc.domain.token_game import TokenGame
from wms_grpc.gateway.dot_writer import DotWriter
from wms_grpc.gateway.gworkflowdl_reader import GWorkflowDL
from wms_grpc.gateway.mermaid_writer import MermaidWriter
from wms_grpc.gateway.model import Workflow, Writer, Written
from wms_grpc.gateway.pi_writer import PiWriter

_NAMES = ("father", "son1", "son2", "final")
DIAMOND = Workflow(
    "diamond",
    tuple(Task(name, NoopWork()) for name in _NAMES),
    (Dependency(("father",), ("son1", "son2")), Dependency(("son1", "son2"), ("final",))),
)


def text_of(written: Written) -> str:
    return written.bundle.files[written.bundle.main].decode()


def test_a_dag_is_drawn_as_its_tasks_with_their_states() -> None:
    states = {"father": "done", "son1": "running", "son2": "failed"}

    dot = text_of(DotWriter(states=states).write(DIAMOND))
    assert dot.startswith('digraph "diamond" {')
    assert 'label="father\\ndone"' in dot
    assert re.findall(r"n(\d) -> n(\d);", dot) == [("0", "1"), ("0", "2"), ("1", "3"), ("2", "3")]
    mermaid = text_of(MermaidWriter(states=states).write(DIAMOND))
    assert mermaid.startswith("flowchart TD\n")
    assert '  n0["father<br/>done"]' in mermaid
    assert "  class n2 failed" in mermaid
    assert mermaid.count("-->") == 4


def test_a_dag_is_drawn_as_its_net_where_that_is_asked_for() -> None:
    dot = text_of(DotWriter("net").write(DIAMOND))

    assert dot.count("shape=circle") == 6
    assert dot.count("shape=box") == 4
    assert dot.count("->") == 10
    assert "●" in dot


def test_many_on_many_is_drawn_through_one_point() -> None:
    names = [f"{side}{n}" for side in "ab" for n in range(30)]
    dependency = Dependency(tuple(names[:30]), tuple(names[30:]))
    flow = Workflow("w", tuple(Task(name, NoopWork()) for name in names), (dependency,))

    assert text_of(DotWriter().write(flow)).count("->") == 60
    assert text_of(MermaidWriter().write(flow)).count("-->") == 60


def test_a_given_net_is_drawn_with_its_tokens_conditions_and_arcs() -> None:
    flow = GWorkflowDL().read(bundle_of("gworkflowdl", "control-loop.gwdl")).workflow

    dot = text_of(DotWriter().write(flow))
    assert 'label="counter\\n0"' in dot
    assert 'label="i_plus_plus\\n$a < 10"' in dot
    assert 'label="read; incr", dir=both' in dot
    mermaid = text_of(MermaidWriter().write(flow))
    assert '|"#36;a + #36;incr"|' in mermaid


@given(st.text(max_size=30), st.sampled_from([DotWriter(), MermaidWriter(), DotWriter("net")]))
def test_any_name_can_be_drawn(name: str, writer: Writer) -> None:
    flow = Workflow(name, (Task(name, NoopWork(), category=name),))
    lines = text_of(writer.write(flow)).splitlines()

    quoted = re.compile(r'"(\\.|[^"\\])*"')
    for line in lines:
        assert '"' not in quoted.sub("", line)
        assert line.startswith(("digraph", "flowchart", " ", "}"))


# --- π-calculus --------------------------------------------------------------------------------


def test_a_diamond_is_four_processes_and_six_channels() -> None:
    written = PiWriter().write(DIAMOND)
    lines = [line for line in text_of(written).splitlines() if line.startswith("agent")]

    assert written.bundle.main == "diamond.mwb"
    assert lines[0] == (
        "agent T_father(p_p_1,p_p_2,p_init,run_father) = p_init.'run_father.('p_p_1.0 | 'p_p_2.0)"
    )
    assert lines[3].endswith("= p_p_3.p_p_4.'run_final.'p_end.0")
    assert lines[4].startswith("agent System(run_father,run_son1,run_son2,run_final) = (^p_init,")
    assert {finding.code for finding in written.findings} == {"NO_COUNTERPART"}


def test_conflicts_conditions_and_capacities_are_found() -> None:
    net = Net(
        (Place("p", "p", tokens=(Token(),) * 2), Place("q", "q", capacity=1)),
        (Transition("t", "t", conditions=("1",)), Transition("u", "u")),
        (Arc("p", "t", "take"), Arc("p", "u", "read"), Arc("q", "t", "put")),
    )
    written = PiWriter().write(Workflow("w", (), given_net=net))

    found = [(finding.code, finding.subject) for finding in written.findings]
    assert found == [("CONFLICT", "p"), ("NO_COUNTERPART", "q"), ("NO_COUNTERPART", "t")]
    assert "agent T_u(p_p,run_u) = p_p.'run_u.('p_p.0 | T_u(p_p,run_u))" in text_of(written)


def test_the_tokens_of_a_coloured_net_are_names_on_the_channels() -> None:
    flow = GWorkflowDL().read(bundle_of("gworkflowdl", "control-loop.gwdl")).workflow
    text = text_of(PiWriter().write(flow))

    assert "p_counter(x0).'run_break.('p_end<x0>.0 | T_break(" in text
    assert "(^v)'p_counter<v>.0" in text
    assert "'p_increment<v_token_2>.0)" in text


def test_names_are_letters_and_of_one_part_each() -> None:
    names = ["a b", "a_b", "", "ä", "t", "*)"]
    net = Net(tuple(Place(f"p{n}", name) for n, name in enumerate(names)), (), ())
    text = text_of(PiWriter().write(Workflow("(* *)", (), given_net=net)))

    channels = re.findall(r"^\(\* (p_\w*): place .* \*\)$", text, re.MULTILINE)
    assert len(set(channels)) == len(names)
    assert text.isascii()


@st.composite
def dags(draw: st.DrawFn) -> Workflow:
    n = draw(st.integers(1, 6))
    names = [f"n{k}" for k in range(n)]
    pairs = draw(
        st.sets(
            st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] < p[1])
        )
    )
    dependencies = tuple(Dependency((names[a],), (names[b],)) for a, b in sorted(pairs))
    return Workflow("w", tuple(Task(name, BatchWork()) for name in names), dependencies)


@settings(max_examples=60, deadline=None)
@given(dags(), st.integers(0, 9))
def test_the_processes_of_a_dag_do_what_its_net_does(flow: Workflow, seed: int) -> None:
    """A reduction machine of a few lines plays what is written; each order is one of the DAG's."""
    shown = _Machine(text_of(PiWriter().write(flow))).played()

    assert sorted(shown) == sorted(f"run_{task.name}" for task in flow.tasks)
    for dependency in flow.dependencies:
        before, after = f"run_{dependency.parents[0]}", f"run_{dependency.children[0]}"
        assert shown.index(before) < shown.index(after)
    assert TokenGame(flow.net, seed=seed).run() >= len(flow.tasks)


class _Machine:
    """Reduces agents without arguments on their channels: all names are called what they are."""

    def __init__(self, text: str) -> None:
        self._agents = dict(re.findall(r"^agent (\w+)(?:\([^)]*\))? = (.*)$", text, re.MULTILINE))

    def played(self) -> list[str]:
        shown: list[str] = []
        sent: Counter[str] = Counter()
        waiting = self._parts(self._agents["System"])
        while waiting:
            moved = False
            for process in list(waiting):
                prefix, dot, rest = process.partition(".")
                if not dot and prefix != "0":
                    waiting.remove(process)
                    waiting.extend(self._parts(self._agents[prefix.partition("(")[0]]))
                elif process == "0":
                    waiting.remove(process)
                elif prefix.startswith("'run_"):
                    shown.append(prefix[1:])
                    waiting.remove(process)
                    waiting.extend(self._parts(rest))
                elif prefix.startswith("'"):
                    sent[prefix[1:]] += 1
                    waiting.remove(process)
                elif prefix == "t" or sent[prefix]:
                    sent[prefix] -= prefix != "t"
                    waiting.remove(process)
                    waiting.extend(self._parts(rest))
                else:
                    continue
                moved = True
            if not moved:
                break
        return shown

    def _parts(self, text: str) -> list[str]:
        text = re.sub(r"^\(\^[^)]*\)", "", text)
        if text.startswith("(") and text.endswith(")"):
            text = text[1:-1]
        # Only a `|` that is in no parentheses is between parts.
        parts, depth = [""], 0
        for sign in text:
            depth += (sign == "(") - (sign == ")")
            if sign == "|" and depth == 0:
                parts.append("")
            else:
                parts[-1] += sign
        return [part.strip() for part in parts]
