"""Archive: every candidate ever seen, what is known of its twins, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from symloss.discovery import values
from symloss.expression.expression import Expression
from symloss.expression.tree import from_expression
from symloss.losses.network import EntryNetwork, LossFunction, LossNetwork
from symloss.losses.symbolic import SymbolicLoss

STAGES = ("zero gradient", "duplicate", "rejected", "rejected after refinement", "diverged", "evaluated")
"""Where a candidate can end, cheapest first; only `"evaluated"` has a fitness of its own."""


@dataclass(frozen=True)
class Candidate:
    """One loss that the search looked at, and why it ended.

    Args:
        id: Number in the order of proposal, from 0.
        generation: Generation that proposed it, from 0.
        expression: The loss, with refined weights if it got that far; a network, where the method learns those.
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        stage: One of `STAGES`.
        reason: One line of why it ended there; empty when evaluated.
        fitness: Validation metric, lower is better; `inf` when it was not reached, or was not finite.
        seconds: Time that refinement and training took.
        fingerprint: Of the loss up to scale: equal for twins; None where the gradient is zero everywhere.
        duplicate_of: `id` of the twin whose fitness was reused.
        scale: Factor on the loss with which it was trained; 1 unless the search is scale-free.
    """

    id: int
    generation: int
    expression: LossFunction
    kind: str
    stage: str
    reason: str = ""
    fitness: float = math.inf
    seconds: float = 0.0
    fingerprint: str | None = None
    duplicate_of: int | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.fitness):
            object.__setattr__(self, "fitness", math.inf)

    @property
    def complexity(self) -> int:
        """Number of nodes; of a network, of weights."""
        return self.expression.size

    @property
    def unit(self) -> str:
        """What complexity counts: `"nodes"` or `"weights"`."""
        return "nodes" if isinstance(self.expression, Expression) else "weights"

    @property
    def loss(self) -> SymbolicLoss | LossNetwork:
        """The candidate as a torch module of the task's kind, multiplied by `scale`."""
        expression = self.expression
        if isinstance(expression, EntryNetwork):
            return LossNetwork(EntryNetwork(expression.architecture, expression.packed, self.scale), kind=self.kind)
        if self.scale != 1.0:
            expression = from_expression(expression).scaled(self.scale).expression()
        return SymbolicLoss(expression, kind=self.kind)

    def to_json(self) -> dict[str, Any]:
        """Plain values for one line of `candidates.jsonl`; numbers round-trip exactly, an infinite fitness is null."""
        return {
            "id": self.id,
            "generation": self.generation,
            "expression": str(self.expression),
            **values.function_to_json(self.expression),
            "stage": self.stage,
            "reason": self.reason,
            "fitness": self.fitness if math.isfinite(self.fitness) else None,
            "seconds": self.seconds,
            "fingerprint": self.fingerprint,
            "duplicate_of": self.duplicate_of,
            "scale": self.scale,
        }

    @classmethod
    def from_json(cls, row: dict[str, Any], kind: str) -> Candidate:
        """The candidate of `to_json`'s form; `expression` is for people and says the same as the values beside it.

        Raises:
            KeyError, TypeError, ValueError: If the row is not of that form, or a value cannot be.
        """
        twin, stage, fingerprint = row["duplicate_of"], row["stage"], row["fingerprint"]
        if stage not in STAGES:
            raise ValueError(f"stage is one of {', '.join(STAGES)}; received {stage!r:.40}")
        if (twin is not None) != (stage == "duplicate") or twin == row["id"]:
            raise ValueError("a duplicate, and nothing else, names its twin")
        expression = values.function(row)
        said = row["expression"] if isinstance(expression, EntryNetwork) else values.formula(row["expression"])
        if said != (str(expression) if isinstance(expression, EntryNetwork) else expression):
            raise ValueError("expression is not the formula of nodes and weights, or the name of the network")
        return cls(
            id=values.whole(row["id"]),
            generation=values.whole(row["generation"]),
            expression=expression,
            kind=kind,
            stage=stage,
            reason=values.text(row["reason"]),
            fitness=values.fitness(row["fitness"], kind),
            seconds=values.number(row["seconds"], 0),
            fingerprint=None if fingerprint is None else values.text(fingerprint),
            duplicate_of=None if twin is None else values.whole(twin),
            scale=values.number(row["scale"], math.ulp(0.0)),
        )


def pareto_front(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The evaluated candidates that no other dominates, by complexity.

    a dominates b when its complexity and its fitness are both at most b's and one of them is less; of candidates equal
    in both, the first found stays. So fitness falls strictly as complexity rises.
    """
    front: list[Candidate] = []
    evaluated = (c for c in candidates if c.stage == "evaluated" and math.isfinite(c.fitness))
    for candidate in sorted(evaluated, key=lambda c: (c.complexity, c.fitness, c.id)):
        if not front or candidate.fitness < front[-1].fitness:
            front.append(candidate)
    return front


class Archive:
    """Every candidate in the order it was added, with the front and the twins kept up to date."""

    def __init__(self, candidates: Iterable[Candidate] = ()) -> None:
        self.candidates: list[Candidate] = []
        self.front: list[Candidate] = []
        self._twins: dict[str, Candidate] = {}
        self._smallest: dict[str, int] = {}
        for candidate in candidates:
            self.add(candidate)

    @property
    def best(self) -> Candidate | None:
        """Lowest fitness; of equals the fewest nodes, of those the first found."""
        return self.front[-1] if self.front else None

    def add(self, candidate: Candidate) -> None:
        """Remember a candidate; the result does not depend on the order of adding."""
        self.candidates.append(candidate)
        if candidate.stage == "evaluated":
            self.front = pareto_front([*self.front, candidate])
        if candidate.fingerprint is None or candidate.stage == "duplicate":
            return
        key = candidate.fingerprint
        self._smallest[key] = min(candidate.complexity, self._smallest.get(key, candidate.complexity))
        rivals = (candidate, self._twins.get(key, candidate))
        self._twins[key] = min(rivals, key=lambda c: (c.fitness, c.complexity, c.id))

    def sort_from(self, start: int) -> list[Candidate]:
        """Bring the candidates from place `start` on into the order of proposal, and return them."""
        self.candidates[start:] = sorted(self.candidates[start:], key=lambda c: c.id)
        return self.candidates[start:]

    def twin(self, fingerprint: str, complexity: int) -> Candidate | None:
        """The best archived candidate of this fingerprint, rejected ones included.

        None also when all twins that reached a fitness are larger than `complexity`: the smaller one may belong on
        the front, so it deserves a fitness of its own.
        """
        twin = self._twins.get(fingerprint)
        if twin is not None and math.isfinite(twin.fitness) and complexity < self._smallest[fingerprint]:
            return None
        return twin
