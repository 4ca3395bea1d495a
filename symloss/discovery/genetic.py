"""Methods that draw and breed expressions: EvoMAL, the same without refinement, and without evolution."""

from __future__ import annotations

from dataclasses import replace

from symloss.discovery import evolution
from symloss.discovery.proposal import Proposal, Request
from symloss.expression.expression import Expression


def evomal(request: Request) -> list[Proposal]:
    """EvoMAL: genetic programming whose weights are refined.

    Each guess enters beside the first generation, as it is and refined.

    Source: Raymond et al., *Learning Symbolic Model-Agnostic Loss Functions via Meta-Learning*, arXiv 2209.08907.
    """
    if not request.population:
        return _first(request)
    children = evolution.offspring(request.population, request.settings, request.rng)
    return [Proposal(c.expression, request.population[c.parents[0]] if c.unchanged else None) for c in children]


def gp_lfl(request: Request) -> list[Proposal]:
    """GP-LFL: EvoMAL without refinement. Every weight is 1, except those of guesses.

    Source: as for `evomal`, section on ablations.
    """
    return [
        p if p.known or p.exempt else replace(p, expression=Expression(p.expression.nodes)) for p in evomal(request)
    ]


def random_search(request: Request) -> list[Proposal]:
    """Random search: every generation is a first one, and judged as EvoMAL's: what evolution adds is the difference.

    Each generation proposes `population_size` new expressions. EvoMAL proposes as many, of which elites and
    reproductions are known already, so that it judges fewer.
    """
    return _first(replace(request, guesses=()) if request.population else request)


def _first(request: Request) -> list[Proposal]:
    """The guesses, and beside them a whole population of random expressions."""
    settings = request.settings
    for guess in request.guesses:
        evolution.check_guess(guess, settings)
    seeds = [
        Proposal(guess, exempt=True, refine=refine)
        for guess in request.guesses
        for refine in ((False, True) if settings.refine else (False,))
    ]
    return [*seeds, *map(Proposal, evolution.initial_population(settings, request.rng))]
