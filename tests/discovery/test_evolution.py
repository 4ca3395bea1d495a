"""Initial population, repair, selection, offspring and the random state, against closed forms and binomial bounds."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.random import RandomState

from symloss.discovery import evolution, genome
from symloss.discovery.evolution import Child, Individual
from symloss.discovery.settings import Settings
from symloss.errors import RunError, SearchError
from symloss.expression.expression import Expression
from symloss.expression.primitives import TERMINALS


def within(count: int, trials: int, probability: float, sigmas: float = 4.5) -> bool:
    return abs(count - trials * probability) <= sigmas * math.sqrt(trials * probability * (1 - probability)) + 1e-9


def evaluated(expressions: list[Expression], rng: RandomState) -> list[Individual]:
    return [Individual(e, float(rng.uniform())) for e in expressions]


def chain(size: int) -> Expression:
    """A valid expression of `size` >= 3 nodes."""
    return Expression(("abs",) * (size - 3) + ("mul", "y", "f"))


def refused(error: type[Exception], match: str):
    return pytest.raises(error, match=rf"\A(?=[^\n]*\Z).*{match}")


# --- repair and validity ---------------------------------------------------------------------------------------------


def test_about_two_thirds_of_raw_trees_need_repair():
    rng = RandomState(0)
    raw = [genome.random_expression(rng, (2, 4)) for _ in range(2000)]
    assert 0.60 < sum(len(e.variables) < 2 for e in raw) / 2000 < 0.75


def test_repair_replaces_one_terminal_by_an_operation_on_y_and_f():
    rng = RandomState(1)
    seen = Counter()
    for _ in range(3000):
        raw = genome.random_expression(rng, (0, 3))
        marked = raw.with_weights([100.0 + edge for edge in range(raw.size - 1)])
        e = evolution.repair(marked, rng)
        if len(raw.variables) == 2:
            assert e is marked
            continue
        assert e.variables == {"y", "f"}
        sites = [i for i in range(raw.size) if raw.nodes[i] in TERMINALS and (e.nodes[:i], e.nodes[i + 3 :]) == (
            raw.nodes[:i], raw.nodes[i + 1 :])]  # fmt: skip
        assert sites
        site = next(i for i in sites if set(e.nodes[i + 1 : i + 3]) == {"y", "f"})
        seen[e.nodes[site : site + 3]] += 1
        before, after = (None, *marked.weights), (None, *e.weights)
        assert after[:site] == before[:site]
        assert after[site + 3 :] == before[site + 1 :]
        assert all(w is None or abs(w - 1) < 0.01 for w in after[site : site + 3])
    total = sum(seen.values())
    operations = {(op, *order) for op in ("add", "sub", "mul", "div") for order in (("y", "f"), ("f", "y"))}
    assert set(seen) == operations
    assert all(within(count, total, 1 / 8) for count in seen.values())


def test_repair_picks_terminals_uniformly():
    rng = RandomState(2)
    raw = Expression(("add", "log", "1", "mul", "-1", "abs", "1"))
    depths = Counter()
    for _ in range(3000):
        e = evolution.repair(raw, rng)
        depths[next(d for d, name in zip(e.depths, e.nodes, strict=True) if name == "y"), "-1" in e.nodes] += 1
    assert set(depths) == {(3, True), (3, False), (4, True)}  # in place of the first, the second and the third terminal
    assert all(within(count, 3000, 1 / 3) for count in depths.values())


def test_valid_knows_both_limits_and_both_variables():
    settings = Settings(max_depth=3, max_size=5)
    assert evolution.valid(chain(5), settings)
    assert not evolution.valid(chain(6), settings)
    assert not evolution.valid(chain(5), replace(settings, max_depth=2))
    assert not evolution.valid(chain(5), replace(settings, max_size=4))
    assert not evolution.valid(Expression(("mul", "f", "f")), settings)
    assert not evolution.valid(Expression(("log", "y")), settings)


# --- the initial population ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_ramped_half_and_half(seed):
    """Depth limits 2, 2, 3, 3, 4, 4, 2, ...: "grow", "full" in turn; repair may add one."""
    settings = Settings(population_size=600)
    population = evolution.initial_population(settings, RandomState(seed))
    assert len(population) == 600
    assert all(evolution.valid(e, settings) for e in population)
    for slot, e in enumerate(population):
        limit = (2, 3, 4)[slot // 2 % 3]
        assert (limit if slot % 2 else 2) <= e.depth <= limit + 1
    grown = population[4::6]  # limit 4
    assert {2, 3, 4, 5} == {e.depth for e in grown}
    full = Counter(e.depth for e in population[5::6])
    assert set(full) == {4, 5}  # every leaf of a full tree is at its limit: repair always adds one
    assert 0.4 < full[5] / 100 < 0.85


def test_repair_comes_before_the_height_check():
    """With max_depth 2 a full tree of depth 2 that repair deepens must not survive."""
    settings = Settings(population_size=300, initial_depth=(2, 2), max_depth=2)
    population = evolution.initial_population(settings, RandomState(0))
    assert {e.depth for e in population} == {2}


def test_ramp_stops_at_the_greatest_depth():
    settings = Settings(population_size=60, initial_depth=(2, 9), max_depth=3)
    assert {e.depth for e in evolution.initial_population(settings, RandomState(0))} == {2, 3}


def test_bad_guesses_are_refused():
    settings = Settings(population_size=2, max_depth=4, max_size=10)
    evolution.check_guess(chain(3), settings)
    with refused(SearchError, "must contain y and f.*log"):
        evolution.check_guess(Expression(("log", "f")), settings)
    with refused(SearchError, "max_depth=4.*received depth 5"):
        evolution.check_guess(chain(7), settings)


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        ({"max_depth": 1}, "initial_depth starts at 2, above max_depth=1"),
        ({"max_size": 3}, "max_size=3; lower initial_depth"),
        ({"max_size": 4}, "max_size=4; lower initial_depth"),
        ({"max_size": 20, "initial_depth": (19, 19), "max_depth": 19}, "depth 19 within"),
    ],
)
def test_impossible_settings_are_refused_in_bounded_time(limits, match):
    with refused(SearchError, match):
        evolution.initial_population(Settings(**limits), RandomState(0))


# --- selection -------------------------------------------------------------------------------------------------------


def double_tournament(sizes: list[int], k: int, parsimony: float) -> list[float]:
    """Probability that each member wins; fitness rank r of n wins a tournament with ((n-r)^k - (n-r-1)^k) / n^k."""
    n = len(sizes)
    wins = [((n - rank) ** k - (n - rank - 1) ** k) / n**k for rank in range(n)]

    def beats(i: int, j: int) -> float:
        return 0.5 if sizes[i] == sizes[j] else parsimony / 2 if sizes[i] < sizes[j] else 1 - parsimony / 2

    return [sum(wins[i] * wins[j] * (1 if i == j else 2 * beats(i, j)) for j in range(n)) for i in range(n)]


@pytest.mark.parametrize("parsimony", [1.0, 1.4, 2.0])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_double_tournament_matches_its_closed_form(parsimony, k):
    sizes = [9, 5, 5, 3, 7, 4]  # in the order of fitness, best first
    fitness = [-1.0, 0.0, 0.5, 0.6, 3.0, math.inf]
    order = [3, 0, 5, 1, 4, 2]  # place in the population of the best, the second best, ...
    population = [Individual(chain(3), 0.0)] * 6
    for place, size, value in zip(order, sizes, fitness, strict=True):
        population[place] = Individual(chain(size), value)
    settings = Settings(tournament_size=k, parsimony_size=parsimony)
    rng = RandomState(4)
    draws = 6000
    counts = Counter(evolution.select(population, settings, rng) for _ in range(draws))
    expected = double_tournament(sizes, k, parsimony)
    assert math.isclose(sum(expected), 1)
    for place, probability in zip(order, expected, strict=True):
        assert within(counts[place], draws, probability)


def test_nan_is_never_the_best():
    population = [Individual(chain(3), math.nan), Individual(chain(5), 0.5), Individual(chain(4), math.nan)]
    settings = Settings(tournament_size=40, parsimony_size=1.0)
    rng = RandomState(0)
    assert {evolution.select(population, settings, rng) for _ in range(50)} == {1}
    assert evolution.offspring(population, replace(settings, population_size=3), rng)[0].parents == (1,)


def test_equal_fitness_goes_to_the_smaller_tree_and_equal_trees_share():
    population = [Individual(chain(size), math.inf) for size in (6, 3, 9, 3)]
    settings = Settings(tournament_size=60, parsimony_size=1.0)
    rng = RandomState(0)
    counts = Counter(evolution.select(population, settings, rng) for _ in range(2000))
    assert set(counts) == {1, 3}
    assert within(counts[1], 2000, 1 / 2)


# --- offspring -------------------------------------------------------------------------------------------------------


def test_operators_occur_in_their_proportions():
    settings = Settings(population_size=600, elitism=0.0)
    rng = RandomState(5)
    population = evaluated(evolution.initial_population(settings, rng), rng)
    children: list[Child] = []
    for _ in range(4):
        children += evolution.offspring(population, settings, rng)
    counts = Counter(child.operator for child in children)
    assert set(counts) == {"crossover", "mutation", "reproduction"}
    for operator, probability in (("crossover", 0.70), ("mutation", 0.25), ("reproduction", 0.05)):
        assert within(counts[operator], len(children), probability)


@pytest.mark.parametrize(
    ("crossover", "mutation", "only"), [(1, 0, "crossover"), (0, 1, "mutation"), (0, 0, "reproduction")]
)
def test_one_operator_alone(crossover, mutation, only):
    settings = Settings(population_size=40, elitism=0.0, crossover=crossover, mutation=mutation)
    rng = RandomState(6)
    population = evaluated(evolution.initial_population(settings, rng), rng)
    assert {child.operator for child in evolution.offspring(population, settings, rng)} == {only}


@pytest.mark.parametrize("limits", [{}, {"max_depth": 4, "max_size": 9}, {"max_depth": 1, "initial_depth": (1, 1)},
                                    {"max_size": 3, "initial_depth": (1, 1)},
                                    {"max_depth": 2, "mutation_depth": (19, 20)}])  # fmt: skip
@pytest.mark.parametrize("inherit", [False, True])
def test_generations_stay_valid(limits, inherit):
    settings = Settings(population_size=60, inherit_weights=inherit, **limits)
    rng = RandomState(7)
    expressions = evolution.initial_population(settings, rng)
    for _ in range(8):
        population = evaluated(expressions, rng)
        children = evolution.offspring(population, settings, rng)
        assert len(children) == 60
        for child in children:
            assert evolution.valid(child.expression, settings)
            parents = [population[index].expression for index in child.parents]
            if child.unchanged:
                assert child.expression is parents[0]
            else:
                assert child.expression.nodes not in {parent.nodes for parent in parents}
                assert len(parents) == (2 if child.operator == "crossover" else 1)
        expressions = [child.expression for child in children]


@pytest.mark.parametrize(
    ("elitism", "size", "expected"),
    [(0.05, 25, 2), (0.05, 20, 1), (0.05, 100, 5), (0.07, 100, 7), (0.001, 10, 1), (0.0, 25, 0), (1.0, 12, 12)],
)
def test_elites_are_the_best_bit_for_bit(elitism, size, expected):
    settings = Settings(population_size=size, elitism=elitism)
    rng = RandomState(8)
    refined = [e.with_weights(rng.normal(size=e.size - 1)) for e in evolution.initial_population(settings, rng)]
    population = evaluated(refined, rng)
    children = evolution.offspring(population, settings, rng)
    elites = [child for child in children if child.operator == "elite"]
    assert len(children) == size
    assert children[: len(elites)] == elites
    assert len(elites) == expected
    best = sorted(range(size), key=lambda index: population[index].fitness)[:expected]
    assert [child.parents for child in elites] == [(index,) for index in best]
    assert all(child.expression is population[index].expression for child, index in zip(elites, best, strict=True))


def test_a_copy_names_the_parent_whose_fitness_is_its_own():
    """The defect to guard against: one variable of an earlier individual's fitness, used for every copied one."""
    settings = Settings(population_size=80, crossover=0.3, mutation=0.2)
    rng = RandomState(9)
    population = evaluated(evolution.initial_population(settings, rng), rng)
    fitness = {individual.expression: individual.fitness for individual in population}
    copies = [child for child in evolution.offspring(population, settings, rng) if child.unchanged]
    assert len({child.parents for child in copies}) > 10
    assert all(population[child.parents[0]].fitness == fitness[child.expression] for child in copies)


