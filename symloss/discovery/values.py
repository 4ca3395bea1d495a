"""Values of the files of a run: those that are read are checked before they are believed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from symloss.discovery.pupil import Pupil
from symloss.errors import RunError
from symloss.expression import primitives
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.losses.network import LossFunction


def text(value: Any) -> str:
    """A text, or a ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is not text")
    return value


def whole(value: Any) -> int:
    """A whole number from 0 on, or a ValueError."""
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is not a count")
    return value


def number(value: Any, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number from `least` to `most`, no text and no truth value, or a ValueError."""
    if type(value) not in (int, float) or not math.isfinite(value) or not least <= value <= most:
        bounds = "" if math.isinf(least) else f" from {least:g}" + ("" if math.isinf(most) else f" to {most:g}")
        raise ValueError(f"{value!r:.40} is not a finite number{bounds}")
    return float(value)


def fitness(value: Any, kind: str = "regression") -> float:
    """A fitness: a squared error from 0 on (regression) or an error rate from 0 to 1; `inf` for None."""
    return math.inf if value is None else number(value, 0, math.inf if kind == "regression" else 1)


def expression(record: dict[str, Any]) -> Expression:
    """The expression of a record's `nodes` and `weights`, one weight for every node but the root."""
    nodes, weights = record["nodes"], record["weights"]
    if type(nodes) is not list or type(weights) is not list or len(weights) != len(nodes) - 1:
        raise ValueError("nodes and weights are lists, with a weight for every node but the first")
    check_registered(set(map(text, nodes)) - set(primitives.TERMINALS))
    return Expression(tuple(nodes), tuple(map(number, weights)))


def function(record: dict[str, Any]) -> Expression | Pupil:
    """The loss of `function_to_json`'s form: an expression, or a network."""
    return Pupil.from_json(record["network"]) if "network" in record else expression(record)


def function_to_json(loss: LossFunction, moments: bool = False) -> dict[str, Any]:
    """Plain values of an expression or a network, exact; `moments` adds what a network needs to be taught further."""
    if isinstance(loss, Pupil):
        return {"network": loss.to_json(moments)}
    assert isinstance(loss, Expression)
    return {"nodes": list(loss.nodes), "weights": list(loss.weights)}


def formula(value: Any) -> Expression:
    """The expression of a formula's text."""
    check_registered(re.findall(r"([A-Za-z_]\w*)\s*\(", text(value)))
    return parse(value)


def check_registered(names: Iterable[str]) -> None:
    """Raise a RunError if one of the operations is none of this process."""
    unknown = sorted(name for name in names if not primitives.is_known(name))
    if unknown:
        raise RunError(f"it uses the operation {unknown[0]!r:.40}, which is not registered here: register it first")
