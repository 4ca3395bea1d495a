"""Random expressions and variation, against brute-force splices; the contract with gplearn's private interface."""

from __future__ import annotations

import importlib.util
import inspect
import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import gplearn
import numpy as np
import pytest
from gplearn._program import _Program
from gplearn.functions import _Function, make_function
from numpy.random import RandomState

import symloss
from symloss.discovery import genome
from symloss.errors import SearchError
from symloss.expression import primitives
from symloss.expression.expression import Expression
from symloss.expression.primitives import TERMINALS

CHANGED = "gplearn's private interface changed: adapt symloss/discovery/genome.py, the only file that knows it"


def arity(name: str) -> int:
    return 0 if name in TERMINALS else primitives.get(name).arity


def span(nodes: tuple[str, ...], start: int) -> tuple[int, int]:
    """Start and end of the subtree at `start`, found by recursion."""
    end = start + 1
    for _ in range(arity(nodes[start])):
        _, end = span(nodes, end)
    return start, end


def spans(e: Expression) -> Iterator[tuple[int, int]]:
    return (span(e.nodes, start) for start in range(e.size))


def tree(rng: RandomState, depth: int) -> tuple[str, ...]:
    """A random tree over the whole table, primitives outside the search set included."""
    if depth == 0 or rng.uniform() < 0.25:
        return (TERMINALS[rng.randint(4)],)
    names = [row.name for row in primitives.primitives()]
    name = names[rng.randint(len(names))]
    return (name, *(node for _ in range(arity(name)) for node in tree(rng, depth - 1)))


def marked(nodes: tuple[str, ...], first: float) -> Expression:
    """The tree with weights first, first + 1, ...: no new weight can be taken for one of them."""
    return Expression(nodes, tuple(first + edge for edge in range(len(nodes) - 1)))


def above(e: Expression) -> list[float | None]:
    """Weight of the edge above each node; None at the root."""
    return [None, *e.weights]


def agrees(child: Expression, expected: list[float | None]) -> bool:
    """Whether each expected weight is there exactly, and a new one where None is expected; the root has none."""
    pairs = list(zip(above(child), expected, strict=True))[1:]
    return all(have == want if want is not None else abs(have - 1) < 0.01 for have, want in pairs)


def within(count: int, trials: int, probability: float, sigmas: float = 4.5) -> bool:
    return abs(count - trials * probability) <= sigmas * math.sqrt(trials * probability * (1 - probability)) + 1e-9


# --- the contract with gplearn ---------------------------------------------------------------------------------------


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (_Program.__init__, ["self", "function_set", "arities", "init_depth", "init_method", "n_features",
                             "const_range", "metric", "p_point_replace", "parsimony_coefficient", "random_state",
                             "transformer", "feature_names", "program"]),
        (_Program.build_program, ["self", "random_state"]),
        (_Program.get_subtree, ["self", "random_state", "program"]),
        (_Program.crossover, ["self", "donor", "random_state"]),
        (_Program.hoist_mutation, ["self", "random_state"]),
        (_Program.point_mutation, ["self", "random_state"]),
        (make_function, ["function", "name", "arity", "wrap"]),
    ],
)  # fmt: skip
def test_gplearn_signatures(function, expected):
    assert parameters(function) == expected, CHANGED


def test_gplearn_return_values():
    rng = RandomState(0)
    for _ in range(200):
        program = genome._program(None, rng, (2, 4), "half and half")
        for node in program.program:
            assert type(node) is int or isinstance(node, _Function), CHANGED
        assert {"name", "arity"} <= set(vars(program.program[0])), CHANGED
        assert program.length_ == len(program.program), CHANGED
        assert program.depth_ == Expression(genome._decode(program.program)).depth, CHANGED

        start, end = program.get_subtree(rng)
        assert 0 <= start < end <= program.length_, CHANGED
        donor = genome._program(None, rng, (2, 4), "half and half").program
        child, removed, left_behind = program.crossover(donor, rng)
        first, last = min(removed), max(removed)
        kept = [node for index, node in enumerate(donor) if index not in set(left_behind)]
        assert list(removed) == list(range(first, last + 1)), CHANGED
        assert child == program.program[:first] + kept + program.program[last + 1 :], CHANGED
        child, removed = program.hoist_mutation(rng)
        assert child == [node for index, node in enumerate(program.program) if index not in set(removed)], CHANGED
        child, replaced = genome._program(None, rng, (2, 4), p_point_replace=0.5).point_mutation(rng)
        assert isinstance(child, list), CHANGED
        assert isinstance(replaced, list), CHANGED


