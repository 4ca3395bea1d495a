"""The table of primitives: one row per operation, from which every other form of a loss is derived."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from symloss.errors import ExpressionError

EPSILON = 1e-7
"""Smallest magnitude that `log`, `sqrt` and `truediv` see: below it they are constant."""

TERMINALS = ("y", "f", "1", "-1")
"""Leaves of every expression: target, prediction and the two constants (weights make all other constants)."""

Partial = Any  # an array of the argument's shape, or a Python number where the derivative is constant


@dataclass(frozen=True)
class Primitive:
    """One operation of the grammar, in every form that symloss needs.

    Args:
        name: Name in expressions, a Python identifier.
        arity: Number of arguments, 1 or 2.
        function: `function(xp, *arguments)` with `xp` either `numpy` or `torch`; elementwise, any shape.
        sympy: `sympy(sp, *arguments)` with `sp` the module; the exact form, protection included.
        latex: Format string with `{0}` and `{1}`; `{0:product}` and `{0:atom}` set brackets where a product or power
            needs them.
        source: Format string of the torch text that `SymbolicLoss.source()` writes; None if it cannot be written.
        gradient: `gradient(xp, *arguments)` -> one partial derivative per argument.
        hessian: `hessian(xp, *arguments)` -> second partials (aa,) or (aa, ab, bb).
        algebra: Like `sympy`, without protection: the form in which SymPy can simplify. Defaults to `sympy`.
        search: Whether the search draws it.
        protected: Where the function differs from the textbook one, in words.
    """

    name: str
    arity: int
    function: Callable[..., Any]
    sympy: Callable[..., Any]
    latex: str
    source: str | None
    gradient: Callable[..., tuple[Partial, ...]]
    hessian: Callable[..., tuple[Partial, ...]]
    algebra: Callable[..., Any] | None = None
    search: bool = True
    protected: str = ""

    def torch(self, *arguments: torch.Tensor) -> torch.Tensor:
        """Value on tensors; differentiable by autograd."""
        value: torch.Tensor = self.function(torch, *arguments)
        return value

    def numpy(self, *arguments: Any) -> Any:
        """Value on NumPy arrays."""
        return self.function(np, *arguments)


def _clamped(xp: Any, a: Any) -> Any:
    return xp.clip(xp.abs(a), EPSILON, None)


def _outside(xp: Any, a: Any) -> Any:
    """1 where |a| >= EPSILON, 0 inside the protected range, in a's dtype."""
    inside = xp.abs(a) >= EPSILON
    return inside.to(a.dtype) if isinstance(inside, torch.Tensor) else np.asarray(inside, dtype=np.asarray(a).dtype)


def _greater(xp: Any, a: Any, b: Any) -> Any:
    """1 where a > b, 1/2 at a tie (torch's convention), 0 elsewhere."""
    return 0.5 * xp.sign(a - b) + 0.5


def _away_from_zero(xp: Any, b: Any) -> Any:
    """b, moved to ±EPSILON (the sign of b, + at zero) where it is nearer to zero than that."""
    return xp.where(b < 0, xp.clip(b, None, -EPSILON), xp.clip(b, EPSILON, None))


def _div_gradient(xp: Any, a: Any, b: Any) -> tuple[Partial, ...]:
    r = 1 / xp.sqrt(1 + b * b)
    return r, -a * b * r * r * r


def _div_hessian(xp: Any, a: Any, b: Any) -> tuple[Partial, ...]:
    r = 1 / xp.sqrt(1 + b * b)
    cube = r * r * r
    return 0.0, -b * cube, a * cube * (2 - 3 * r * r)  # a (2b² - 1) r⁵, without the overflow of b²


def _truediv_gradient(xp: Any, a: Any, b: Any) -> tuple[Partial, ...]:
    safe = _away_from_zero(xp, b)
    return 1 / safe, -a / (safe * safe) * _outside(xp, b)