@pytest.mark.parametrize("inherit", [False, True])
def test_refined_weights_pass_on_only_by_choice(inherit):
    settings = Settings(population_size=100, elitism=0.0, inherit_weights=inherit)
    rng = RandomState(10)
    refined = [e.with_weights(rng.uniform(5, 6, e.size - 1)) for e in evolution.initial_population(settings, rng)]
    population = evaluated(refined, rng)
    bred = [child for child in evolution.offspring(population, settings, rng) if not child.unchanged]
    kept = Counter()
    for child in bred:
        known = {w for index in child.parents for w in population[index].expression.weights}
        for weight in child.expression.weights:
            assert weight in known or abs(weight - 1) < 0.01
            kept[weight in known] += 1
            kept["donor"] += weight in population[child.parents[-1]].expression.weights and len(set(child.parents)) == 2
    assert kept[False]
    assert bool(kept["donor"]) == inherit  # the second parent that a child names gave it something
    assert kept[True] > kept[False] if inherit else not kept[True]


def test_breeding_gives_up_after_a_bounded_number_of_attempts(monkeypatch):
    settings = Settings(population_size=20, crossover=1.0, mutation=0.0, elitism=0.0)
    rng = RandomState(11)
    population = evaluated(evolution.initial_population(settings, rng), rng)
    calls = []
    monkeypatch.setattr(genome, "crossover", lambda a, b, rng, inherit: calls.append(0) or a)
    children = evolution.offspring(population, settings, rng)
    assert len(calls) == 20 * 20
    assert all(
        child == Child(population[child.parents[0]].expression, "reproduction", child.parents) for child in children
    )
    assert all(len(child.parents) == 1 for child in children)


