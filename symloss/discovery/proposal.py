"""What a search asks of its method, and what the method answers: the losses to judge next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.random import RandomState

from symloss.discovery.archive import Candidate
from symloss.discovery.evolution import Individual
from symloss.discovery.settings import Settings
from symloss.expression.expression import Expression


@dataclass(frozen=True)
class Proposal:
    """A loss that a method wants judged.

    Args:
        expression: The candidate, an `Expression` or whatever loss the method is about.
        known: The member that it is bit for bit and whose fitness is its own: an elite or a reproduction.
        exempt: Whether the fingerprint decides nothing about it: it is judged also without a gradient or beside a twin.
        refine: Whether its weights are to be refined. What is exempt and not refined goes to training as it is,
            unscreened.
    """

    expression: Any
    known: Individual | None = None
    exempt: bool = False
    refine: bool = True


@dataclass(frozen=True)
class Request:
    """Where a search stands when it asks for proposals.

    Args:
        settings: Of the search.
        rng: Source of every random number.
        population: What became of the last proposals, in order; empty at first.
        candidates: Every candidate so far.
        guesses: Expressions that the user wants to start from.
    """

    settings: Settings
    rng: RandomState
    population: Sequence[Individual] = ()
    candidates: Sequence[Candidate] = ()
    guesses: Sequence[Expression] = ()


Propose = Callable[[Request], list[Proposal]]
"""A method at work: one for each run, asked once per generation, and again where proposals are to be replaced."""
