"""Random job descriptions, as text: what users write, in any order and case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Final

NODES: Final = ("a", "B", "n1", "is_x", "'x y'", "'is'", "Z_")
TEXTS: Final = (
    '"a.sh"',
    '"b c"',
    '"$HOME/x"',
    '"*.dat"',
    r'"it\'s"',
    r'"q\"q"',
    '""',
    '"/abs"',
    '"gsiftp://h/x"',
    '"A=1"',
    '"B=$X"',
    '"_PARAM_"',
    '"x_PARAM_y"',
    '"é"',
    r'"a\\b"',
    '"K="',
    "\"-c 'x y'\"",
    r'"\n"',
    '"4" /* four */',
)
EXPRESSIONS: Final = (
    *TEXTS,
    "true",
    'other.GlueX == "y"',
    'OpSys == "LINUX" && Cpus > 2',
    "-Memory",
    "x /* c */ + 1",
    'Member("a", { "a", "b" })',
    "(a ? b : c)",
    "{1,2}",
    "[ a = 1; ]",
    "other.x\n && y",
    "1.5",
    "x[2].y",
    "f()",
    "a is b",
    '"a" "b"',
    "10K",
)
OF_TEXT: Final = (
    "Arguments",
    "StdInput",
    "StdOutput",
    "StdError",
    "Prologue",
    "Epilogue",
    "PrologueArguments",
    "EpilogueArguments",
    "InputSandboxBaseURI",
    "JobName",
)
OF_EXPRESSION: Final = (
    "Requirements",
    "Rank",
    "ShallowRetryCount",
    "VirtualOrganisation",
    "UserTags",
    "MyArguments",
    "'we ird'",
)


def job_description(random: Random) -> str:
    """A job, a parametric job, a dag or a collection."""
    kind = random.randrange(4)
    if kind == 0:
        return job(random)
    if kind == 1:
        values = random.choice(["3", "{ a, 2 }", "{1.50}"])
        return f'{job(random)} JobType = "Parametric"; Parameters = {values};'
    return dag(random)


def job(random: Random) -> str:
    """The attributes of a job, without brackets."""
    said = [attribute(random) for _ in range(random.randrange(6))]
    said.insert(random.randrange(len(said) + 1), 'Executable = { "x.sh" };')
    return " ".join(said)


def dag(random: Random) -> str:
    """A dag, or a collection."""
    names = random.sample(NODES, random.randint(1, 5))
    pairs = ", ".join(
        f"{{ {side(random, names)}, {side(random, names)} }}" for _ in range(random.randrange(3))
    )
    within = f"dependencies = {{ {pairs} }};" if random.random() < 0.5 else ""
    beside = "" if within else f"dependencies = {{ {pairs} }};"
    nodes = " ".join(f"{name} = [ {node(random)} ];" for name in names)
    above = " ".join(attribute(random) for _ in range(random.randrange(4)))
    bound = random.choice(["", "max_running_nodes = 3;", "node_retry_count = 1;"])
    kind = random.choice(["dag", "Collection"])
    return f'[ {above} Type = "{kind}"; nodes = [ {nodes} {within} ]; {beside} {bound} ]'


def node(random: Random) -> str:
    """What stands in a node's record."""
    more = random.choice(["", "", "node_retry_count = 2;", 'node_type = "edg-jdl";', "Bar = 1;"])
    kind = random.random()
    if kind < 0.1:
        return f'file = "{random.choice(["a.jdl", "gone.jdl"])}"; {more}'
    return job(random) if kind < 0.2 else f"description = [ {job(random)} ]; {more}"


def side(random: Random, names: list[str]) -> str:
    """A side of a dependency: a name or two."""
    said = [random.choice(names) for _ in range(random.randint(1, 2))]
    return said[0] if len(said) == 1 else f"{{ {', '.join(said)} }}"


def attribute(random: Random) -> str:
    """One attribute, in any case."""
    name = random.choice([*OF_TEXT, *OF_EXPRESSION, *OTHERS])
    if name in OTHERS:
        value = OTHERS[name](random)
    else:
        value = random.choice(TEXTS if name in OF_TEXT else EXPRESSIONS)
    case = random.choice([str, str.lower, str.upper])
    return f"{name if name.startswith(chr(39)) else case(name)} = {value};"


def files(random: Random) -> str:
    """A text, or a list of texts and paths."""
    output = random.choice(["OutputSandbox[0]", "StdOutput"])
    paths = [f"root.nodes.{random.choice(NODES)}.description.{output}", "root.InputSandbox[0]"]
    items = [random.choice([*TEXTS, *paths]) for _ in range(random.randrange(4))]
    return items[0] if len(items) == 1 else f"{{ {', '.join(items)} }}"


def texts(random: Random) -> str:
    """A list of texts."""
    items = [random.choice([*TEXTS, "StdInput"]) for _ in range(random.randrange(4))]
    return f"{{ {', '.join(items)} }}"


def number(random: Random) -> str:
    """A number, or the text of one."""
    return random.choice(["1", "2", '"3"', "4"])


OTHERS: Final[Mapping[str, Callable[[Random], str]]] = {
    "InputSandbox": files,
    "OutputSandbox": texts,
    "Environment": texts,
    "CPUNumber": number,
    "SMPGranularity": number,
    "RetryCount": number,
    "NodeNumber": number,
    "JobType": lambda random: random.choice(['"Normal"', '{"MPICH"}', '"checkpointable"']),
}