def test_a_population_may_change_its_size():
    rng = RandomState(12)
    population = evaluated(evolution.initial_population(Settings(population_size=3), rng), rng)
    assert len(evolution.offspring(population, Settings(population_size=30, elitism=0.5), rng)) == 30
    assert len(evolution.offspring(population, Settings(population_size=1), rng)) == 1
    with refused(SearchError, "empty population"):
        evolution.offspring([], Settings(), rng)


def run(seed: int, generations: int = 4) -> list[Child]:
    settings = Settings(population_size=30)
    rng = RandomState(seed)
    children = [Child(e, "initial", ()) for e in evolution.initial_population(settings, rng)]
    for _ in range(generations):
        children = evolution.offspring(evaluated([c.expression for c in children], rng), settings, rng)
    return children


def test_the_seed_decides_everything_and_global_generators_nothing():
    states = lambda: (np.random.mtrand._rand.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist())  # noqa: E731
    before = states()
    assert run(0) == run(0)
    assert all(first != second for first, second in pairwise(run(seed) for seed in range(4)))
    assert states() == before


# --- the random state ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normals", [0, 1, 2, 701])
def test_state_goes_through_json_exactly(normals):
    rng = RandomState(13)
    rng.normal(size=normals)
    text = json.dumps(evolution.state_to_json(rng), allow_nan=False)
    again = evolution.state_from_json(json.loads(text))
    assert json.dumps(evolution.state_to_json(again)) == text
    assert again.normal(size=5).tolist() == rng.normal(size=5).tolist()
    assert again.randint(1000, size=700).tolist() == rng.randint(1000, size=700).tolist()


