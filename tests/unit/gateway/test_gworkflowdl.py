"""GWorkflowDL, feature by feature, and what is not its schema's."""

from __future__ import annotations

from itertools import pairwise

import pytest

from wms_grpc.domain.coloured import BLACK
from wms_grpc.domain.nets import Arc, Dependency, Net, Place, Token, Transition
from wms_grpc.domain.tasks import BatchWork, ContainerWork, NoopWork, SubWorkflowWork, Task
from wms_grpc.domain.token_game import TokenGame
from wms_grpc.gateway.gworkflowdl_reader import GWorkflowDL
from wms_grpc.gateway.gworkflowdl_writer import GWorkflowDLWriter
from wms_grpc.gateway.model import Bundle, Finding, Refused, Translation, Workflow
from wms_grpc.gateway.xpath import XPathLanguage, expressions_of

_HEAD = (
    '<workflow xmlns="http://www.gridworkflow.org/gworkflowdl" '
    'xmlns:oc="http://www.gridworkflow.org/gworkflowdl/operationclass" ID="w">'
)


def read(inner: str, head: str = _HEAD, **files: bytes) -> Translation:
    bundle = Bundle({"w.gwdl": f"{head}\n{inner}\n</workflow>".encode(), **files}, "w.gwdl")
    return GWorkflowDL().read(bundle)


def refused(inner: str, head: str = _HEAD) -> Finding:
    with pytest.raises(Refused) as caught:
        read(inner, head)
    return caught.value.finding


def codes(translation: Translation) -> list[tuple[str, int]]:
    return [(finding.code, finding.position.line) for finding in translation.findings]


def text_of(workflow: Workflow) -> str:
    bundle = GWorkflowDLWriter().write(workflow).bundle
    return bundle.files[bundle.main].decode()


def transition(inner: str, operation: str = "") -> str:
    places = "".join(f'<place ID="{name}"/>' for name in "pqr")
    return f'{places}\n<transition ID="t">{inner}{operation}</transition>'


def operation(*candidates: str) -> str:
    inner = "".join(f"<oc:operationCandidate {text}/>" for text in candidates)
    return f'<operation><oc:operationClass name="c">{inner}</oc:operationClass></operation>'


# --- the net ---------------------------------------------------------------------------------


def test_the_four_arcs_have_their_modes_and_expressions() -> None:
    translation = read(
        transition(
            '<readPlace placeID="p" edgeExpression="a"/><inputPlace placeID="q" '
            'edgeExpression="b"/><writePlace placeID="r" edgeExpression="$a"/>'
            '<outputPlace placeID="q" edgeExpression="$a + $b"/><condition>$a &lt; $b</condition>'
        )
    )

    assert codes(translation) == []
    net = translation.workflow.net
    assert net.language == "gworkflowdl"
    assert net.arcs == (
        Arc("p", "t", "read", 1, "a"),
        Arc("q", "t", "take", 1, "b"),
        Arc("r", "t", "write", 1, "$a"),
        Arc("q", "t", "put", 1, "$a + $b"),
    )
    assert net.transitions == (Transition("t", "t", conditions=("$a < $b",)),)


def test_an_arc_that_stands_twice_has_weight_two() -> None:
    translation = read(transition('<inputPlace placeID="p"/>' * 2 + '<outputPlace placeID="q"/>'))

    assert [arc.weight for arc in translation.workflow.net.arcs] == [2, 1]
    assert text_of(translation.workflow).count("inputPlace") == 2


def test_tokens_are_black_control_or_data() -> None:
    inner = (
        '<place ID="p" capacity="5"><token/><token><control> 1 </control></token>'
        '<token><data><a xmlns="">5</a></data></token><token><data/></token>'
        '<token><property name="k">v</property><control>false</control></token></place>'
    )
    [place] = read(inner).workflow.net.places

    assert place.capacity == 5
    assert [token.value for token in place.tokens] == [
        None,
        "<control>true</control>",
        "<data><a>5</a></data>",
        "<data/>",
        '<token><property name="k">v</property><control>false</control></token>',
    ]


def test_what_the_model_has_no_field_for_is_annotated() -> None:
    inner = (
        "<owl>urn:o</owl><description>what it is</description><property name='a'>1</property>"
        '<place ID="p"><tokenClass type="string"><owl>urn:c</owl></tokenClass></place>'
    )
    workflow = read(inner).workflow

    assert workflow.annotations == {
        "gworkflowdl": {
            "owl": ["urn:o"],
            "description": "what it is",
            "properties": [["a", "1"]],
        }
    }
    assert workflow.net.places[0].annotations == {
        "gworkflowdl": {"tokenClass": {"type": "string", "owl": ["urn:c"]}}
    }


