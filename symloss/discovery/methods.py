"""Search methods: what a method is to the loop, a function that proposes the next expressions, and those that exist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from numpy.random import RandomState

from symloss.discovery import evolution
from symloss.discovery.evolution import Individual
from symloss.discovery.settings import Settings
from symloss.expression.expression import Expression


@dataclass(frozen=True)
class Proposal:
    """An expression that a method wants judged.

    Args:
        expression: The candidate.
        known: The member that it is bit for bit and whose fitness is its own: an elite or a reproduction.
        guess: Whether the user proposed it: it is never taken for a twin of another.
        refine: Whether its weights are to be refined. A guess that is not goes to training as it is, unscreened.
    """

    expression: Expression
    known: Individual | None = None
    guess: bool = False
    refine: bool = True


Propose = Callable[[Sequence[Individual], Settings, RandomState, Sequence[Expression]], list[Proposal]]
"""The next proposals, from the population (empty at first), settings, random numbers and guesses (for the first)."""


def evomal(
    population: Sequence[Individual], settings: Settings, rng: RandomState, guesses: Sequence[Expression]
) -> list[Proposal]:
    """EvoMAL: genetic programming whose weights are refined; each guess enters twice, as it is and refined."""
    if population:
        children = evolution.offspring(population, settings, rng)
        return [Proposal(c.expression, population[c.parents[0]] if c.unchanged else None) for c in children]
    seeds = [
        Proposal(guess, guess=True, refine=refine)
        for guess in guesses
        for refine in ((False, True) if settings.refine else (False,))
    ]
    start = evolution.initial_population(settings, rng, [seed.expression for seed in seeds])
    return [*seeds, *map(Proposal, start[len(seeds) :])]


METHODS: dict[str, Propose] = {"evomal": evomal}
"""Every method by name."""
