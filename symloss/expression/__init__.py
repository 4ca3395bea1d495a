"""What a loss is written in: expressions over a table of primitives."""

from symloss.expression.equivalence import Equivalence, equivalent
from symloss.expression.expression import Expression
from symloss.expression.latex import to_latex
from symloss.expression.parsing import parse
from symloss.expression.primitives import Primitive, register, unregister
from symloss.expression.simplification import simplify
from symloss.expression.sympy_bridge import from_sympy, to_sympy

__all__ = [
    "Equivalence",
    "Expression",
    "Primitive",
    "equivalent",
    "from_sympy",
    "parse",
    "register",
    "simplify",
    "to_latex",
    "to_sympy",
    "unregister",
]
