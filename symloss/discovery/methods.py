"""Search methods by name: EvoMAL, and the baselines that it is compared with on the same budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from symloss.discovery.genetic import evomal, gp_lfl, random_search
from symloss.discovery.ml3 import STAGES as ML3_STAGES
from symloss.discovery.ml3 import ml3
from symloss.discovery.proposal import Propose
from symloss.discovery.stages import Stages
from symloss.discovery.taylorglo import TaylorGLO


@dataclass(frozen=True)
class Method:
    """A way to search.

    Args:
        summary: What it is, in a few words.
        start: Returns the method at work, for one run.
        settings: Settings that make the method what it is, whatever was asked for.
        stages: The functions that judge its candidates.
    """

    summary: str
    start: Callable[[], Propose]
    settings: Mapping[str, Any] = field(default_factory=dict)
    stages: Stages = field(default_factory=Stages)


METHODS: dict[str, Method] = {
    "evomal": Method("genetic programming, weights refined", lambda: evomal),
    "random": Method("random expressions, weights refined", lambda: random_search),
    "gp-lfl": Method("genetic programming with every weight 1", lambda: gp_lfl, {"refine": False}),
    "taylorglo": Method("Taylor polynomials, tuned by CMA-ES", TaylorGLO, {"refine": False}),
    "ml3": Method("loss networks, learnt by refinement alone", lambda: ml3, stages=ML3_STAGES),
}
"""Every method by name."""