# --- what is not the schema's ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ('<place ID="a b"/>', "ID_NOT_NAME"),
        ('<place ID="1a"/>', "ID_NOT_NAME"),
        ('<place ID="w"/>', "ID_TWICE"),
        ("<place/>", "MISSING_ID"),
        ('<place ID="p" capacity="many"/>', "BAD_VALUE"),
        ('<place ID="p" capacity="-1"/>', "BAD_VALUE"),
        ('<place ID="p" capacity="1"><token/><token/></place>', "OVER_CAPACITY"),
        ('<place ID="p" colour="red"/>', "UNKNOWN_ATTRIBUTE"),
        ('<place ID="p">text</place>', "STRAY_TEXT"),
        ('<place ID="p"><arc/></place>', "UNKNOWN_ELEMENT"),
        ('<place ID="p"><token/><description/></place>', "ELEMENT_ORDER"),
        ('<place ID="p"><description/><description/></place>', "DUPLICATE_ELEMENT"),
        ('<place ID="p"><token><control>maybe</control></token></place>', "BAD_VALUE"),
        ('<place ID="p"><token><data>text</data></token></place>', "DATA_TEXT"),
        (
            '<place ID="p"><token><data/><control>true</control></token></place>',
            "DUPLICATE_ELEMENT",
        ),
        ('<place xmlns="urn:other" ID="p"/>', "UNKNOWN_ELEMENT"),
        ("<property>1</property>", "MISSING_NAME"),
        ("<?xml-stylesheet href='a'?>", "INSTRUCTION_IGNORED"),
    ],
)
def test_a_departure_from_the_schema_is_a_finding_and_the_way_back_is_the_same(
    inner: str, code: str
) -> None:
    from test_gworkflowdl_corpus import schema_errors

    from wms_grpc.gateway.equality import differences

    translation = read(inner)

    assert codes(translation) == [(code, 2)]
    written = GWorkflowDLWriter().write(translation.workflow).bundle
    assert schema_errors(written.files[written.main]) == []
    assert differences(translation.workflow, GWorkflowDL().read(written).workflow) == []


@pytest.mark.parametrize(
    ("arcs", "expected"),
    [
        ('<inputPlace placeID="p" edgeExpression="a b"/>', "BAD_VARIABLE"),
        ('<inputPlace placeID="p" edgeExpression="$a"/>', "BAD_VARIABLE"),
        ('<outputPlace placeID="p" edgeExpression="$a"/>', "UNBOUND_VARIABLE"),
        ('<outputPlace placeID="p" edgeExpression="a"/>', "NO_RESULT"),
        ("<condition>$a</condition>", "UNBOUND_VARIABLE"),
        ("<condition>true</condition>", "EMPTY_PATH"),
        ("<condition>1 +</condition>", "BAD_EXPRESSION"),
        (
            '<inputPlace placeID="p" edgeExpression="a"/>'
            '<inputPlace placeID="q" edgeExpression="a"/>',
            "VARIABLE_TWICE",
        ),
    ],
)
def test_an_expression_that_cannot_mean_what_it_says_is_a_finding(arcs: str, expected: str) -> None:
    assert codes(read(transition(arcs))) == [(expected, 3)]


def test_the_variable_of_a_dollar_sign_is_the_one_without() -> None:
    translation = read(
        '<place ID="p"><token><control>true</control></token></place><place ID="q"/>'
        '<transition ID="t"><inputPlace placeID="p" edgeExpression="$a"/>'
        '<outputPlace placeID="q" edgeExpression="$a"/></transition>'
    )
    game = TokenGame(translation.workflow.net, XPathLanguage())
    game.run()

    assert game.marking == {"q": (Token("<control>true</control>"),)}


def test_a_file_of_an_older_version_or_of_no_namespace_is_read_and_told() -> None:
    old = (
        '<workflow xmlns="http://www.gridworkflow.org/gworkflowdl" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:schemaLocation="http://www.gridworkflow.org/gworkflowdl gworkflowdl_1_0.xsd" ID="w">'
    )
    assert codes(read('<place ID="p"/>', old)) == [("OLD_VERSION", 1)]
    translation = read('<place ID="p"/>', '<workflow ID="w">')
    assert codes(translation) == [("NAMESPACE", 1)]
    assert [place.name for place in translation.workflow.net.places] == ["p"]


