"""A process of its own for SymPy, which may run for minutes: it is killed when time is up.

It is started by its path, and imports SymPy only. Jobs come in on standard input and answers go out on standard
output, one JSON object per line; SymPy forms travel as a list of nodes in postorder.
"""

from __future__ import annotations

import contextlib
import functools
import json
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

MEMORY = 4 * 2**30
"""Most bytes that the process may take."""

Rows = list[list[Any]]


def encode(expr: Any) -> Rows:
    """A SymPy form as rows [class name, index of argument, ...], or [class name, value, ...] for a leaf."""
    import sympy as sp

    rows: Rows = []
    index: dict[Any, int] = {}
    stack = [expr]
    while stack:
        node = stack[-1]
        missing = [argument for argument in node.args if argument not in index]
        if missing:
            stack += missing
            continue
        stack.pop()
        if node not in index:
            rows.append(_row(sp, node, index))
            index[node] = len(rows) - 1
    return rows


def _row(sp: Any, node: Any, index: dict[Any, int]) -> list[Any]:
    if isinstance(node, sp.Symbol):
        return ["Symbol", node.name]
    if isinstance(node, sp.Float):
        return ["Float", list(map(int, node._mpf_))]
    if isinstance(node, sp.Rational):
        return ["Rational", int(node.p), int(node.q)]
    if not node.args:
        return ["Constant", next(name for name in ("Exp1", "Pi", "true", "false") if getattr(sp.S, name) == node)]
    name = type(node).__name__
    return ["Tuple" if name == "ExprCondPair" else name, *(index[argument] for argument in node.args)]


def decode(rows: Rows, exact: bool = False, positive: bool = False) -> Any:
    """The SymPy form of rows, evaluated.

    Args:
        rows: What `encode` gave.
        exact: Read floats as the fractions that they are.
        positive: Read symbols as positive instead of real.
    """
    import sympy as sp

    nodes: list[Any] = []
    for name, *entries in rows:
        if name == "Symbol":
            node = sp.Symbol(entries[0], positive=True) if positive else sp.Symbol(entries[0], real=True)
        elif name == "Float":
            sign, mantissa, exponent, bits = entries[0]
            node = sp.Float((sign, mantissa, exponent, bits), precision=53)
            node = sp.Rational((-1) ** sign * mantissa) * sp.Integer(2) ** exponent if exact else node
        elif name == "Rational":
            node = sp.Rational(*entries)
        elif name == "Constant":
            node = getattr(sp.S, entries[0])
        else:
            node = getattr(sp, name)(*(nodes[entry] for entry in entries))
        nodes.append(node)
    return nodes[-1]


def candidates(rows: Rows) -> Iterator[Any]:
    """Other forms of the same value, the cheap ones first; with positive symbols too, which allows more."""
    import sympy as sp

    bases = [decode(rows), decode(rows, positive=True)]
    bases += [sp.expand(base) for base in bases]
    yield from bases
    strategies: list[Callable[[Any], Any]] = [
        sp.factor_terms, sp.powsimp, functools.partial(sp.logcombine, force=True),
        functools.partial(sp.expand_log, force=True), sp.factor, sp.cancel, sp.together, sp.simplify,
    ]  # fmt: skip
    for strategy in strategies:
        for base in bases:
            with contextlib.suppress(Exception):  # SymPy fails in many ways; another strategy may not
                yield strategy(base)


def is_zero(rows: Rows, positive: bool) -> bool:
    """Whether SymPy proves that a form is zero everywhere, floats being taken as the fractions that they are."""
    import sympy as sp

    expr = decode(rows, exact=True, positive=positive)
    strategies: list[Callable[[Any], Any]] = [
        lambda e: e, sp.expand, sp.factor, sp.simplify, sp.piecewise_fold,
        lambda e: sp.simplify(sp.expand(e)), lambda e: sp.simplify(e.rewrite(sp.Piecewise)),
    ]  # fmt: skip
    for strategy in strategies:
        with contextlib.suppress(Exception):
            if strategy(expr) == 0:
                return True
    return False


def roots(rows: Rows) -> Iterator[Any]:
    """Where a form in one positive symbol is zero or changes its sign at a jump, as far as SymPy can solve for it."""
    import sympy as sp

    expr = decode(rows, positive=True)
    steps = expr.atoms(sp.sign, sp.Heaviside)
    for equation in [expr.xreplace(dict.fromkeys(steps, sp.Integer(1))), *(step.args[0] for step in steps)]:
        with contextlib.suppress(Exception):  # no algorithm is known for most equations
            yield from sp.solve(equation, *expr.free_symbols)


def limit(rows: Rows) -> Iterator[Any]:
    """The limit of a form in one symbol as it grows towards 1, if SymPy finds it."""
    import sympy as sp

    with contextlib.suppress(Exception):
        expr = decode(rows, positive=True)
        found = sp.limit(expr, *expr.free_symbols, 1, "-")
        if found.is_number and found.is_real:
            yield found


def _answer(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if job["task"] == "is_zero":
        yield {"proved": all(is_zero(rows, job["positive"]) for rows in job["forms"])}
        return
    if job["task"] in ("roots", "limit"):
        for rows in job["forms"]:
            for expr in (roots if job["task"] == "roots" else limit)(rows):
                yield {"rows": encode(expr)}
        return
    seen = set()
    for rows in job["forms"]:
        for expr in candidates(rows):
            if expr not in seen:
                seen.add(expr)
                with contextlib.suppress(Exception):
                    yield {"rows": encode(expr)}


def main() -> None:
    """Answer jobs until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.setrecursionlimit(10_000)
    for line in sys.stdin:
        job = json.loads(line)
        if hasattr(signal, "alarm"):
            signal.alarm(int(job["seconds"]) + 2)  # end by itself if the parent is gone
        with contextlib.suppress(Exception):
            for answer in _answer(job):
                print(json.dumps(answer), flush=True)
        print(json.dumps({"done": True}), flush=True)
        if hasattr(signal, "alarm"):
            signal.alarm(0)


if __name__ == "__main__":
    main()