def _truediv_hessian(xp: Any, a: Any, b: Any) -> tuple[Partial, ...]:
    safe, live = _away_from_zero(xp, b), _outside(xp, b)
    return 0.0, -live / (safe * safe), 2 * a * live / (safe * safe * safe)


def _log_gradient(xp: Any, a: Any) -> tuple[Partial, ...]:
    return (_outside(xp, a) * xp.sign(a) / _clamped(xp, a),)


def _log_hessian(xp: Any, a: Any) -> tuple[Partial, ...]:
    m = _clamped(xp, a)
    return (-_outside(xp, a) / (m * m),)


def _sqrt_gradient(xp: Any, a: Any) -> tuple[Partial, ...]:
    return (0.5 * _outside(xp, a) * xp.sign(a) / xp.sqrt(_clamped(xp, a)),)


def _sqrt_hessian(xp: Any, a: Any) -> tuple[Partial, ...]:
    m = _clamped(xp, a)
    return (-0.25 * _outside(xp, a) / (m * xp.sqrt(m)),)


def _tanh_gradient(xp: Any, a: Any) -> tuple[Partial, ...]:
    t = xp.tanh(a)
    return (1 - t * t,)


def _tanh_hessian(xp: Any, a: Any) -> tuple[Partial, ...]:
    t = xp.tanh(a)
    return (-2 * t * (1 - t * t),)


def _minmax_gradient(larger: bool) -> Callable[..., tuple[Partial, ...]]:
    def gradient(xp: Any, a: Any, b: Any) -> tuple[Partial, ...]:
        first = _greater(xp, a, b)
        return (first, 1 - first) if larger else (1 - first, first)

    return gradient


def _power_gradient(xp: Any, a: Any, b: Any) -> tuple[Partial, ...]:
    m = _clamped(xp, a)
    live = _outside(xp, a)
    return b * m ** (b - 1) * xp.sign(a) * live, m**b * xp.log(m)


def _power_hessian(xp: Any, a: Any, b: Any) -> tuple[Partial, ...]:
    m = _clamped(xp, a)
    live = _outside(xp, a)
    log = xp.log(m)
    return (
        b * (b - 1) * m ** (b - 2) * live,
        (1 + b * log) * m ** (b - 1) * xp.sign(a) * live,
        m**b * log * log,
    )


def _sympy_away(sp: Any, b: Any) -> Any:
    return sp.Piecewise((b, sp.Abs(b) >= EPSILON), (-EPSILON, b < 0), (EPSILON, True))


def _sympy_clamped(sp: Any, a: Any) -> Any:
    return sp.Max(sp.Abs(a), EPSILON)