def test_a_tree_of_depth_d_is_what_gplearn_builds_for_init_depth_d():
    rng = RandomState(0)
    for depth in (1, 2, 3, 4):
        assert {genome._program(None, rng, (depth, depth), "full").depth_ for _ in range(20)} == {depth}, CHANGED


@pytest.mark.parametrize("version", ["0.4.3", "0.4.10", "0.4.4rc1", "0.4.3.post1"])
def test_supported_versions(version):
    genome._require_supported(version)


@pytest.mark.parametrize("version", ["0.4.2", "0.4", "0.3.9", "0.5.0", "0.5", "1.0", "unknown", ""])
def test_unsupported_version_is_refused_at_import(monkeypatch, version):
    monkeypatch.setattr(gplearn, "__version__", version)
    spec = importlib.util.spec_from_file_location("genome_again", genome.__file__)
    with pytest.raises(SearchError, match=re.escape(f"found {version}")) as caught:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert "\n" not in str(caught.value)


def test_only_the_adapter_imports_gplearn():
    pattern = re.compile(r"^\s*(?:import|from)\s+gplearn", re.MULTILINE)
    users = [
        path.name for path in Path(symloss.__file__).parent.rglob("*.py") if pattern.search(path.read_text("utf-8"))
    ]
    assert users == ["genome.py"]


def test_programs_mean_the_same_to_gplearn():
    """gplearn executes our programs, on columns y, f, 1, -1, to our values."""
    rng = RandomState(1)
    y, f = rng.uniform(-2, 2, size=(2, 50))
    table = np.stack([y, f, np.ones(50), -np.ones(50)], axis=1)
    for _ in range(300):
        e = Expression(tree(rng, 4))
        program = genome._encode(e)
        assert all(type(node) is int for node in program if not isinstance(node, _Function))
        assert genome._decode(program) == e.nodes
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(genome._program(e).execute(table), e.evaluate(y, f), rtol=1e-9)


# --- random expressions ----------------------------------------------------------------------------------------------


def test_full_trees_have_every_leaf_at_the_limit():
    rng = RandomState(2)
    limits = Counter()
    for _ in range(600):
        e = genome.random_expression(rng, (1, 4), "full")
        leaves = {depth for depth, name in zip(e.depths, e.nodes, strict=True) if name in TERMINALS}
        assert leaves == {e.depth}
        limits[e.depth] += 1
    assert all(within(limits[depth], 600, 1 / 4) for depth in (1, 2, 3, 4))


@pytest.mark.parametrize("depth", [(0, 2), (1, 3), (3, 3), (2, 4)])
@pytest.mark.parametrize("method", ["grow", "half and half"])
def test_random_trees_stay_within_their_depths(depth, method):
    rng = RandomState(3)
    seen = {genome.random_expression(rng, depth, method).depth for _ in range(400)}
    assert seen == set(range(depth[0], depth[1] + 1))


def test_grown_trees_have_leaves_at_several_depths():
    rng = RandomState(4)
    grown = [genome.random_expression(rng, (4, 4), "grow") for _ in range(200)]
    assert any(len({d for d, name in zip(e.depths, e.nodes, strict=True) if name in TERMINALS}) > 1 for e in grown)


def test_terminals_and_functions_are_uniform(monkeypatch):
    row = primitives.get("tanh")
    mine = primitives.Primitive("mine", 1, row.function, row.sympy, row.latex, None, row.gradient, row.hessian)
    monkeypatch.setitem(primitives._TABLE, "mine", mine)
    rng = RandomState(5)
    counts = Counter(name for _ in range(3000) for name in genome.random_expression(rng, (1, 3), "full").nodes)
    functions = [row.name for row in primitives.search_set()]
    assert "mine" in functions
    assert set(counts) == set(TERMINALS) | set(functions)
    for group in (TERMINALS, functions):
        total = sum(counts[name] for name in group)
        assert all(within(counts[name], total, 1 / len(group)) for name in group)


