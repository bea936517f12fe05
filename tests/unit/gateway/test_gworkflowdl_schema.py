"""The schemas are the judge: what they find fault with is a finding of ours, and nothing else."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_gworkflowdl_corpus import schema_errors

from wms_grpc.gateway.gworkflowdl_reader import GWorkflowDL
from wms_grpc.gateway.model import Bundle, Refused

_HEAD = (
    '<workflow xmlns="http://www.gridworkflow.org/gworkflowdl" '
    'xmlns:oc="http://www.gridworkflow.org/gworkflowdl/operationclass" ID="w">'
)
_NOT_THE_SCHEMAS = {"NO_OPERATION", "OVER_CAPACITY", "VARIABLE_TWICE", "MISSING_FILE", "EMPTY_PATH"}
"""What is wrong with a net in spite of its schema."""

_SIMPLE = [
    *("<description>d</description>", "<description><a/></description>"),
    *('<description x="1"/>', '<property name="a">1</property>', "<property>1</property>"),
    *('<property name="a" b="">1</property>', '<property name="a"><b/></property>'),
    *("<owl>o</owl>", "<owl><a/></owl>", "<x/>", 'text<x xmlns="urn:x"/>'),
]
_IN_PLACES = [
    *_SIMPLE,
    *("<token/>", "<token><control>true</control></token>", "<token>t</token>"),
    *("<token><control>no</control></token>", "<token><control/></token>", '<token x="1"/>'),
    *("<token><data/></token>", "<token><data>t</data></token>", '<token><data b="1"/></token>'),
    *("<token><data><a/></data><data/></token>", "<token><property/><data/></token>"),
    *('<token><data/><property name="a"/></token>', "<token><control><a/></control></token>"),
    *('<token><control a="1">1</control></token>', "<token><control> 0 </control></token>"),
    *('<tokenClass type="a"/>', '<tokenClass x="a"/>', "<tokenClass><owl/><x/></tokenClass>"),
]
_CANDIDATES = [
    *("<oc:operationCandidate/>", '<oc:operationCandidate type="x" selected="1" quality="1e3"/>'),
    *('<oc:operationCandidate selected="no"/>', '<oc:operationCandidate quality="good"/>'),
    *('<oc:operationCandidate x=""/>', "<oc:operationCandidate><oc:owl/></oc:operationCandidate>"),
    *("<oc:operationCandidate><oc:x/></oc:operationCandidate>", "<oc:sdpaOperation/>"),
    *("<oc:owl>o</oc:owl>", "<operationCandidate/>", "<oc:owl><a/></oc:owl>"),
]
_IN_TRANSITIONS = [
    *_SIMPLE,
    *('<inputPlace placeID="pp"/>', '<readPlace placeID="pp" edgeExpression="x"/>'),
    *('<outputPlace placeID="pp" x="1"/>', '<writePlace placeID="pp">t</writePlace>'),
    *('<writePlace placeID="pp"><a/></writePlace>', "<condition>1</condition>"),
    *('<condition x="1">1</condition>', "<condition>1<a/></condition>", "<place/>"),
    *("<operation/>", "<operation><a/></operation>", "<operation><a/><b/></operation>"),
    *("<operation>t</operation>", '<operation x="1"/>'),
]


@st.composite
def _operations(draw: st.DrawFn) -> str:
    inner = "".join(draw(st.lists(st.sampled_from(_CANDIDATES), max_size=3)))
    name = draw(st.sampled_from(["", ' name="c"', ' name="c" x=""']))
    return f"<operation><oc:operationClass{name}>{inner}</oc:operationClass></operation>"


@st.composite
def _parts(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(_SIMPLE))
    identity = draw(st.sampled_from(["a", "b", "c d", "1", "e", "w", None]))
    shown = "" if identity is None else f' ID="{identity}"'
    if draw(st.booleans()):
        capacity = draw(st.sampled_from([None, "1", "+2", " 3 ", "x", "1.0", ""]))
        shown += "" if capacity is None else f' capacity="{capacity}"'
        inner = "".join(draw(st.lists(st.sampled_from(_IN_PLACES), max_size=3)))
        return f"<place{shown}>{inner}</place>"
    inside = st.sampled_from(_IN_TRANSITIONS) | _operations()
    return f"<transition{shown}>{''.join(draw(st.lists(inside, max_size=3)))}</transition>"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_parts(), max_size=3))
def test_a_departure_is_found_if_and_only_if_there_is_one(parts: list[str]) -> None:
    data = f'{_HEAD}<place ID="pp"/>{"".join(parts)}</workflow>'.encode()
    try:
        findings = GWorkflowDL().read(Bundle({"m": data}, "m")).findings
    except Refused as refused:
        findings = (refused.finding,)
    departures = {finding.code for finding in findings} - _NOT_THE_SCHEMAS

    assert bool(departures) == bool(schema_errors(data))