@pytest.mark.parametrize(
    ("inner", "code", "line", "column"),
    [
        ('<place ID="p"/>\n <place ID="p"/>', "DUPLICATE_NAME", 3, 2),
        ('<transition ID="t"/><transition ID="t"/>', "DUPLICATE_NAME", 2, 21),
        ('<transition ID="t">\n<inputPlace placeID="p"/></transition>', "UNKNOWN_PLACE", 3, 1),
        ('<transition ID="t"><inputPlace/></transition>', "MISSING_PLACE", 2, 20),
        ("<place>", "SYNTAX", 3, 12),
        ('<place ID="p"><token><data>' + "<a>" * 120 + "</a>" * 120, "SYNTAX", 3, 12),
        (
            '<place ID="p"><token><data>' + "<a>" * 120 + "</a>" * 120 + "</data></token></place>",
            "TOO_DEEP",
            2,
            316,
        ),
        (
            f'<place ID="p"><token><data><a>{"x" * 70_000}</a></data></token></place>',
            *("TOO_LARGE", 2, 15),
        ),
        (transition(f"<condition>{'1+' * 3_000}1</condition>"), "TOO_LARGE", 3, 20),
    ],
)
def test_what_cannot_be_told_is_refused_at_its_place(
    inner: str, code: str, line: int, column: int
) -> None:
    finding = refused(inner)

    assert (finding.code, finding.position.line, finding.position.column) == (code, line, column)


def test_another_document_is_refused_by_its_name() -> None:
    bundle = Bundle({"w.gwdl": b"\n <project/>"}, "w.gwdl")
    with pytest.raises(Refused, match="not a `project`") as caught:
        GWorkflowDL().read(bundle)
    assert (caught.value.finding.position.line, caught.value.finding.position.column) == (2, 2)


# --- operations --------------------------------------------------------------------------------


def test_a_command_is_a_batch_task_with_an_argument_for_each_name() -> None:
    arcs = (
        '<readPlace placeID="p" edgeExpression="config"/>'
        '<inputPlace placeID="q" edgeExpression="stdin"/>'
        '<outputPlace placeID="r" edgeExpression="stdout"/>'
        '<outputPlace placeID="r" edgeExpression="exitcode"/>'
        '<outputPlace placeID="r" edgeExpression="image"/>'
        '<outputPlace placeID="r" edgeExpression="$config"/>'
    )
    command = 'type="cli" operationName="run" resourceName="/opt/run.sh" quality="0.5"'
    translation = read(transition(arcs, operation(command)))

    assert codes(translation) == []
    [task] = translation.workflow.tasks
    assert task == Task(
        "t",
        BatchWork(
            executable="/opt/run.sh",
            arguments=("-config", "$(token:config)", "-image", "image.dat"),
            stdin="$(token:stdin)",
            stdout="stdout",
            outputs=("image.dat",),
        ),
    )


def test_the_selected_candidate_is_done_if_it_can_be_and_else_the_best() -> None:
    a, b = ('type="cli" resourceName="/a" quality="1"', 'type="cli" resourceName="/b" quality="2"')

    def executable(*candidates: str) -> tuple[str, list[str]]:
        translation = read(transition("", operation(*candidates)))
        [task] = translation.workflow.tasks
        assert isinstance(task.work, BatchWork)
        return task.work.executable, [finding.code for finding in translation.findings]

    assert executable(a, b) == ("/b", [])
    assert executable(f'{a} selected="true"', b) == ("/a", [])
    assert executable('type="sdpa" selected="true"', a) == ("/a", ["OTHER_CANDIDATE"])


@pytest.mark.parametrize(
    "inside",
    [
        "<operation/>",
        operation('type="sdpa"'),
        operation('type="cli"'),
        '<operation><oc:operationClass name="c"/></operation>',
        '<operation><other xmlns="urn:x">  <a> b </a></other></operation>',
    ],
)
def test_an_operation_that_nobody_here_does_forbids_submission_and_is_kept(inside: str) -> None:
    from wms_grpc.gateway.equality import differences

    translation = read(transition("", inside))

    assert codes(translation) == [("NO_OPERATION", 3)]
    assert translation.findings[0].severity == "error"
    assert translation.workflow.net.transitions[0].task is None
    written = GWorkflowDLWriter().write(translation.workflow)
    assert differences(translation.workflow, GWorkflowDL().read(written.bundle).workflow) == []


