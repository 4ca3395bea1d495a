"""TaylorGLO: losses that are Taylor polynomials, their coefficients tuned by CMA-ES."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from numpy import float64, nan, zeros
from numpy.random import RandomState

from symloss.discovery.proposal import Proposal, Request
from symloss.discovery.settings import Settings
from symloss.errors import SearchError
from symloss.expression.expression import Expression

if TYPE_CHECKING:
    from cma import CMAEvolutionStrategy
    from numpy.typing import NDArray

PARAMETERS = 8
SIGMA = 1.2
"""Initial step size of CMA-ES, which starts at θ = 0."""
_WORST = sys.float_info.max**0.5  # what a loss that diverged is taken for: CMA-ES sees ranks alone

_Tree = tuple[list[str], list[float]]  # names, and the weights of the edges below the first


def polynomial(theta: Sequence[float]) -> Expression:
    r"""The loss of eight parameters, a bivariate Taylor polynomial of third order around (θ₁, θ₀):

        ℓ(y, f) = θ₂ a + ½ θ₃ a² + ⅙ θ₄ a³ + θ₅ a b + ½ θ₆ a² b + ½ θ₇ a b²,   a = f − θ₁,   b = y − θ₀.

    What depends on y alone has no gradient and is left out, so that of the polynomial's twelve parameters eight remain.
    (The source writes y for the prediction and x for the target.) Its sign is free.

    Args:
        theta: θ₀ to θ₇.

    Returns:
        Always the same tree of 43 nodes; θ is in its weights.

    Source: S. Gonzalez and R. Miikkulainen, *Optimizing Loss Functions Through Multivariate Taylor Polynomial
    Parameterization*, arXiv 2002.00059.
    """
    t = [float(value) for value in theta]
    a = _node("sub", (1.0, (["f"], [])), (t[1], (["1"], [])))
    b = _node("sub", (1.0, (["y"], [])), (t[0], (["1"], [])))
    a2, b2 = _node("square", (1.0, a)), _node("square", (1.0, b))
    total = _node("add", (t[2], a), (t[3] / 2, a2))
    for coefficient, left, right in ((t[4] / 6, a2, a), (t[5], a, b), (t[6] / 2, a2, b), (t[7] / 2, a, b2)):
        total = _node("add", (1.0, total), (coefficient, _node("mul", (1.0, left), (1.0, right))))
    return Expression(tuple(total[0]), tuple(total[1]))


def _node(name: str, *children: tuple[float, _Tree]) -> _Tree:
    nodes, weights = [name], []
    for weight, (below, inner) in children:
        nodes += below
        weights += [weight, *inner]
    return nodes, weights


class TaylorGLO:
    """CMA-ES at work: each generation is one of its samples; nothing is rejected, refined or taken for a twin.

    The state of CMA-ES follows from the seed and the fitnesses so far, so that a run goes on, bit for bit, by telling
    it those anew: a millisecond for each generation.

    Raises:
        SearchError: If there are guesses, or fewer than two candidates per generation.
    """

    def __init__(self) -> None:
        self._strategy: CMAEvolutionStrategy | None = None
        self._asked: list[NDArray[float64]] = []
        self._told = 0

    def __call__(self, request: Request) -> list[Proposal]:
        """The next sample, after everything that is known by now."""
        if request.guesses:
            raise SearchError("taylorglo searches polynomials and takes no guesses; leave them out, or use evomal")
        if self._strategy is None:
            self._strategy = _strategy(request.settings)
            self._asked = self._strategy.ask()
        size = request.settings.population_size
        while self._told < len(request.candidates):
            block = request.candidates[self._told : self._told + size]
            self._strategy.tell(self._asked, [c.fitness if math.isfinite(c.fitness) else _WORST for c in block])
            self._asked = self._strategy.ask()
            self._told += size
        return [Proposal(polynomial(theta.tolist()), exempt=True, refine=False) for theta in self._asked]


def _strategy(settings: Settings) -> CMAEvolutionStrategy:
    import cma

    if settings.population_size < 2:
        raise SearchError(f"taylorglo needs a population_size of at least 2; received {settings.population_size}")
    options = {
        "popsize": settings.population_size,
        "randn": RandomState(settings.seed).randn,  # not NumPy's global generator, which it would seed
        "seed": nan,
        "verbose": -10,  # says nothing, and reads no file of signals
    }
    return cma.CMAEvolutionStrategy(zeros(PARAMETERS), SIGMA, options)
