"""Random workflows, for translations there and back."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from wms_grpc.domain.model import PilotConfig, WorkerConfig
from wms_grpc.domain.nets import Arc, Dependency, Net, Place, Token, Transition
from wms_grpc.domain.tasks import (
    AbortRule,
    BatchWork,
    ContainerWork,
    CustomWork,
    NoopWork,
    Recovery,
    Script,
    SubWorkflowWork,
    SuccessRule,
    Task,
    Transfer,
    TransferWork,
    WaitWork,
)
from wms_grpc.gateway.model import Workflow

TEXTS = st.text(
    st.sampled_from("aBc7_ .+-/:=,;'\"\\$*#[]{}()<>?&|\t\n\r\x01\x7fé\u2028\U0001f600"), max_size=6
)
WORDS = st.one_of(TEXTS.filter(bool), st.sampled_from(["a", "A", "is", "x.y", "a b", "_c", "-d"]))
ENVIRONMENTS = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True), TEXTS, max_size=2
)
ALIASES = st.lists(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,5}", fullmatch=True), unique=True, max_size=3
).map(tuple)
NAMES = st.lists(WORDS, min_size=1, max_size=4, unique=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e9, 1e9) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
STRUCTS = st.dictionaries(TEXTS, JSON, max_size=2)


def tuples(items: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(items, max_size=3).map(tuple)


SCRIPTS = st.none() | st.builds(Script, executable=WORDS, arguments=tuples(TEXTS))


def dependencies(names: Sequence[str]) -> st.SearchStrategy[tuple[Dependency, ...]]:
    """Of earlier names by later ones, so that there is no cycle."""

    def split(cut: int) -> st.SearchStrategy[Dependency]:
        sides = [
            st.lists(st.sampled_from(side), min_size=1, unique=True).map(tuple)
            for side in (names[:cut], names[cut:])
        ]
        return st.builds(Dependency, *sides)

    if len(names) < 2:
        return st.just(())
    one = st.integers(1, len(names) - 1).flatmap(split)
    return st.lists(one, max_size=4).map(tuple)


CONTAINERS = st.builds(
    ContainerWork,
    cluster_locations=st.just(("local",)),
    input_aliases=ALIASES.filter(bool),
    output_aliases=ALIASES,
    task_image=WORDS,
    task_args=TEXTS,
    task_env=ENVIRONMENTS,
    init_image=TEXTS,
    n_workers=st.integers(1, 1000),
    worker_config=st.builds(WorkerConfig, n_cores=st.integers(1, 9), condor_requirements=TEXTS),
    pilot_config=st.builds(PilotConfig, environment=ENVIRONMENTS, input_files=ALIASES),
    max_dead_letters=st.none() | st.integers(0, 9),
)
BATCHES = st.builds(
    BatchWork,
    executable=TEXTS,
    image=TEXTS,
    arguments=tuples(TEXTS),
    environment=ENVIRONMENTS,
    stdin=TEXTS,
    stdout=TEXTS,
    inputs=tuples(TEXTS),
    outputs=tuples(TEXTS),
    n_procs=st.integers(1, 99),
    n_cores=st.none() | st.integers(1, 99),
    memory=TEXTS,
    max_runtime=st.none() | st.integers(1, 999),
    requirements=TEXTS,
    attributes=ENVIRONMENTS,
    success=st.builds(SuccessRule, st.none() | st.integers(0, 9), st.none() | st.floats(0, 1)),
)
TRANSFERS = st.builds(
    TransferWork, st.lists(st.builds(Transfer, TEXTS, TEXTS), max_size=3).map(tuple)
)
WAITS = st.builds(WaitWork, seconds=st.floats(0, 1e6)) | st.builds(WaitWork, signal=WORDS)
WORKS = st.one_of(
    CONTAINERS,
    BATCHES,
    TRANSFERS,
    WAITS,
    st.builds(NoopWork),
    st.builds(CustomWork, kind=TEXTS, struct=STRUCTS),
    st.builds(SubWorkflowWork, language=TEXTS, file=TEXTS),
)
RECOVERIES = st.builds(
    Recovery,
    max_tries=st.integers(1, 9),
    backoff=st.floats(0, 1000),
    retry_on=tuples(TEXTS),
    never_on=st.lists(st.integers(0, 255), max_size=3).map(tuple),
    then=st.sampled_from(["fail", "skip"]),
)


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    """Anything that the model says, with or without a net."""
    names = draw(NAMES)
    tasks = []
    for name in names:
        recovery = draw(RECOVERIES)
        if draw(st.booleans()):
            recovery = Recovery(then="fallback", task=draw(st.sampled_from(names)))
        tasks.append(
            Task(
                name,
                draw(WORKS),
                role=draw(st.sampled_from(["node", "final", "service", "provisioner"])),
                recovery=recovery,
                pre=draw(SCRIPTS),
                pre_skip=draw(st.none() | st.integers(0, 255)),
                abort=draw(st.none() | st.builds(AbortRule, st.integers(0, 255))),
                priority=draw(st.integers(-9, 9)),
                category=draw(TEXTS),
                is_done=draw(st.booleans()),
                annotations=draw(
                    st.dictionaries(TEXTS.filter(lambda t: t != "ewms"), JSON, max_size=2)
                ),
            )
        )
    net = draw(st.none() | nets(names))
    return Workflow(
        name=draw(TEXTS),
        tasks=tuple(tasks),
        dependencies=() if net else draw(dependencies(names)),
        given_net=net,
        max_running=draw(st.none() | st.integers(1, 99)),
        max_idle=draw(st.none() | st.integers(1, 99)),
        category_limits=draw(st.dictionaries(TEXTS, st.integers(0, 99), max_size=3)),
        public_aliases=draw(ALIASES),
        priority=draw(st.none() | st.integers(0, 100)),
        labels=draw(ENVIRONMENTS),
        annotations=draw(STRUCTS),
    )


@st.composite
def nets(draw: st.DrawFn, tasks: Sequence[str]) -> Net:
    """A net whose transitions are some of the tasks."""
    tokens = st.lists(st.builds(Token, st.none() | TEXTS), max_size=2).map(tuple)
    places = [
        Place(
            f"p{number}",
            draw(TEXTS),
            draw(st.sampled_from(["control", "data"])),
            draw(st.none() | st.integers(0, 9)),
            draw(tokens),
            draw(STRUCTS),
        )
        for number in range(draw(st.integers(1, 3)))
    ]
    transitions = [
        Transition(
            f"t{number}",
            f"t{number}",
            draw(st.none() | st.sampled_from(tasks)),
            draw(tuples(TEXTS)),
        )
        for number in range(draw(st.integers(1, 3)))
    ]
    arc = st.builds(
        Arc,
        st.sampled_from([place.id for place in places]),
        st.sampled_from([transition.id for transition in transitions]),
        st.sampled_from(["take", "read", "put", "write"]),
        st.integers(1, 9),
        TEXTS,
    )
    arcs = draw(st.lists(arc, max_size=5))
    return Net(tuple(places), tuple(transitions), tuple(arcs), draw(TEXTS), draw(STRUCTS))


@st.composite
def dags_of_jobs(draw: st.DrawFn) -> Workflow:
    """What a job description says whole."""
    names = draw(NAMES)
    outputs = {name: draw(tuples(WORDS)) for name in names}
    ordered = draw(dependencies(names))
    parents: dict[str, list[str]] = {name: [] for name in names}
    for dependency in ordered:
        for child in dependency.children:
            parents[child] += dependency.parents
    tasks = []
    for name in names:
        handed = [f"task:{parent}/{file}" for parent in parents[name] for file in outputs[parent]]
        files = WORDS.filter(lambda file: not file.startswith("task:"))
        inputs = st.lists(files | st.sampled_from(handed) if handed else files, max_size=3)
        work = draw(
            st.builds(
                BatchWork,
                executable=WORDS,
                arguments=tuples(TEXTS),
                environment=ENVIRONMENTS,
                stdin=TEXTS,
                stdout=TEXTS,
                stderr=TEXTS,
                inputs=inputs.map(tuple),
                outputs=st.just(outputs[name]),
                n_cores=st.none() | st.integers(1, 99),
                requirements=st.sampled_from(["", "true", 'OpSys == "LINUX"', "a b", '"x"', "x/*"]),
            )
        )
        pre, recovery = draw(SCRIPTS), Recovery(max_tries=draw(st.integers(1, 4)))
        tasks.append(Task(name, work, recovery=recovery, pre=pre))
    max_running = draw(st.none() | st.integers(1, 9))
    return Workflow(draw(TEXTS), tuple(tasks), ordered, max_running=max_running)
