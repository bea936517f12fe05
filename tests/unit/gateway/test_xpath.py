"""XPath 1.0 over tokens, and what can be said of an expression by looking at it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wms_grpc.domain.coloured import ExpressionError
from wms_grpc.domain.nets import Token
from wms_grpc.gateway.xml_tokens import string_of
from wms_grpc.gateway.xpath import XPathLanguage, syntax_error
from wms_grpc.gateway.xpath_scan import scan

XPATH = XPathLanguage()
FALSE = Token("<control>false</control>")
TRUE = Token("<control>true</control>")


def data(inner: str) -> Token:
    return Token(f"<data>{inner}</data>")


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('$x = "false"', True),
        ('$x = "true"', False),
        ("$x", True),
        ("not($x)", False),
        ("$x = true", False),
        ("$x = true()", True),
        ("string($x) = 'false'", True),
    ],
)
def test_a_control_token_is_its_element_and_no_boolean(condition: str, holds: bool) -> None:
    assert XPATH.holds(condition, {"x": FALSE}) is holds


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("$a + $b = 15", True),
        ("$a < $b", True),
        ("$a mod 4 = 1", True),
        ("$a div 2 = 2.5 and $b > 9", True),
        ("$a = '5'", True),
        ("$nothing", False),
        ("count($pair) = 2", True),
        ("$pair[@k='2'] = 'two'", True),
        ("$tree/leaf = 'green'", True),
    ],
)
def test_a_data_token_is_the_elements_within(condition: str, holds: bool) -> None:
    variables = {
        "a": data("<a>5</a>"),
        "b": data("<b> 10 </b>"),
        "nothing": Token("<data/>"),
        "pair": data("<p k='1'>one</p><p k='2'>two</p>"),
        "tree": data("<tree><leaf>green</leaf></tree>"),
    }

    assert XPATH.holds(condition, variables) is holds


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("$a", "<data><a>5</a></data>"),
        ("$a + 5", "<data><number>10</number></data>"),
        ("$a div 2", "<data><number>2.5</number></data>"),
        ("$a - 5", "<data><number>0</number></data>"),
        ("1 div 0", "<data><number>Infinity</number></data>"),
        ("$a > 4", "<data><boolean>true</boolean></data>"),
        ("concat('<', $a)", "<data><string>&lt;5</string></data>"),
        ("$t/leaf", "<data><leaf>x</leaf></data>"),
        ("$t/leaf/text()", "<data><string>x</string></data>"),
        ("$t/none", "<data/>"),
        ("$c", "<control>false</control>"),
        ("", "<control>true</control>"),
        ("exitcode", "<data><exitcode>0</exitcode></data>"),
        ("no result of that name", "<control>true</control>"),
    ],
)
def test_an_output_expression_makes_a_token(expression: str, value: str) -> None:
    variables = {"a": data("<a>5</a>"), "c": FALSE, "t": data("<t><leaf>x</leaf></t>")}

    assert XPATH.value(expression, variables, {"exitcode": "0"}) == Token(value)


def test_numbers_are_stored_as_xpath_writes_them() -> None:
    for n in (10_000_000, 123456789012, 0.1, -3, 0.00000012, 1.5):
        token = XPATH.value(f"$a + {n}", {"a": data("<a>0</a>")}, {})
        assert float(string_of(token.value or "")) == pytest.approx(n)
        assert "e" not in string_of(token.value or "").lower()


def test_elements_keep_their_namespaces() -> None:
    token = data('<a xmlns="urn:one"><b xmlns="">1</b></a>')

    assert XPATH.holds("$x/b = 1", {"x": token})
    assert XPATH.value("$x/b", {"x": token}, {}) == data("<b>1</b>")
    assert XPathLanguage({"o": "urn:one"}).holds("$x/self::o:a", {"x": token})


@pytest.mark.parametrize(
    "expression",
    [
        *("$unbound", "$x +", "document('/etc/passwd')", "re:test('a', 'b')", "$x["),
        *("\x00", "'" * 3, "id('a')/.." * 2_000),
    ],
)
def test_what_cannot_be_evaluated_is_an_expression_error(expression: str) -> None:
    with pytest.raises(ExpressionError):
        XPATH.holds(expression, {"x": TRUE})


@pytest.mark.parametrize(
    "expression",
    [
        "count($x//*[count($x//*[count($x//*) > 0]) > 0]) > 0",
        "$x/*[../*[../*[../* = 'a']]]",
        "$x/descendant::*[preceding::*[following::*]]",
        "string-length(translate($x, $x, $x)) > 0",
        " or ".join(["$x/* = $x/following::*"] * 50),
    ],
)
@pytest.mark.timeout(90)
def test_what_would_be_dear_is_refused_at_once(expression: str) -> None:
    large = data("<a>" + "<b>12345</b>" * 4_000 + "</a>")

    with pytest.raises(ExpressionError, match="dear"):
        XPATH.holds(expression, {"x": large})
    assert XPATH.holds("count($x/b) = 4000", {"x": large})


def test_a_token_that_is_too_large_is_refused() -> None:
    large = data("<a>" + "x" * 60_000 + "</a>")

    with pytest.raises(ExpressionError, match="larger"):
        XPATH.value("concat($x, $x)", {"x": large}, {})


def test_a_token_of_another_language_is_its_text() -> None:
    assert XPATH.holds("$x = 'plain'", {"x": Token("plain")})
    assert not XPATH.holds("$x", {"x": Token()})
    assert XPATH.holds("$x != ''", {"x": Token('<!DOCTYPE a [<!ENTITY b "c">]><data>&b;</data>')})


@pytest.mark.parametrize(
    ("expression", "variables", "first_names"),
    [
        ("$hasNext=true", {"hasNext"}, ["true"]),
        ("$a-1 > 0", {"a-1"}, []),
        ("$a - b", {"a"}, ["b"]),
        ("$x[name = 'a']/b", {"x"}, []),
        ("true() and div div mod", set(), ["div", "mod"]),
        ("child::a | @b | c/d", set(), ["c"]),
        ("'$no' = \"$no\"", set(), []),
        ("count(a) * 2 * $b", {"b"}, ["a"]),
        ("$ns:a = gwdl:b", {"ns:a"}, ["gwdl:b"]),
    ],
)
def test_variables_and_empty_paths_are_seen(
    expression: str, variables: set[str], first_names: list[str]
) -> None:
    seen = scan(expression)

    assert seen.variables == variables
    assert list(seen.first_names) == first_names


@given(st.text(max_size=200))
def test_any_text_at_all_is_an_expression_or_an_error(text: str) -> None:
    scan(text)
    syntax_error(text)
    with suppress(ExpressionError):
        XPATH.holds(text, {"x": TRUE})
    with suppress(ExpressionError):
        XPATH.value(text, {"x": TRUE}, {})


_WORDS = ["$x", "$y", "//", "/", "*", "[", "]", "(", ")", "=", "+", "'a'", "1", "count", "..", "@a"]


@given(st.lists(st.sampled_from([*_WORDS, "and", "true", "::", "child", ",", "|"]), max_size=25))
@pytest.mark.timeout(60)
def test_what_looks_like_an_expression_ends_soon(words: list[str]) -> None:
    tree = data("<a><b>1</b><b>2</b></a>" * 20)
    with suppress(ExpressionError):
        XPATH.holds(" ".join(words), {"x": tree, "y": TRUE})