def test_a_workflow_type_is_a_sub_workflow_if_its_file_is_there() -> None:
    inner = transition("", operation('type="gwes/workflow" operationName="sub.gwdl"'))

    assert codes(read(inner)) == [("MISSING_FILE", 3), ("NO_OPERATION", 3)]
    [task] = read(inner, **{"sub.gwdl": b"<workflow/>"}).workflow.tasks
    assert task.work == SubWorkflowWork("gworkflowdl", "sub.gwdl")


# --- written from elsewhere ----------------------------------------------------------------------


def test_a_dag_is_written_as_its_net_with_its_tasks_as_operations() -> None:
    tasks = (
        Task("first one", BatchWork(executable="/bin/a", arguments=("x",)), priority=3),
        Task("second", NoopWork()),
        Task("third", SubWorkflowWork("dagman", "b.dag")),
        Task("fourth", ContainerWork((), (), (), "image")),
    )
    chain = [task.name for task in tasks]
    dependencies = tuple(Dependency((a,), (b,)) for a, b in pairwise(chain))
    written = GWorkflowDLWriter().write(Workflow("my flow", tasks, dependencies, max_running=2))

    assert written.bundle.main == "my_flow.gwdl"
    again = GWorkflowDL().read(written.bundle).workflow
    assert again.name == "my flow"
    assert [t.name for t in again.net.transitions] == chain
    assert again.tasks[0].work == BatchWork(executable="/bin/a")
    assert len([p for p in again.net.places if p.tokens]) == 1
    assert [(finding.subject, finding.message.partition("for ")[2]) for finding in written.findings]
    lost = {finding.subject: finding.message for finding in written.findings}
    assert "max_running" in lost["my flow"]
    assert "arguments" in lost["first one"]
    assert "container" in lost["fourth"]
    game = TokenGame(again.net, XPathLanguage())
    assert game.run() == 4


def test_names_that_xml_cannot_hold_come_back() -> None:
    names = ["a b", "a_b", "a:b", "1", "ä", "\x00", "w", "", "end"]
    net = Net(tuple(Place(f"p{n}", name) for n, name in enumerate(names) if name), (), ())
    written = GWorkflowDLWriter().write(Workflow("w", (), given_net=net))
    again = GWorkflowDL().read(written.bundle)

    assert again.findings == ()
    assert [place.name for place in again.workflow.net.places] == [name for name in names if name]


def test_tokens_that_are_no_data_of_the_language_come_back() -> None:
    values = ["text", "<control>maybe</control>", "<data>loose</data>", "\x01", "<data a='1'/>"]
    net = Net((Place("p", "p", tokens=tuple(map(Token, values))),), (), (), "gworkflowdl")
    written = GWorkflowDLWriter().write(Workflow("w", (), given_net=net))

    assert [finding.code for finding in written.findings] == ["TOKEN_AS_PROPERTY"] * 5
    [place] = GWorkflowDL().read(written.bundle).workflow.net.places
    assert [token.value for token in place.tokens] == values


def test_a_prefix_of_the_file_is_one_of_its_expressions() -> None:
    head = _HEAD.replace(" ID=", ' xmlns:o="urn:o" ID=')
    inner = (
        '<place ID="p"><token><data><o:a><o:b>7</o:b></o:a></data></token></place><place ID="q"/>'
        '<transition ID="t"><inputPlace placeID="p" edgeExpression="x"/>'
        '<outputPlace placeID="q" edgeExpression="$x/o:b"/><condition>$x/o:b = 7</condition>'
        "</transition>"
    )
    net = read(inner, head).workflow.net
    game = TokenGame(net, expressions_of(net))

    assert game.run() == 1
    assert game.marking["q"] == (Token('<data><o:b xmlns:o="urn:o">7</o:b></data>'),)
    assert expressions_of(Net((), (), ())) is BLACK


def test_a_prefix_is_declared_at_the_root_or_at_the_expression() -> None:
    arcs = '<inputPlace placeID="p" edgeExpression="x"/>'
    own = '<condition xmlns:o="urn:o">$x/o:b = 7</condition>'
    translation = read(transition(arcs + own))
    assert codes(translation) == []
    assert translation.workflow.net.annotations == {"gworkflowdl": {"prefixes": {"o": "urn:o"}}}
    assert codes(read(transition(arcs + "<condition>$x/o:b</condition>"))) == [
        ("BAD_EXPRESSION", 3)
    ]
    other = '<condition xmlns:o="urn:other">$x/o:b</condition>'
    assert codes(read(transition(arcs + own + other))) == [("PREFIX_TWICE", 3)]
