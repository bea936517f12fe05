"""The expressions of GWorkflowDL: XPath 1.0 over the tokens that the variables are bound to.

A variable is the node-set of its token's elements, so `$x = "false"` holds for
`<control>false</control>`, and `$a + $b` adds what stands in them. Nothing else is there: the
context of an expression is an empty element, and neither functions nor documents can be reached
beyond XPath's own. What would be dear to evaluate is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Final

from lxml import etree

from wms_grpc.domain.coloured import BLACK, ExpressionError, ExpressionLanguage
from wms_grpc.domain.nets import Net, Token
from wms_grpc.gateway.model import MAX_EXPRESSION, MAX_TOKEN
from wms_grpc.gateway.xml_tokens import TRUE, data_of, nodes_of, wrapped
from wms_grpc.gateway.xpath_scan import NAME, scan

__all__ = [
    "OPERATION_CLASS",
    "STANDARD_PREFIXES",
    "WORKFLOW",
    "XPathLanguage",
    "expressions_of",
    "syntax_error",
]

WORKFLOW: Final = "http://www.gridworkflow.org/gworkflowdl"
OPERATION_CLASS: Final = "http://www.gridworkflow.org/gworkflowdl/operationclass"

STANDARD_PREFIXES: Final[Mapping[str, str]] = {
    "gwdl": WORKFLOW,
    "oc": OPERATION_CLASS,
    "xsd": "http://www.w3.org/2001/XMLSchema",
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
}
_MAX_VISITS: Final = 100_000_000
_MAX_CHARACTERS: Final = 4 * 1024 * 1024
_MAX_TRANSLATED: Final = 4 * 1024

_Variable = list[etree._Element] | str


class XPathLanguage:
    """An `ExpressionLanguage`.

    `prefixes` are the namespaces that expressions may use beside `gwdl`, `oc`, `xsd` and `xsi`.
    """

    def __init__(self, prefixes: Mapping[str, str] | None = None) -> None:
        known = {**STANDARD_PREFIXES, **(prefixes or {})}
        self._prefixes = tuple(sorted((p, uri) for p, uri in known.items() if p and uri))

    def variable(self, expression: str) -> str:
        """An input arc's expression is the variable's name, with or without a `$`."""
        name = expression.strip().removeprefix("$")
        return name if "$" not in name else ""

    def variables(self, expression: str) -> frozenset[str]:
        return scan(expression).variables

    def holds(self, condition: str, variables: Mapping[str, Token]) -> bool:
        """XPath's own boolean() of the condition."""
        return bool(self._evaluated(condition, "boolean({})", variables))

    def value(
        self, expression: str, variables: Mapping[str, Token], results: Mapping[str, str]
    ) -> Token:
        """The token of an output arc.

        A variable alone is its token, whole. Elements are copied; a number is stored by XPath's
        string(), as `<data><number>…</number></data>`, and `boolean` and `string` likewise. A
        name without `$` is a result of the operation.
        """
        text = expression.strip()
        if not text:
            return Token(TRUE)
        if text in results or scan(text).is_plain:
            return Token(_result(text, results))
        if text.startswith("$") and text[1:] in variables:
            return variables[text[1:]]
        found = self._evaluated(text, "{}", variables)
        if isinstance(found, list):
            elements = [node for node in found if isinstance(node, etree._Element)]
            if elements or not found:
                return Token(_bounded(text, wrapped(elements)))
        if isinstance(found, float):
            return Token(data_of("number", _number(found)))
        kind = "boolean" if isinstance(found, bool) else "string"
        string = str(self._evaluated(text, "string({})", variables))
        return Token(_bounded(text, data_of(kind, string)))

    def _evaluated(self, text: str, form: str, variables: Mapping[str, Token]) -> object:
        bound: dict[str, _Variable] = {}
        for name in scan(text).variables:
            if name not in variables:
                raise ExpressionError(text, f"no token is bound to `${name}`")
            value = variables[name].value
            bound[name] = [] if value is None else nodes_of(value)
        _check_cost(text, bound)
        try:
            compiled = _compiled(form.format(text), self._prefixes)
            found: object = compiled(etree.Element("data"), **bound)
        except (etree.LxmlError, ValueError, TypeError) as error:
            raise ExpressionError(text, f"not an XPath expression: {error}") from None
        return found


def expressions_of(net: Net) -> ExpressionLanguage:
    """Return what a net's expressions mean: XPath with the net's prefixes, or nothing.

    A net of another language than GWorkflowDL that has neither conditions nor expressions plays
    with black tokens.
    """
    said = net.annotations.get("gworkflowdl")
    if isinstance(said, Mapping) and isinstance(said.get("prefixes"), Mapping):
        return XPathLanguage({str(k): str(v) for k, v in said["prefixes"].items()})
    has_expressions = any(arc.expression for arc in net.arcs)
    if (
        net.language == "gworkflowdl"
        or has_expressions
        or any(t.conditions for t in net.transitions)
    ):
        return XPathLanguage()
    return BLACK


def syntax_error(expression: str) -> str:
    """Why an expression cannot be one of XPath; empty: it can."""
    if len(expression.encode()) > MAX_EXPRESSION:
        return f"longer than {MAX_EXPRESSION} bytes"
    try:
        _compiled(f"boolean({expression})", tuple(sorted(STANDARD_PREFIXES.items())))
    except (etree.LxmlError, ValueError) as error:
        return str(error)
    return ""


@lru_cache(maxsize=4096)
def _compiled(text: str, prefixes: tuple[tuple[str, str], ...]) -> etree.XPath:
    if len(text) > MAX_EXPRESSION + 16:
        raise ValueError(f"longer than {MAX_EXPRESSION} bytes")
    return etree.XPath(text, namespaces=dict(prefixes), regexp=False, smart_strings=False)


def _number(value: float) -> str:
    """XPath's string() of a number (section 4.2), which has no exponents; libxml2's has."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if value == int(value):
        return str(int(value))
    return f"{Decimal(repr(value)):f}"


def _check_cost(text: str, variables: Mapping[str, _Variable]) -> None:
    """Bound what libxml2 would do without asking: visits grow with the power of nested paths."""
    shown = scan(text)
    if shown.n_references < 2 and not (shown.growth or shown.translates or shown.n_comparisons):
        return
    n_nodes = n_characters = 1
    for value in variables.values():
        for node in value:
            if isinstance(node, str):
                n_characters += 1
                continue
            for element in node.iter():
                n_nodes += 1 + len(element.attrib)
                n_characters += len(element.text or "") + len(element.tail or "")
    compares = shown.n_comparisons * n_nodes**2
    if max(compares, n_nodes ** (shown.growth + 1)) > _MAX_VISITS:
        raise ExpressionError(text, "too dear to evaluate on tokens of this size")
    if shown.n_references * n_characters > _MAX_CHARACTERS:
        raise ExpressionError(text, "too dear to evaluate on texts of this size")
    if shown.translates and n_characters > _MAX_TRANSLATED:
        raise ExpressionError(text, "`translate` on texts of this size is too dear")


def _result(name: str, results: Mapping[str, str]) -> str:
    """An operation's result as a token; without one, that the operation has been."""
    if name not in results:
        return TRUE
    try:
        return _bounded(name, data_of(name if NAME.fullmatch(name) else "string", results[name]))
    except ValueError as error:
        raise ExpressionError(name, str(error)) from None


def _bounded(expression: str, value: str) -> str:
    if len(value.encode()) > MAX_TOKEN:
        raise ExpressionError(expression, f"its token would be larger than {MAX_TOKEN} bytes")
    return value
