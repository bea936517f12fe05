"""The arcs and conditions of a GWorkflowDL transition: what is wrong with their expressions.

An arc into a transition has the name of a variable; a condition, and an arc out of it, has an
XPath expression over those variables, or an arc out has the name of one of the operation's
results. An expression sees its variables and nothing else, so a path that begins with a name
finds nothing: a bare `true` is such a path, and never true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from lxml import etree

from wms_grpc.domain.nets import Arc
from wms_grpc.gateway.gworkflowdl_parts import NAME
from wms_grpc.gateway.xml_source import XmlSource
from wms_grpc.gateway.xpath import STANDARD_PREFIXES, XPathLanguage, syntax_error
from wms_grpc.gateway.xpath_scan import scan

__all__ = ["check_expressions", "merged"]

_LANGUAGE = XPathLanguage()


def merged(arcs: Iterable[Arc]) -> list[Arc]:
    """Equal arcs as one with their number as its weight, in the order of the first of each."""
    counted = Counter(arcs)
    return [replace(arc, weight=n) for arc, n in counted.items()]


def check_expressions(
    source: XmlSource,
    transition: str,
    arcs: Sequence[tuple[etree._Element, Arc]],
    conditions: Sequence[tuple[etree._Element, str]],
    *,
    has_operation: bool,
) -> None:
    """Add findings for the expressions of one transition."""
    bound: set[str] = set()
    for element, arc in arcs:
        if arc.mode in ("take", "read") and arc.expression:
            _check_variable(source, element, arc, bound)
    for element, arc in arcs:
        if arc.mode in ("put", "write") and arc.expression:
            if not scan(arc.expression).is_plain:
                _check_xpath(source, element, arc.expression, bound, transition)
            elif not has_operation:
                message = (
                    f"`{arc.expression}` is the result of an operation, and there is none; "
                    f"`${arc.expression}` is the variable"
                )
                source.find("NO_RESULT", element, message, transition)
    for element, condition in conditions:
        _check_xpath(source, element, condition, bound, transition)


def _check_variable(source: XmlSource, element: etree._Element, arc: Arc, bound: set[str]) -> None:
    variable = _LANGUAGE.variable(arc.expression)
    if not NAME.fullmatch(variable) or variable != arc.expression:
        message = f"`{arc.expression}` names a variable, but is not a name"
        source.find("BAD_VARIABLE", element, message, arc.transition)
    if variable in bound:
        message = f"`{variable}` is bound twice: both of its tokens must be equal"
        source.find("VARIABLE_TWICE", element, message, arc.transition)
    bound.add(variable)


def _check_xpath(
    source: XmlSource, element: etree._Element, text: str, bound: set[str], transition: str
) -> None:
    if wrong := syntax_error(text):
        message = f"`{text[:200]}` is not an XPath expression: {wrong}"
        source.find("BAD_EXPRESSION", element, message, transition, "error")
        return
    shown = scan(text)
    for prefix in sorted(shown.prefixes - set(STANDARD_PREFIXES)):
        if prefix not in element.nsmap:
            message = f"the prefix `{prefix}` is declared nowhere"
            source.find("BAD_EXPRESSION", element, message, transition, "error")
    for name in sorted(shown.variables - bound):
        message = f"no input or read arc is named `{name}`"
        source.find("UNBOUND_VARIABLE", element, message, transition, "error")
    for name in shown.first_names:
        meant = f"; the value is `{name}()`" if name in ("true", "false") else ""
        message = f"`{name}` is an empty path, which finds nothing{meant}"
        source.find("EMPTY_PATH", element, message, transition)
