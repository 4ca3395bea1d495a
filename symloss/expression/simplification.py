"""Simplify: exact local rules, then SymPy in bounded time; every result is checked on values before it is accepted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator

from symloss.errors import ExpressionError
from symloss.expression import sympy_process, sympy_worker
from symloss.expression.domains import Domain, compare, domain
from symloss.expression.expression import Expression
from symloss.expression.rules import Rewriter, settled
from symloss.expression.tree import Term

LOCAL_SECONDS = 0.1
"""Seconds that the local rules always get."""
MAX_ALGEBRA = 500
"""Most nodes of an expression that is given to SymPy."""
MIN_ALGEBRA = 5
"""Fewest: of smaller ones the local rules leave nothing to do."""


def simplify(expression: Expression, seconds: float = 5.0, kind: str | None = None) -> Expression:
    """A smaller expression of the same value everywhere, or the same expression.

    Values are compared in float64, to a relative 1e-9, on a grid that includes zero, the protected ranges and large
    numbers.

    Args:
        expression: The expression.
        seconds: Most seconds to take; what was found by then is returned. With 0, only the local rules are tried.
        kind: `"multiclass"` or `"binary"` also allows identities that hold only for y in {0, 1} and f in (0, 1).

    Returns:
        An expression of fewer nodes, or `expression` itself.

    Raises:
        ExpressionError: If there is no such kind.
    """
    deadline = time.monotonic() + seconds
    where = domain(kind)
    best, previous = expression, None
    while best is not previous:
        previous, best = best, _pass(best, expression, where, deadline)
    return best


def _pass(best: Expression, original: Expression, where: Domain, deadline: float) -> Expression:
    """The smallest of all candidates for `best` that are smaller and have the original's values."""
    rewriters = [Rewriter(where, deadline + LOCAL_SECONDS, ordered) for ordered in (False, True)]

    def accepted(term: Term) -> Expression | None:
        """The expression of a term, if it is better than the best and correct."""
        try:
            candidate = settled(term)
        except ExpressionError:
            return None
        if candidate.size >= best.size:
            return None
        comparison = compare(original, candidate, where)
        return candidate if comparison.agree and comparison.defined else None

    with contextlib.suppress(TimeoutError):
        for term in _local(best, rewriters):
            best = accepted(term) or best
        if MIN_ALGEBRA <= best.size <= MAX_ALGEBRA:
            with contextlib.closing(_algebraic(best, deadline)) as candidates:
                for candidate in candidates:
                    for term in _local(candidate, rewriters):
                        best = accepted(term) or best
    return best


def _local(expression: Expression, rewriters: list[Rewriter]) -> Iterator[Term]:
    """What local rules make of an expression, as a whole and, where y is 0 or 1, as a + b y."""
    for rewriter in rewriters:
        try:
            yield rewriter.rewrite(expression)
            if rewriter.where.binary_target and "y" in expression.variables:
                zero, one = (rewriter.rewrite(expression, target) for target in (0.0, 1.0))
                slope = rewriter.apply("sub", one, zero)
                yield rewriter.apply("add", rewriter.apply("mul", rewriter.leaf("y"), slope), zero)
        except ExpressionError:
            continue


def _algebraic(expression: Expression, deadline: float) -> Generator[Expression]:
    """What SymPy makes of the unprotected form; unchecked."""
    from symloss.expression import sympy_bridge

    try:
        form = sympy_bridge.to_sympy(expression, protected=False, evaluate=False)
        job = {"task": "simplify", "forms": [sympy_worker.encode(form)]}
    except Exception:  # SymPy has no form of it that could be sent
        return
    with contextlib.closing(sympy_process.ask(job, deadline)) as answers:
        for answer in answers:
            try:
                candidate = sympy_bridge.from_sympy(sympy_worker.decode(answer["rows"]))
            except Exception:  # SymPy found a form that has no expression
                continue
            yield candidate