def test_a_restored_state_breeds_the_same_children():
    settings = Settings()
    rng = RandomState(14)
    population = evaluated(evolution.initial_population(settings, rng), rng)
    saved = json.loads(json.dumps(evolution.state_to_json(rng)))
    assert evolution.offspring(population, settings, rng) == evolution.offspring(
        population, settings, evolution.state_from_json(saved)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"bit_generator": "PCG64"}, {"bit_generator": None}, {"key": None}, {"key": []}, {"key": [1] * 623},
        {"key": [0] * 624}, {"key": [1] * 623 + [2**32]}, {"key": [1] * 623 + [-1]}, {"key": [1] * 623 + [1.0]},
        {"key": [1] * 623 + [True]}, {"key": "1" * 624}, {"pos": 625}, {"pos": -1}, {"pos": 1.0}, {"pos": "1"},
        {"has_gauss": 2}, {"has_gauss": True}, {"gauss": math.nan}, {"gauss": "0"}, {"gauss": None}, {"extra": 1},
    ],
)  # fmt: skip
def test_a_damaged_state_is_refused(change):
    with refused(RunError, "checkpoint is damaged"):
        evolution.state_from_json({**evolution.state_to_json(RandomState(0)), **change})


@pytest.mark.parametrize("values", [None, [], "state", 3, {}, {"key": [1] * 624}])
def test_what_is_no_state_is_refused(values):
    with refused(RunError, "needs exactly bit_generator"):
        evolution.state_from_json(values)