def test_depth_zero_is_one_uniform_terminal():
    rng = RandomState(6)
    counts = Counter(genome.random_expression(rng, (0, 0)).nodes for _ in range(2000))
    assert set(counts) == {(name,) for name in TERMINALS}
    assert all(within(count, 2000, 1 / 4) for count in counts.values())


def test_new_weights_are_normal_about_one():
    rng = RandomState(7)
    weights = np.array([w for _ in range(1000) for w in genome.random_expression(rng, (2, 4)).weights])
    scaled = (weights - 1) / 1e-3
    assert abs(scaled.mean()) < 5 / math.sqrt(scaled.size)
    assert abs(scaled.std() - 1) < 5 / math.sqrt(2 * scaled.size)
    assert abs((np.abs(scaled) < 1).mean() - 0.6827) < 5 * 0.466 / math.sqrt(scaled.size)


def test_trees_that_cannot_be_are_refused_in_bounded_time(monkeypatch):
    monkeypatch.setattr(genome, "_MOST_NODES", 2)
    with pytest.raises(SearchError, match="ask for smaller depths") as caught:
        genome.random_expression(RandomState(0), (3, 3))
    assert "\n" not in str(caught.value)


# --- variation -------------------------------------------------------------------------------------------------------


def pair(rng: RandomState) -> tuple[Expression, Expression]:
    return marked(tree(rng, 4), 100.0), marked(tree(rng, 4), 10_000.0)


@pytest.mark.parametrize("same", [False, True])
def test_crossover_splices_a_subtree_and_inherits_every_edge_it_does_not_cut(same):
    rng = RandomState(8)
    for _ in range(1000):
        a, b = pair(rng)
        b = a if same else b
        child = genome.crossover(a, b, rng, inherit=True)
        assert any(
            child.nodes == a.nodes[:i] + b.nodes[k:m] + a.nodes[j:]
            and agrees(child, [*above(a)[:i], None, *above(b)[k + 1 : m], *above(a)[j:]])
            for i, j in spans(a)
            for k, m in spans(b)
        )


def test_mutation_inherits_everything_outside_the_new_subtree():
    rng = RandomState(9)
    for _ in range(1000):
        a, _ = pair(rng)
        child = genome.subtree_mutation(a, rng, (0, 2), inherit=True)
        sites = [
            (i, j, child.size - a.size + j)
            for i, j in spans(a)
            if child.nodes[:i] == a.nodes[:i] and child.nodes[child.size - a.size + j :] == a.nodes[j:]
        ]
        assert any(
            child.size - a.size + j - i >= 1
            and span(child.nodes, i) == (i, end)
            and Expression(child.nodes[i:end]).depth <= 2
            and agrees(child, [*above(a)[:i], *[None] * (end - i), *above(a)[j:]])
            for i, j, end in sites
        )


def test_hoist_inherits_all_but_the_edge_it_joins():
    rng = RandomState(10)
    for _ in range(1000):
        a, _ = pair(rng)
        child = genome.hoist_mutation(a, rng, inherit=True)
        assert any(
            child.nodes == a.nodes[:i] + a.nodes[k:m] + a.nodes[j:]
            and agrees(child, [*above(a)[:i], above(a)[i] if k == i else None, *above(a)[k + 1 : m], *above(a)[j:]])
            for i, j in spans(a)
            for k, m in spans(a)
            if i <= k and m <= j
        )


def test_point_mutation_keeps_the_shape_and_the_edges_between_kept_nodes():
    rng = RandomState(11)
    for _ in range(500):
        a, _ = pair(rng)
        child = genome.point_mutation(a, rng, rate=0.3, inherit=True)
        assert child.parents == a.parents
        for node in range(1, a.size):
            touched = child.nodes[node] != a.nodes[node] or child.nodes[a.parents[node]] != a.nodes[a.parents[node]]
            new = abs(above(child)[node] - 1) < 0.01
            assert new or (above(child)[node] == above(a)[node] and not touched)
        assert genome.point_mutation(a, rng, rate=0.0, inherit=True) == a
        assert all(abs(w - 1) < 0.01 for w in genome.point_mutation(a, rng, rate=1.0, inherit=True).weights)


