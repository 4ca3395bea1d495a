"""Every setting of a search in one validated, serialisable record."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from symloss.errors import SearchError

BEFORE: dict[str, Any] = {"redraws": 0, "confirmations": 0, "resplit": False, "fitness_rates": 1}
"""The settings that came later, each with the value that makes a search what it was without it: a run whose config.toml
lacks one is older and goes on with that value. For a later setting without such a value, or one that older versions
must not pass over, `run_directory.FORMAT` rises instead, and runs of a lower format are refused as older."""


@dataclass(frozen=True)
class Settings:
    """Settings of `sl.discover`; the defaults are those of EvoMAL.

    Args:
        population_size: Candidates per generation.
        generations: Generations, the initial one included.
        seed: The one seed from which every random number of the search follows.
        initial_depth: Depths of ramped half-and-half, from and to.
        max_depth: Greatest depth of a candidate.
        max_size: Most nodes of a candidate.
        tournament_size: Candidates in a fitness tournament.
        parsimony_size: Size tournament (Luke and Panait): 1 is no pressure, 2 always prefers the smaller.
        crossover: Probability of crossover.
        mutation: Probability of subtree mutation; what is left is reproduction.
        mutation_depth: Depths of a new subtree, from and to.
        redraws: How often a twin of a known loss, or a loss without gradient, is replaced by a new proposal.
        elitism: Share of the population that is kept unchanged (at least one when above 0).
        inherit_weights: Keep the refined weights of subtrees that survive variation.
        refine: Refine weights by gradients through training (False: every weight stays as it was born).
        refinement_steps: Meta-steps of the refinement.
        refinement_rate: Adam's step size for the weights.
        inner_steps: Training steps that one meta-step differentiates through.
        fitness_steps: Training steps before fitness is measured.
        fitness_rates: Learning rates, half a decade apart around the loss's own, of which the best counts.
        confirmations: Seeds from which a loss that beats the task loss at its best rate is measured again.
        resplit: Confirm each on another division of training and validation data, pooled: fitness then rests on all of
            these, not on one validation part that hundreds of candidates are chosen by.
        rejection_steps: Steps on the predictions in the rejection protocol; None: 100, or 1000 for regression.
        rejection_samples: Training samples that the rejection protocol uses.
        batch_size: Samples in a training or validation batch.
        learning_rate: Step size of the base optimiser (SGD); with `scale_free`, the middle of the grid that is tried.
        momentum: Momentum of the base optimiser.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: L2 penalty of the base optimiser.
        scale_free: Normalise each candidate's gradient norm to the task loss's at initialisation and tune the
            base rate for the task loss first.
        chunk_size: Most candidates trained together; belongs to the search, so that results do not depend on workers.
        target_fitness: Stop once a candidate is at least this good.
        time_limit: Stop after this many seconds, keeping what was found.
        device: Torch device of the computation.

    Raises:
        SearchError: If a value is out of its range.
    """

    population_size: int = 25
    generations: int = 50
    seed: int = 0
    initial_depth: tuple[int, int] = (2, 4)
    max_depth: int = 10
    max_size: int = 60
    tournament_size: int = 4
    parsimony_size: float = 1.4
    crossover: float = 0.70
    mutation: float = 0.25
    mutation_depth: tuple[int, int] = (0, 2)
    redraws: int = 1
    elitism: float = 0.05
    inherit_weights: bool = False
    refine: bool = True
    refinement_steps: int = 250
    refinement_rate: float = 1e-3
    inner_steps: int = 1
    fitness_steps: int = 500
    fitness_rates: int = 1
    confirmations: int = 4
    resplit: bool = False
    rejection_steps: int | None = None
    rejection_samples: int = 100
    batch_size: int = 128
    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    scale_free: bool = False
    chunk_size: int = 8
    target_fitness: float | None = None
    time_limit: float | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, str(field.type), getattr(self, field.name))
        if self.crossover + self.mutation > 1 + 1e-12:
            raise SearchError(
                f"crossover and mutation are probabilities that sum to at most 1; "
                f"received {self.crossover:g} + {self.mutation:g}"
            )
        if self.resplit and not self.confirmations:
            raise SearchError("resplit divides the data anew for each confirmation; received confirmations=0")
        if self.nesterov and not self.momentum:
            raise SearchError("nesterov needs a momentum above 0; received momentum=0")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for TOML or JSON (None entries left out)."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if v is not None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """Settings from `to_dict`'s form.

        Raises:
            SearchError: If a name is unknown or a value is out of its range.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise SearchError(f"unknown setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)


_RANGES: dict[str, tuple[float, float]] = {
    "population_size": (1, 10**7), "generations": (1, 10**7), "seed": (0, 2**32 - 1), "initial_depth": (1, 20),
    "max_depth": (1, 50), "max_size": (3, 1000), "tournament_size": (1, 10**6), "parsimony_size": (1, 2),
    "crossover": (0, 1), "mutation": (0, 1), "mutation_depth": (0, 20), "elitism": (0, 1), "redraws": (0, 100),
    "refinement_steps": (0, 10**9), "refinement_rate": (0, 1e3), "inner_steps": (1, 1000),
    "fitness_steps": (1, 10**9), "fitness_rates": (1, 99),
    "confirmations": (0, 1000), "rejection_steps": (0, 10**9), "rejection_samples": (1, 10**9),
    "batch_size": (1, 10**9), "learning_rate": (1e-12, 1e6), "momentum": (0, 0.999999), "weight_decay": (0, 1e6),
    "chunk_size": (1, 10**6), "target_fitness": (-1e300, 1e300), "time_limit": (0, 1e9),
}  # fmt: skip


def _check(name: str, declared: str, value: object) -> None:
    """Raise a `SearchError` unless `value` has the declared type and lies in the range of its name."""
    if value is None and "None" in declared:
        return
    if declared in ("bool", "str"):
        if type(value).__name__ != declared:
            raise SearchError(f"{name} is {'True or False' if declared == 'bool' else 'a text'}; received {value!r}")
        return
    low, high = _RANGES[name]
    whole = "int" in declared
    entries = value if isinstance(value, tuple) else (value,)
    wanted = f"{'a whole number' if whole else 'a number'} from {low:g} to {high:g}"
    if "tuple" in declared:
        wanted = f"two whole numbers (low, high) from {low:g} to {high:g}"
    fits = all(
        isinstance(e, int if whole else (int, float)) and not isinstance(e, bool) and low <= e <= high for e in entries
    )
    if not fits or ("tuple" in declared) != isinstance(value, tuple) or (isinstance(value, tuple) and len(value) != 2):
        raise SearchError(f"{name} is {wanted}; received {value!r}")
    if isinstance(value, tuple) and value[0] > value[1]:
        raise SearchError(f"{name} goes from low to high; received {value!r}")
