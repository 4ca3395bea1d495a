"""Families: many losses grouped by what they do to a model, not by how they are written."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch import nn

from symloss.analysis.behaviour import Array, distance, gradients, known, usable
from symloss.analysis.families_report import FamiliesReport, Family, Member
from symloss.discovery.result import SearchResult, load_run, readable
from symloss.errors import LossError
from symloss.expression.expression import Expression
from symloss.losses import resolve
from symloss.losses.targets import check_options
from symloss.population.predictions import Kind

DISTANCE = 0.1
"""How far apart members of a family are at most, if nothing else is asked for."""
_SAME = 1e-6  # distance of losses that are equal up to rounding
_DIGITS = 9  # of distances and gradients that are compared: rounding must decide nothing

Source = SearchResult | str | os.PathLike[str] | Expression | nn.Module


def families(
    losses: Source | Iterable[Source] | Mapping[str, Source], kind: str | None = None, distance: float = DISTANCE
) -> FamiliesReport:
    r"""Group losses whose gradients at the outputs are alike up to scale.

    With u = g / Σ |g|, g the gradient of a loss at the outputs on a fixed grid, two losses are d = ½ Σ |u − v| apart:
    0 if they are the same but for a factor and a constant, 1 if no pull is shared. The grid holds the target's
    probability from 0.001 to 0.999 (multiclass: of three classes, of which the wrong ones are alike or not; binary: for
    both labels), or targets and residuals from −3 to 3. Families are the largest groups of complete linkage in which no
    two losses are further apart than `distance`. The representative of a family is the member with the least mean
    distance to the others, of equals the shortest formula. It is named after the nearest loss of the catalogue (with
    usual values of its parameters) if that is no further than half of `distance`.

    The result does not depend on the order of the losses, except for the names of equal ones.

    Args:
        losses: Runs (each a SearchResult or a run directory: every loss that it evaluated) and losses (names, formulas,
            `.json` files, modules), one, some, or by names.
        kind: `"multiclass"`, `"binary"` or `"regression"`. Default: that of the first run or module, `"multiclass"` for
            formulas.
        distance: From 0 to 1.

    Returns:
        The families, largest first.

    Raises:
        LossError: If there is nothing to group, or a loss is of another kind.
        RunError: If a run directory cannot be read.
    """
    if isinstance(distance, bool) or not isinstance(distance, int | float) or not 0 <= distance <= 1:
        raise LossError(f"distance is a number from 0 to 1; received {distance!r:.40}")
    given = list(_opened(losses))
    own = kind or next((str(k) for _, what in given if (k := getattr(what, "kind", None)) is not None), "multiclass")
    check_options(own, "mean", -100)
    found = [loss for name, what in given for loss in _losses(name, what, own)]
    if not found:
        raise LossError("there is no loss to group: give runs that evaluated some, or losses")
    rows = gradients([loss.what for loss in found], cast(Kind, own))
    fine = usable(rows)
    left_out = tuple(loss.member for i, loss in enumerate(found) if i not in set(fine))
    kept = [fine[i] for i in np.lexsort(rows[fine].round(_DIGITS).T[::-1])]
    members, rows = [found[i].member for i in kept], rows[kept]
    groups = [_family([members[i] for i in g], rows[g], own, distance) for g in _clusters(rows, distance)]
    groups.sort(key=lambda f: (-len(f.members), f.representative.nodes, f.representative.formula))
    return FamiliesReport(own, float(distance), tuple(groups), left_out)


@dataclass(frozen=True)
class _Loss:
    what: Expression | nn.Module
    member: Member


def _opened(losses: Any) -> Iterator[tuple[str | None, Any]]:
    """Names (None where none is given) and what they stand for, run directories read."""
    if isinstance(losses, Mapping):
        pairs: Iterable[tuple[str | None, Any]] = losses.items()
    elif isinstance(losses, str | os.PathLike | SearchResult | Expression | nn.Module) or not isinstance(
        losses, Iterable
    ):
        pairs = [(None, losses)]
    else:
        pairs = ((None, one) for one in losses)
    for number, (name, what) in enumerate(pairs):
        if isinstance(what, str | os.PathLike) and os.path.isdir(what):
            yield name or os.fspath(what), load_run(what)
        elif isinstance(what, SearchResult):
            yield name or (str(what.directory) if what.directory else f"search {number + 1}"), what
        else:
            yield name, what


def _losses(name: str | None, what: Any, kind: str) -> Iterator[_Loss]:
    if isinstance(what, SearchResult):
        if what.kind != kind:
            raise LossError(
                f"{name} is a search of kind {what.kind!r}, the others are {kind!r}: group one kind at a time"
            )
        for candidate in what.candidates:
            if candidate.stage == "evaluated":
                formula = candidate.expression if isinstance(candidate.expression, Expression) else None
                member = Member(f"{name} #{candidate.id}", formula, str(name), candidate.fitness)
                yield _Loss(formula or candidate.loss, member)
        return
    module = resolve.loss(what, kind)
    label = name or getattr(module, "name", None)
    expression = getattr(module, "expression", None)
    if isinstance(expression, Expression):
        yield _Loss(expression, Member(label or readable(expression), expression))
    else:
        yield _Loss(module, Member(label or type(module).__name__))


def _clusters(rows: Array, limit: float) -> list[list[int]]:
    """Indices of the losses of each family: complete linkage, cut at a distance."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist

    if len(rows) < 2:
        return [[0]] * len(rows)
    apart = (pdist(rows, "cityblock") / 2).round(_DIGITS)
    numbers = fcluster(linkage(apart, "complete"), max(limit, _SAME), "distance")
    return [np.flatnonzero(numbers == number).tolist() for number in np.unique(numbers)]


def _family(members: list[Member], rows: Array, kind: str, limit: float) -> Family:
    apart = distance(rows[:, None], rows).round(_DIGITS)
    means = apart.mean(1).round(_DIGITS)
    order = sorted(
        range(len(members)), key=lambda i: (means[i], members[i].nodes, members[i].formula, members[i].label)
    )
    names, references = known(cast(Kind, kind))
    to_known = distance(rows[order[0]], references).round(_DIGITS)
    nearest = int(to_known.argmin())
    count = Counter(name for member in members for name in member.primitives)
    shares = sorted(((name, number / len(members)) for name, number in count.items()), key=lambda p: (-p[1], p[0]))
    return Family(
        members=tuple(members[i] for i in order), name=names[nearest] if to_known[nearest] <= limit / 2 else None,
        nearest=names[nearest], nearest_distance=float(to_known[nearest]), spread=float(apart.max()),
        primitives=tuple(shares), gradients=rows[order],
    )  # fmt: skip