def test_replace_subtree():
    a = marked(("add", "log", "y", "mul", "f", "1"), 100.0)
    child = genome.replace_subtree(a, 1, ("sub", "f", "-1"), RandomState(0), inherit=True)
    assert child.nodes == ("add", "sub", "f", "-1", "mul", "f", "1")
    assert agrees(child, [None, None, None, None, 102.0, 103.0, 104.0])
    assert genome.replace_subtree(a, 0, ("y",), RandomState(0), inherit=True) == Expression(("y",))


OPERATORS = [
    lambda a, b, rng, inherit: genome.crossover(a, b, rng, inherit),
    lambda a, b, rng, inherit: genome.subtree_mutation(a, rng, (0, 2), inherit),
    lambda a, b, rng, inherit: genome.hoist_mutation(a, rng, inherit),
    lambda a, b, rng, inherit: genome.point_mutation(a, rng, 0.2, inherit),
]


@pytest.mark.parametrize("operator", OPERATORS, ids=["crossover", "mutation", "hoist", "point"])
def test_without_inheritance_every_weight_is_new_and_the_tree_is_the_same(operator):
    trees = RandomState(12)
    for seed in range(200):
        a, b = pair(trees)
        fresh, inherited = (operator(a, b, RandomState(seed), inherit) for inherit in (False, True))
        assert all(abs(w - 1) < 0.01 for w in fresh.weights)
        assert fresh.nodes == inherited.nodes
        assert operator(a, b, RandomState(seed), False) == fresh
    a = Expression(("add", "y", "f"))
    assert len({operator(a, a, RandomState(seed), False) for seed in range(20)}) > 5


def test_new_subtrees_of_mutation_have_uniform_depth_limits():
    """A single terminal is all replaced, so that the child is the new subtree itself."""
    rng = RandomState(13)
    y = Expression(("y",))
    depths = Counter(genome.subtree_mutation(y, rng, (0, 2)).depth for _ in range(3000))
    assert set(depths) == {0, 1, 2}
    assert within(depths[0], 3000, 1 / 3)
    assert {genome.subtree_mutation(y, rng, (2, 3)).depth for _ in range(100)} == {2, 3}
    assert {genome.subtree_mutation(y, rng, (0, 0)).depth for _ in range(20)} == {0}


def test_functions_are_picked_nine_times_as_often_as_leaves():
    """Of y + f the root is picked with probability 0.9 / (0.9 + 0.1 + 0.1)."""
    rng = RandomState(14)
    a, one = Expression(("add", "y", "f")), Expression(("1",))
    children = Counter(genome.crossover(a, one, rng).nodes for _ in range(2000))
    assert within(children[("1",)], 2000, 9 / 11)
    assert within(children[("add", "1", "f")], 2000, 1 / 11)
    assert within(children[("add", "y", "1")], 2000, 1 / 11)


def test_subtrees_may_hold_primitives_outside_the_search_set():
    a = Expression(("mul", "y", "exp", "truediv", "f", "pow", "f", "1"))
    assert "exp" not in {row.name for row in primitives.search_set()}
    seen = {name for seed in range(50) for name in genome.crossover(a, a, RandomState(seed)).nodes}
    assert {"exp", "truediv", "pow"} <= seen
    rng = RandomState(16)
    new = {name for _ in range(300) for name in genome.subtree_mutation(Expression(("y",)), rng).nodes}
    assert new == set(TERMINALS) | {row.name for row in primitives.search_set()}


def test_gplearn_does_not_touch_numpys_global_generator():
    state = np.random.mtrand._rand.get_state()
    rng = RandomState(15)
    for first, second in pairwise(genome.random_expression(rng, (2, 4)) for _ in range(50)):
        for operator in OPERATORS:
            operator(first, second, rng, True)
    after = np.random.mtrand._rand.get_state()
    assert all(np.array_equal(was, now) for was, now in zip(state, after, strict=True))
