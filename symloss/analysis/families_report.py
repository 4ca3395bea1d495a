"""Families of losses: the report and its forms."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from symloss.analysis.behaviour import Array
from symloss.discovery.result import readable
from symloss.errors import LossError
from symloss.expression.expression import Expression
from symloss.expression.primitives import TERMINALS
from symloss.expression.showing import aligned, data_frame, drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_LINES = 20  # families that the table shows
_FORMULA = 60


@dataclass(frozen=True)
class Member:
    """A loss in a family.

    Args:
        label: Name, formula, or run and number.
        expression: Its formula, or None.
        source: The run that found it, or None.
        fitness: Validation metric of its run, lower is better; None if it is from no run.
    """

    label: str
    expression: Expression | None = None
    source: str | None = None
    fitness: float | None = None

    @property
    def formula(self) -> str:
        """Text of the formula; without one the label."""
        return self.label if self.expression is None else str(self.expression)

    @property
    def nodes(self) -> int:
        """Size of the formula, 0 without one."""
        return 0 if self.expression is None else self.expression.size

    @property
    def primitives(self) -> frozenset[str]:
        """Operations that the formula uses."""
        return frozenset() if self.expression is None else frozenset(self.expression.nodes) - frozenset(TERMINALS)

    @property
    def shown(self) -> str:
        """The formula for people, its weights rounded, at most 60 characters."""
        return self.label[:_FORMULA] if self.expression is None else readable(self.expression, _FORMULA)


@dataclass(frozen=True)
class Family:
    """Losses that do the same, up to scale.

    Args:
        members: The representative, then the others by their mean distance to the family.
        name: The loss of the catalogue that the representative matches, or None.
        nearest: The nearest loss of the catalogue.
        nearest_distance: How far the representative is from it, 0 to 1.
        spread: Largest distance of two members.
        primitives: Operations, each with the share of members that use it, most frequent first.
        gradients: Normalised gradients of the members on the grid **[members, C · points]**.
    """

    members: tuple[Member, ...]
    name: str | None
    nearest: str
    nearest_distance: float
    spread: float
    primitives: tuple[tuple[str, float], ...]
    gradients: Array = field(repr=False, compare=False)

    @property
    def representative(self) -> Member:
        """The member nearest to all others."""
        return self.members[0]

    @property
    def sources(self) -> tuple[str, ...]:
        """Runs in which it was found."""
        return tuple(sorted({m.source for m in self.members if m.source is not None}))

    @property
    def best_fitness(self) -> float | None:
        """Lowest fitness of a member; it means nothing if the runs had different tasks or settings."""
        return min((m.fitness for m in self.members if m.fitness is not None), default=None)

    @property
    def title(self) -> str:
        """Its name, or what it is nearest to."""
        return self.name or f"nearest {self.nearest} ({self.nearest_distance:.2g} apart)"


@dataclass(frozen=True)
class FamiliesReport:
    """What `families` found; `print` shows a line for each family, and how often each primitive occurs.

    Args:
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        distance: How far apart two members of a family are at most.
        families: Largest first.
        left_out: Losses whose gradient is zero everywhere on the grid, or not finite somewhere.
    """

    kind: str
    distance: float
    families: tuple[Family, ...]
    left_out: tuple[Member, ...]

    @property
    def members(self) -> tuple[Member, ...]:
        """Every loss that is in a family."""
        return tuple(member for family in self.families for member in family.members)

    @property
    def primitives(self) -> tuple[tuple[str, float], ...]:
        """Operations, each with the share of all losses that use it, most frequent first."""
        members = self.members
        count = Counter(name for member in members for name in member.primitives)
        shares = [(name, number / len(members)) for name, number in count.items()]
        return tuple(sorted(shares, key=lambda pair: (-pair[1], pair[0])))

    def __str__(self) -> str:
        losses, named = len(self.members), sum(family.name is not None for family in self.families)
        runs = {source for family in self.families for source in family.sources}
        origin = f" of {len(runs)} run{'s' * (len(runs) > 1)}" if runs else ""
        blocks = [
            [
                f"{losses} {self.kind} loss{'es' * (losses != 1)}{origin} in {len(self.families)} "
                f"{'family' if len(self.families) == 1 else 'families'}, {named} of them known: the members of each "
                f"differ in at most {self.distance:.3g} of their pull"
            ],
            self._table(),
        ]
        if self.primitives:
            shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in self.primitives)
            blocks.append([f"primitives, by the share of losses that use them: {shares}"])
        if self.left_out:
            blocks.append([f"left out, since they have no finite gradient on the whole grid: {len(self.left_out)}"])
        return "\n\n".join("\n".join(block) for block in blocks)

    def to_dataframe(self) -> pd.DataFrame:
        """One line per loss: its family (from 1, none if left out), whether it represents it, and what is known of it.

        Raises:
            LossError: If pandas is not installed.
        """
        rows = [
            {
                "family": number, "name": family.name, "nearest": family.nearest,
                "nearest_distance": family.nearest_distance, "representative": place == 0, "label": member.label,
                "source": member.source, "fitness": member.fitness, "nodes": member.nodes, "formula": member.formula,
            }
            for number, family in enumerate(self.families, 1)
            for place, member in enumerate(family.members)
        ]  # fmt: skip
        rows += [
            {
                "label": m.label, "source": m.source, "fitness": m.fitness, "nodes": m.nodes, "formula": m.formula,
                "representative": False,
            }
            for m in self.left_out
        ]  # fmt: skip
        columns = [
            "family", "name", "nearest", "nearest_distance", "representative", "label", "source", "fitness", "nodes",
            "formula",
        ]  # fmt: skip
        return data_frame(rows, LossError, columns).astype({"family": "Int64", "fitness": float})

    def figure(self) -> Figure:
        """Curves of the largest families, and their primitives; see `symloss.plotting.families`."""
        return drawn("families", self)

    def _table(self) -> list[str]:
        shown = self.families[:_LINES]
        columns = {"losses": [str(len(f.members)) for f in shown]}
        runs = {source for family in self.families for source in family.sources}
        if len(runs) == 1:
            columns["best fitness"] = ["" if f.best_fitness is None else f"{f.best_fitness:.4g}" for f in shown]
        elif runs:
            columns["runs"] = [str(len(f.sources)) for f in shown]
        columns |= {
            "spread": [f"{f.spread:.3f}" for f in shown], "known loss": [f.title for f in shown],
            "representative": [f.representative.shown for f in shown],
        }  # fmt: skip
        rest = self.families[_LINES:]
        more = [f"... and {len(rest)} more with {sum(len(f.members) for f in rest)} losses"] if rest else []
        numbers = ">" * (len(columns) - 2)  # all but the last two columns
        return aligned([tuple(columns), *zip(*columns.values(), strict=True)], f"{numbers}<") + more