_ROWS = (
    Primitive(
        "add", 2, lambda xp, a, b: a + b, lambda sp, a, b: a + b, "{0} + {1:product}", "({0} + {1})",
        lambda xp, a, b: (1.0, 1.0), lambda xp, a, b: (0.0, 0.0, 0.0),
    ),
    Primitive(
        "sub", 2, lambda xp, a, b: a - b, lambda sp, a, b: a - b, "{0} - {1:product}", "({0} - {1})",
        lambda xp, a, b: (1.0, -1.0), lambda xp, a, b: (0.0, 0.0, 0.0),
    ),
    Primitive(
        "mul", 2, lambda xp, a, b: a * b, lambda sp, a, b: a * b, r"{0:product} \, {1:product}", "({0} * {1})",
        lambda xp, a, b: (b, a), lambda xp, a, b: (0.0, 1.0, 0.0),
    ),
    Primitive(
        "div", 2, lambda xp, a, b: a / xp.sqrt(1 + b * b), lambda sp, a, b: a / sp.sqrt(1 + b**2),
        r"\frac{{{0}}}{{\sqrt{{1 + {1:atom}^2}}}}", "({0} / torch.sqrt(1 + ({1}) ** 2))",
        _div_gradient, _div_hessian, protected="analytic quotient a / sqrt(1 + b^2)",
    ),
    Primitive(
        "min", 2, lambda xp, a, b: xp.minimum(a, b), lambda sp, a, b: sp.Min(a, b),
        r"\min\left({0},\, {1}\right)", "torch.minimum({0}, {1})",
        _minmax_gradient(larger=False), lambda xp, a, b: (0.0, 0.0, 0.0),
    ),
    Primitive(
        "max", 2, lambda xp, a, b: xp.maximum(a, b), lambda sp, a, b: sp.Max(a, b),
        r"\max\left({0},\, {1}\right)", "torch.maximum({0}, {1})",
        _minmax_gradient(larger=True), lambda xp, a, b: (0.0, 0.0, 0.0),
    ),
    Primitive(
        "sign", 1, lambda xp, a: xp.sign(a), lambda sp, a: sp.sign(a),
        r"\operatorname{{sign}}\left({0}\right)", "torch.sign({0})",
        lambda xp, a: (0.0,), lambda xp, a: (0.0,),
    ),
    Primitive(
        "square", 1, lambda xp, a: a * a, lambda sp, a: a**2, "{0:atom}^2", "torch.square({0})",
        lambda xp, a: (2 * a,), lambda xp, a: (2.0,),
    ),
    Primitive(
        "abs", 1, lambda xp, a: xp.abs(a), lambda sp, a: sp.Abs(a), r"\left|{0}\right|", "torch.abs({0})",
        lambda xp, a: (xp.sign(a),), lambda xp, a: (0.0,),
    ),
    Primitive(
        "log", 1, lambda xp, a: xp.log(_clamped(xp, a)), lambda sp, a: sp.log(_sympy_clamped(sp, a)),
        r"\log\left|{0}\right|", "torch.log(torch.clamp(torch.abs({0}), min=1e-07))",
        _log_gradient, _log_hessian, algebra=lambda sp, a: sp.log(sp.Abs(a)), protected="log(max(|a|, 1e-7))",
    ),
    Primitive(
        "sqrt", 1, lambda xp, a: xp.sqrt(_clamped(xp, a)), lambda sp, a: sp.sqrt(_sympy_clamped(sp, a)),
        r"\sqrt{{\left|{0}\right|}}", "torch.sqrt(torch.clamp(torch.abs({0}), min=1e-07))",
        _sqrt_gradient, _sqrt_hessian, algebra=lambda sp, a: sp.sqrt(sp.Abs(a)), protected="sqrt(max(|a|, 1e-7))",
    ),
    Primitive(
        "tanh", 1, lambda xp, a: xp.tanh(a), lambda sp, a: sp.tanh(a), r"\tanh\left({0}\right)", "torch.tanh({0})",
        _tanh_gradient, _tanh_hessian,
    ),
    Primitive(
        "exp", 1, lambda xp, a: xp.exp(a), lambda sp, a: sp.exp(a), r"\exp\left({0}\right)", "torch.exp({0})",
        lambda xp, a: (xp.exp(a),), lambda xp, a: (xp.exp(a),), search=False,
    ),
    Primitive(
        "truediv", 2, lambda xp, a, b: a / _away_from_zero(xp, b), lambda sp, a, b: a / _sympy_away(sp, b),
        r"\frac{{{0}}}{{{1}}}",
        "({0} / torch.where({1} < 0, torch.clamp({1}, max=-1e-07), torch.clamp({1}, min=1e-07)))",
        _truediv_gradient, _truediv_hessian, algebra=lambda sp, a, b: a / b, search=False,
        protected="a / b with |b| held at 1e-7 or more",
    ),
    Primitive(
        "pow", 2, lambda xp, a, b: _clamped(xp, a) ** b, lambda sp, a, b: _sympy_clamped(sp, a) ** b,
        r"\left|{0}\right|^{{{1}}}", "torch.pow(torch.clamp(torch.abs({0}), min=1e-07), {1})",
        _power_gradient, _power_hessian, algebra=lambda sp, a, b: sp.Abs(a) ** b, search=False,
        protected="max(|a|, 1e-7) ** b",
    ),
)  # fmt: skip

_TABLE: dict[str, Primitive] = {row.name: row for row in _ROWS}


