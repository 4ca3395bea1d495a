"""Evolution: initial population, selection, variation, repair and elitism."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.random import RandomState

from symloss.discovery import genome
from symloss.discovery.settings import Settings
from symloss.errors import RunError, SearchError
from symloss.expression.expression import Expression
from symloss.expression.primitives import TERMINALS

_INITIAL_EFFORT = 50_000  # nodes drawn, over all trees, in search of one valid tree
_VARIATIONS = 20  # children bred from the same parents in search of a valid, new one
_REPAIRS = ("add", "sub", "mul", "div")


@dataclass(frozen=True)
class Individual:
    """A member of an evaluated population.

    Args:
        expression: The candidate, with the weights that it was evaluated with: an `Expression`, or a network where the
            method learns those.
        fitness: Validation metric, lower is better; inf where it was rejected. NaN counts as inf.
    """

    expression: Any
    fitness: float


@dataclass(frozen=True)
class Child:
    """A member of the next population and where it comes from.

    Args:
        expression: The new candidate.
        operator: `"elite"`, `"crossover"`, `"mutation"` or `"reproduction"`.
        parents: Indices into the population that it was bred from; the first one is the receiver.
    """

    expression: Expression
    operator: str
    parents: tuple[int, ...]

    @property
    def unchanged(self) -> bool:
        """Whether it is its parent bit for bit, weights included: the fitness of `parents[0]` is its own."""
        return self.operator in ("elite", "reproduction")


def valid(e: Expression, settings: Settings) -> bool:
    """Whether `e` contains both y and f and is within the limits of depth and size."""
    return len(e.variables) == 2 and e.depth <= settings.max_depth and e.size <= settings.max_size


def repair(e: Expression, rng: RandomState) -> Expression:
    """`e` where it contains both y and f; else one random terminal becomes op(a, b), op one of add, sub, mul, div.

    (a, b) is a shuffle of (y, f). The three edges around the new node get new weights, all others keep theirs.
    """
    if len(e.variables) == 2:
        return e
    terminals = [index for index, name in enumerate(e.nodes) if name in TERMINALS]
    start = terminals[rng.randint(len(terminals))]
    operation = _REPAIRS[rng.randint(len(_REPAIRS))]
    a, b = ("y", "f") if rng.randint(2) else ("f", "y")
    return genome.replace_subtree(e, start, (operation, a, b), rng, inherit=True)


def check_guess(guess: Expression, settings: Settings) -> None:
    """Raise a `SearchError` if `guess` is not valid."""
    if not valid(guess, settings):
        raise SearchError(
            f"a guess must contain y and f, with depth at most max_depth={settings.max_depth} and at most "
            f"max_size={settings.max_size} nodes; received depth {guess.depth}, {guess.size} nodes: {_short(guess)}"
        )


def initial_population(settings: Settings, rng: RandomState) -> list[Expression]:
    """Ramped half-and-half: depth limits in turn, of each a "grow" and a "full" tree, all repaired.

    Args:
        settings: Sizes, depths and limits; depth limits above `max_depth` are left out of the ramp.
        rng: Source of every random number.

    Returns:
        `population_size` valid expressions.

    Raises:
        SearchError: If no random tree is within the limits.
    """
    low, high = settings.initial_depth
    if low > settings.max_depth:
        raise SearchError(
            f"initial_depth starts at {low}, above max_depth={settings.max_depth}; lower it or raise max_depth"
        )
    limits = range(low, min(high, settings.max_depth) + 1)
    ramp = ((limits[slot // 2 % len(limits)], ("grow", "full")[slot % 2]) for slot in range(settings.population_size))
    return [_initial(low, limit, method, settings, rng) for limit, method in ramp]


def _initial(low: int, limit: int, method: str, settings: Settings, rng: RandomState) -> Expression:
    depth = (limit, limit) if method == "full" else (low, limit)
    effort = 0
    while effort < _INITIAL_EFFORT:
        raw = genome.random_expression(rng, depth, method)
        e = repair(raw, rng)
        if valid(e, settings):
            return e
        effort += raw.size
    raise SearchError(
        f"found no tree of depth {limit} within max_depth={settings.max_depth} and max_size={settings.max_size}; "
        "lower initial_depth or raise the limits"
    )


def select(population: Sequence[Individual], settings: Settings, rng: RandomState) -> int:
    """Index of the winner of a double tournament (Luke and Panait 2002).

    Two fitness tournaments, each over `tournament_size` members drawn with replacement, in which ties go to the smaller
    tree; then, of the two winners, the smaller tree with probability `parsimony_size / 2`.
    """

    def tournament() -> int:
        entrants = rng.randint(len(population), size=settings.tournament_size).tolist()
        return int(min(entrants, key=lambda index: _rank(population[index])))

    smaller, larger = sorted((tournament(), tournament()), key=lambda index: population[index].expression.size)
    return smaller if rng.uniform() < settings.parsimony_size / 2 else larger


def offspring(population: Sequence[Individual], settings: Settings, rng: RandomState) -> list[Child]:
    """The next population: the best ⌈elitism × population_size⌉ unchanged, then crossover, mutation or reproduction.

    A child that is invalid after repair, or whose tree is one of its parents', is bred again from the same parents;
    after 20 attempts the receiver itself goes on, as a reproduction.

    Args:
        population: Evaluated members, at least one.
        settings: Sizes, probabilities and limits.
        rng: Source of every random number.

    Returns:
        `population_size` children, elites first, best first.

    Raises:
        SearchError: If the population is empty.
    """
    if not population:
        raise SearchError("no offspring of an empty population; pass at least one evaluated individual")
    elites = math.ceil(settings.elitism * settings.population_size - 1e-9)
    ranking = sorted(range(len(population)), key=lambda index: _rank(population[index]))
    children = [Child(population[index].expression, "elite", (index,)) for index in ranking[:elites]]
    while len(children) < settings.population_size:
        children.append(_breed(population, settings, rng))
    return children


def _breed(population: Sequence[Individual], settings: Settings, rng: RandomState) -> Child:
    draw = rng.uniform()
    parents: tuple[int, ...] = (select(population, settings, rng),)
    receiver = population[parents[0]].expression
    vary: Callable[[], Expression]
    if draw < settings.crossover:
        operator, parents = "crossover", (*parents, select(population, settings, rng))
        donor = population[parents[-1]].expression
        vary = partial(genome.crossover, receiver, donor, rng, settings.inherit_weights)
    elif draw < settings.crossover + settings.mutation:
        operator = "mutation"
        low, high = (min(depth, settings.max_depth) for depth in settings.mutation_depth)
        vary = partial(genome.subtree_mutation, receiver, rng, (low, high), settings.inherit_weights)
    else:
        return Child(receiver, "reproduction", parents)
    known = {population[index].expression.nodes for index in parents}
    for _ in range(_VARIATIONS):
        e = repair(vary(), rng)
        if valid(e, settings) and e.nodes not in known:
            return Child(e, operator, parents)
    return Child(receiver, "reproduction", parents[:1])


def _rank(individual: Individual) -> tuple[float, int]:
    fitness = math.inf if math.isnan(individual.fitness) else individual.fitness
    return fitness, individual.expression.size


def _short(e: Expression) -> str:
    text = str(e)
    return text if len(text) <= 60 else text[:57] + "..."


def state_to_json(rng: RandomState) -> dict[str, Any]:
    """The state of `rng` in plain values, ready for JSON."""
    state = rng.get_state(legacy=False)
    return {
        "bit_generator": str(state["bit_generator"]),
        "key": [int(word) for word in state["state"]["key"]],
        "pos": int(state["state"]["pos"]),
        "has_gauss": int(state["has_gauss"]),
        "gauss": float(state["gauss"]),
    }


def state_from_json(values: Any) -> RandomState:
    """The generator whose state `state_to_json` wrote; it goes on with the same numbers.

    Raises:
        RunError: If `values` is not such a state.
    """
    names = {"bit_generator", "key", "pos", "has_gauss", "gauss"}
    if not isinstance(values, dict) or set(values) != names:
        raise RunError(f"a random state needs exactly {', '.join(sorted(names))}; the checkpoint is damaged")
    key = values["key"]
    sound = {
        "bit_generator": values["bit_generator"] == "MT19937",
        "key": isinstance(key, list) and len(key) == 624 and all(_is_int(word, 2**32 - 1) for word in key) and any(key),
        "pos": _is_int(values["pos"], 624),
        "has_gauss": _is_int(values["has_gauss"], 1),
        "gauss": type(values["gauss"]) in (int, float) and math.isfinite(values["gauss"]),
    }
    for name, good in sound.items():
        if not good:
            raise RunError(
                f"a random state has an impossible {name!r}: {values[name]!r:.60}; the checkpoint is damaged"
            )
    rng = RandomState(0)
    rng.set_state(("MT19937", key, values["pos"], values["has_gauss"], values["gauss"]))
    return rng


def _is_int(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most
