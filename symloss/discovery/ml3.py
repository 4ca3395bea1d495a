"""ML3: losses that are networks, their weights learnt by gradients through training."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from symloss.discovery.filters import Adam
from symloss.discovery.fitness import fitness
from symloss.discovery.proposal import Proposal, Request
from symloss.discovery.pupil import Pupil
from symloss.discovery.refinement import meta_steps
from symloss.discovery.settings import Settings
from symloss.discovery.stages import DIVERGED, EVALUATED, Outcome, Stages, workspace
from symloss.errors import SearchError
from symloss.losses.network import Architecture, pack, unpack
from symloss.population.training import Workspace
from symloss.tasks.task import Task

ARCHITECTURE = Architecture((50, 50), "relu", "softplus")


def ml3(request: Request) -> list[Proposal]:
    """ML3: `population_size` networks from different weights; each generation teaches all of them further.

    A generation is `refinement_steps` meta-steps of EvoMAL's refinement, with fresh base weights in each, and then a
    fitness: as much for each network as EvoMAL spends on a candidate that nothing rejects. Adam goes on from generation
    to generation. A network whose weights became infinite or NaN is not proposed again.

    Raises:
        SearchError: If there are guesses, or settings that a network cannot be taught with.

    Source: Bechtle et al., *Meta Learning via Learned Loss*, arXiv 1906.05374.
    """
    settings = request.settings
    if request.guesses:
        raise SearchError("ml3 learns networks and takes no guesses; leave them out, or use evomal")
    needs = {
        "refine=True": settings.refine,
        "refinement_steps of at least 1": settings.refinement_steps > 0,
        "inner_steps=1": settings.inner_steps == 1,
    }
    for need, met in needs.items():
        if not met:
            raise SearchError(f"ml3 is refinement that looks one step ahead, and needs {need}")
    if not request.population:
        seeds = request.rng.randint(2**31 - 1, size=settings.population_size).tolist()
        pupils = [Pupil.of(ARCHITECTURE, ARCHITECTURE.initial(seed)) for seed in seeds]
        return [Proposal(pupil, exempt=True, refine=False) for pupil in pupils]
    return [
        Proposal(m.expression, exempt=True, refine=False)
        if m.expression.moments or not m.expression.steps
        else Proposal(m.expression, known=m)
        for m in request.population
    ]


def develop(task: Task, settings: Settings, pupils: Sequence[Pupil], refined: Sequence[bool]) -> list[Outcome]:
    """Teach networks further, together, and measure the fitness of each.

    Args:
        task: The task.
        settings: Of the search.
        pupils: P networks with as many meta-steps done.
        refined: Passed over: all are taught.

    Returns:
        P outcomes, in order.
    """
    started = time.perf_counter()
    shared = workspace(task, settings)
    taught = teach(shared, settings, pupils)
    alive = [pupil for pupil in taught if pupil is not None]
    measured = iter(zip(*fitness(shared, settings, alive), strict=True))
    share = (time.perf_counter() - started) / max(len(pupils), 1)
    outcomes = []
    for before, pupil in zip(pupils, taught, strict=True):
        if pupil is None:
            steps = before.steps + settings.refinement_steps
            ended = replace(before, steps=steps, moments=())
            outcomes.append(Outcome(ended, DIVERGED, "weights became infinite or NaN", math.inf, share))
            continue
        value, scale = next(measured)
        stage, reason = (EVALUATED, "") if math.isfinite(value) else (DIVERGED, "training diverged")
        outcomes.append(Outcome(pupil, stage, reason, value, share, scale))
    return outcomes


def teach(workspace: Workspace, settings: Settings, pupils: Sequence[Pupil]) -> list[Pupil | None]:
    """`refinement_steps` more meta-steps for networks with as many done; None where weights are no longer finite."""
    objective = workspace.objective(pupils, freeze=False, shared=True)
    adam = Adam(objective.weights.clone(), settings.refinement_rate)
    done, size = pupils[0].steps, pupils[0].size
    if done:
        mean, square = (torch.cat([unpack(p.moments[i], size) for p in pupils]) for i in range(2))
        adam.mean, adam.square, adam.steps = mean.to(adam.value), square.to(adam.value), done
    meta_steps(workspace, settings, objective, adam, first=done)
    taught: list[Pupil | None] = []
    for pupil, *rows in zip(pupils, *(torch.split(t, size) for t in (adam.value, adam.mean, adam.square)), strict=True):
        if not all(bool(row.isfinite().all()) for row in rows):
            taught.append(None)
            continue
        packed, *moments = map(pack, rows)
        steps = done + settings.refinement_steps
        taught.append(replace(pupil, packed=packed, steps=steps, moments=tuple(moments)))
    return taught


def _no_fingerprints(pupils: Sequence[Pupil], kind: str) -> list[str | None]:
    """Networks are never twins."""
    return [None] * len(pupils)


STAGES = Stages(fingerprints=_no_fingerprints, develop=develop)