def get(name: str) -> Primitive:
    """Return the primitive called `name`.

    Raises:
        ExpressionError: If there is none.
    """
    try:
        return _TABLE[name]
    except KeyError:
        raise ExpressionError(f"unknown operation {name!r}; known: {', '.join(_TABLE)}") from None


def is_known(name: str) -> bool:
    """Whether `name` is a primitive of the table."""
    return name in _TABLE


def primitives() -> Iterator[Primitive]:
    """All primitives, in the order of registration."""
    return iter(tuple(_TABLE.values()))


def search_set() -> tuple[Primitive, ...]:
    """The primitives that the search draws from."""
    return tuple(row for row in _TABLE.values() if row.search)


def register(
    name: str,
    arity: int,
    function: Callable[..., Any],
    *,
    sympy: Callable[..., Any],
    latex: str | None = None,
    source: str | None = None,
    gradient: Callable[..., tuple[Partial, ...]] | None = None,
    hessian: Callable[..., tuple[Partial, ...]] | None = None,
    algebra: Callable[..., Any] | None = None,
    search: bool = True,
    protected: str = "",
) -> Primitive:
    """Add an operation of your own to the table, for this process, after checking all of its forms.

    Args:
        name: Name in expressions, a new Python identifier.
        arity: Number of arguments, 1 or 2.
        function: `function(xp, *arguments)` with `xp` either `numpy` or `torch`; elementwise, any shape.
        sympy: `sympy(sp, *arguments)` with `sp` the module; the exact form, protection included.
        latex: Format string with `{0}` and `{1}`, braces of LaTeX doubled; `{0:product}` and `{0:atom}` set brackets
            where a product or power needs them. Defaults to the name as an operator.
        source: Format string of the torch text that `SymbolicLoss.source()` writes; None if it cannot be written.
        gradient: `gradient(xp, *arguments)` -> one partial derivative per argument. Default: automatic differentiation.
        hessian: `hessian(xp, *arguments)` -> second partials (aa,) or (aa, ab, bb). Default: automatic differentiation.
        algebra: Like `sympy`, without protection.
        search: Whether the search draws it; then it must be finite up to a million, else up to 100.
        protected: Where the function differs from the textbook one, in words.

    Returns:
        The new row of the table.

    Raises:
        ExpressionError: If the name is taken or reserved, a value or a derivative up to the second is not finite at
            zero, negative or large numbers, or two forms disagree.
    """
    from symloss.expression import registration

    registration.check_name(name, is_known)
    if arity not in (1, 2):
        raise ExpressionError(f"a primitive takes 1 or 2 arguments; received arity={arity!r}")
    escaped = name.replace("_", r"\_")
    default_latex = rf"\operatorname{{{{{escaped}}}}}\left({', '.join(('{0}', '{1}')[:arity])}\right)"
    row = Primitive(
        name,
        arity,
        function,
        sympy,
        default_latex if latex is None else latex,
        source,
        gradient or registration.autograd_gradient(function, arity),
        hessian or registration.autograd_hessian(function, arity),
        algebra,
        search,
        protected,
    )
    registration.check(row)
    _TABLE[name] = row
    return row


def unregister(name: str) -> None:
    """Remove a registered primitive from the table.

    Raises:
        ExpressionError: If there is none of that name, or it belongs to symloss.
    """
    if get(name) in _ROWS:
        raise ExpressionError(f"{name!r} belongs to symloss and stays; only registered primitives can be removed")
    del _TABLE[name]


def registered() -> tuple[Primitive, ...]:
    """The rows that users added, for another process to `restore`."""
    return tuple(row for row in _TABLE.values() if row not in _ROWS)


def restore(rows: Iterable[Primitive]) -> None:
    """Make `rows`, from `registered()` of another process, where they were checked, the added rows of this one."""
    for row in registered():
        del _TABLE[row.name]
    own = {row.name for row in _ROWS}
    _TABLE.update({row.name: row for row in rows if row.name not in own})
