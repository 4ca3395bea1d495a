"""The logit gradient of a formula in symbols: its form, its roots, its limit, and the proof that it is label smoothing.

Logarithms and the like are taken without their protection, as they are where every argument is above 10⁻⁷.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from symloss.expression import primitives, sympy_process, sympy_worker
from symloss.expression.expression import Expression
from symloss.expression.simplification import MAX_ALGEBRA
from symloss.expression.slices import Node, specialise

if TYPE_CHECKING:
    import sympy

DIGITS = 6
"""Significant digits that numbers are shown with."""


@dataclass(frozen=True)
class Derivation:
    """g(p) = ∂L/∂z of the target on the slice, in symbols.

    Args:
        right: ∂ℓ(1, p)/∂p.
        wrong: ∂ℓ(0, q)/∂q.
        gradient: g(p), as simple as SymPy makes it.
        roots: The attractors p* that SymPy finds.
        limit: g as p → 1, or None where SymPy finds none.
    """

    right: sympy.Expr
    wrong: sympy.Expr
    gradient: sympy.Expr
    roots: tuple[sympy.Expr, ...]
    limit: sympy.Expr | None

    def equations(self, write: Callable[[Any], str]) -> list[tuple[str, str]]:
        """Left and right sides, in the order of the derivation."""
        rows = [("d1(p)", self.right), ("d0(q)", self.wrong), ("g(p)", self.gradient)]
        rows += [("p*", root) for root in self.roots]
        if self.limit is not None:
            rows.append(("g(1-)", self.limit))
        return [(name, write(_rounded(form))) for name, form in rows]

    def __str__(self) -> str:
        from sympy import sstr

        return "\n".join(f"{name} = {text}" for name, text in self.equations(lambda form: sstr(form, full_prec=False)))

    def latex(self) -> str:
        """The same for amsmath, on one line."""
        from sympy import latex

        names = {
            "d1(p)": r"\frac{\partial\ell}{\partial f}(1, p)", "d0(q)": r"\frac{\partial\ell}{\partial f}(0, q)",
            "g(p)": "g(p)", "p*": "p^*", "g(1-)": r"\lim_{p \to 1} g(p)",
        }  # fmt: skip
        return r",\quad ".join(f"{names[name]} = {text}" for name, text in self.equations(latex))


def derive(
    expression: Expression, classes: int, label: int | None, attractors: Sequence[float], seconds: float
) -> Derivation | None:
    """The gradient of a formula in symbols, with the attractors that SymPy finds; None where it has no such form.

    Args:
        expression: ℓ(y, f).
        classes: C.
        label: For a binary loss, the label 0 or 1; None for a multiclass loss.
        attractors: p* as measured; only roots that agree with them to 10⁻⁸ are taken.
        seconds: Most seconds.
    """
    if seconds <= 0:
        return None
    deadline = time.monotonic() + seconds
    try:
        right, wrong, gradient = _gradient(expression, classes, label, exact=False)
        found = _roots(gradient, deadline - seconds * 2 / 3)
        limit = _limit(gradient, deadline - seconds / 3)
        simplest = _simplest(gradient, deadline)
        near = [min(found, key=lambda root: abs(float(root) - p), default=None) for p in attractors]
        roots = [
            root for root, p in zip(near, attractors, strict=True) if root is not None and abs(float(root) - p) < 1e-8
        ]
    except Exception:  # SymPy fails in many ways; then there is no derivation
        return None
    return Derivation(right, wrong, simplest, tuple(roots), limit)


def proved(expression: Expression, classes: int, label: int | None, seconds: float) -> bool:
    """Whether SymPy proves that ∇L is that of some s·LSR_ξ plus a constant times ∇Σf = 0, weights taken as fractions.

    For C ≥ 3 that is ∂ℓ/∂f = c − a/f at y = 1 and c − b/f at y = 0: that (f ℓ')'' = 0 for both, and that f (ℓ'₁ − ℓ'₀)
    is constant. For two classes it is g'' = 0.
    """
    if seconds <= 0:
        return False
    deadline = time.monotonic() + seconds
    try:
        import sympy as sp

        p = sp.Symbol("p", positive=True)
        right, wrong, gradient = _gradient(expression, classes, label, exact=True)
        forms = [sp.diff(gradient, p, 2)]
        if classes > 2:
            wrong = wrong.subs(sp.Symbol("q", positive=True), p)
            forms = [sp.diff(p * right, p, 2), sp.diff(p * wrong, p, 2), sp.diff(p * (right - wrong), p)]
        job = {"task": "is_zero", "positive": True, "forms": list(map(sympy_worker.encode, forms))}
    except Exception:  # as above
        return False
    return any(answer["proved"] for answer in sympy_process.ask(job, deadline))


def _gradient(expression: Expression, classes: int, label: int | None, exact: bool) -> tuple[Any, Any, Any]:
    """∂ℓ/∂f at y = 1 in p and at y = 0 in q, and g in p."""
    import sympy as sp

    if expression.size > MAX_ALGEBRA:
        raise ValueError("too large for algebra")
    p, q = sp.symbols("p q", positive=True)
    right, wrong = (_slope(sp, expression, y, symbol, exact) for y, symbol in ((1.0, p), (0.0, q)))
    both = right * int(label != 0) - wrong.subs(q, (1 - p) / (classes - 1)) * int(label != 1)
    return right, wrong, p * (1 - p) * both


def _slope(sp: Any, expression: Expression, y: float, symbol: Any, exact: bool) -> Any:
    """∂ℓ/∂f almost everywhere: steps have no slope."""
    node = specialise(expression, y, freeze=True)
    return sp.Integer(0) if node is None else _dual(sp, node, expression, symbol, exact)[1]


def _dual(sp: Any, node: Node, expression: Expression, symbol: Any, exact: bool) -> tuple[Any, Any]:
    """Value and slope of a subtree by the chain rule: SymPy differentiates single operations of real arguments."""
    if node.name in ("f", "1"):
        return (symbol, sp.Integer(1)) if node.name == "f" else (sp.Integer(1), sp.Integer(0))
    places = [sp.Dummy(real=True) for _ in node.arguments]
    primitive = primitives.get(node.name)
    outer = (primitive.algebra or primitive.sympy)(sp, *places)
    values, slopes = [], []
    for edge in node.arguments:
        factors = [edge.factor] + [expression.weights[edge.index]] * (edge.index >= 0)
        weight = sp.Mul(*(_number(sp, factor, exact) for factor in factors))
        value, slope = _dual(sp, edge.child, expression, symbol, exact)
        values.append(weight * value)
        slopes.append(weight * slope)
    here = dict(zip(places, values, strict=True))
    parts = (
        outer.diff(place).replace(sp.DiracDelta, lambda *_: sp.Integer(0)).subs(here) * slope
        for place, slope in zip(places, slopes, strict=True)
        if slope != 0
    )
    return _signed(sp, outer.subs(here), symbol), _signed(sp, sp.Add(*parts), symbol)


def _signed(sp: Any, form: Any, symbol: Any) -> Any:
    """The form without magnitudes and signs of what is linear and has one sign for f in (0, 1), such as 1 - f."""
    for part in form.atoms(sp.Abs, sp.sign):
        inside = part.args[0]
        if inside.is_polynomial(symbol) and sp.degree(inside, symbol) == 1:
            ends = [inside.subs(symbol, end) for end in (0, 1)]
            sign = 1 if min(ends) >= 0 else -1 if max(ends) <= 0 else None
            if sign is not None:
                form = form.xreplace({part: sp.Integer(sign) * (inside if isinstance(part, sp.Abs) else 1)})
    return form


def _number(sp: Any, value: float, exact: bool) -> Any:
    return sp.Rational(*value.as_integer_ratio()) if exact or value == round(value) else sp.Float(value)


def _simplest(form: Any, deadline: float) -> Any:
    """The smallest form that SymPy finds and that has the same value at points between 0 and 1."""
    import sympy as sp

    p = sp.Symbol("p", positive=True)
    points = [0.013, 0.17, 0.38, 0.52, 0.71, 0.89, 0.995]
    wanted = [complex(form.subs(p, point)) for point in points]
    best = form
    for answer in sympy_process.ask({"task": "simplify", "forms": [sympy_worker.encode(form)]}, deadline):
        other = sympy_worker.decode(answer["rows"], positive=True)
        values = [complex(other.subs(p, point)) for point in points]
        same = all(abs(a - b) <= 1e-9 * max(abs(a), 1e-9) for a, b in zip(wanted, values, strict=True))
        if same and sp.count_ops(other) < sp.count_ops(best):
            best = other
    return best


def _roots(form: Any, deadline: float) -> list[Any]:
    job = {"task": "roots", "forms": [sympy_worker.encode(form)]}
    answers = [sympy_worker.decode(answer["rows"], positive=True) for answer in sympy_process.ask(job, deadline)]
    return [root for root in answers if root.is_number and root.is_real and 0 < float(root) < 1]


def _limit(form: Any, deadline: float) -> Any:
    job = {"task": "limit", "forms": [sympy_worker.encode(form)]}
    for answer in sympy_process.ask(job, deadline):
        return sympy_worker.decode(answer["rows"])
    return None


def _rounded(form: Any) -> Any:
    import sympy as sp

    short = {number: float(f"{float(number):.{DIGITS}g}") for number in form.atoms(sp.Float)}
    return form.xreplace({n: sp.Integer(int(v)) if v.is_integer() else sp.Float(str(v)) for n, v in short.items()})
