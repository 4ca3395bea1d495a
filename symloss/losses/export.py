"""A SymbolicLoss as a standalone Python file that needs torch alone."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from symloss.errors import LossError
from symloss.expression import primitives
from symloss.expression.expression import Expression
from symloss.expression.primitives import TERMINALS

if TYPE_CHECKING:
    from symloss.losses.symbolic import SymbolicLoss

_FILE = '''\
"""A loss found by symloss, as plain torch code.

l(y, f) =
{formula}

{meaning}
Computed in float32, or in float64 for float64 inputs; returned in the input's dtype (float32 under autocast).
"""

import torch


def loss(input, target):
    """{summary}

    Reduction: {reduction}.
    """
{head}
{nodes}
{tail}
    return value if torch.is_autocast_enabled(input.device.type) else value.to(input.dtype)


class Loss(torch.nn.Module):
    """The same as a module."""

    def forward(self, input, target):
        return loss(input, target)
'''

_MEANING = {
    "multiclass": (
        "y: target probability of a class, f: its softmax probability; summed over the classes.",
        "Multiclass loss of logits (N, C, ...) or (C,) and class indices, or probabilities of the logits' shape.",
    ),
    "binary": (
        "y: target, 0 to 1, f: sigmoid of the logit; every entry is a sample.",
        "Binary loss of logits and targets of the same shape.",
    ),
    "regression": (
        "y: target, f: output; summed over all dimensions after the first.",
        "Regression loss of outputs and targets of the same shape.",
    ),
}

_INDICES = """\
    dim = 0 if input.ndim == 1 else 1
    f = input.to(torch.promote_types(input.dtype, torch.float32))
    if target.shape == input.shape:
        kept, y = None, target.to(f.dtype)
    elif target.shape == input.shape[:dim] + input.shape[dim + 1 :]:
        kept = target != {ignore_index}
        y = torch.nn.functional.one_hot(torch.where(kept, target, 0).long(), input.shape[dim])
        y = y.movedim(-1, dim).to(f.dtype)
        f = torch.where(kept.unsqueeze(dim), f, 0.0)
    else:
        raise ValueError(f"target of shape {{tuple(target.shape)}} does not fit logits of shape {{tuple(input.shape)}}")
    f = torch.softmax(f, dim)"""

_SAME_SHAPE = """\
    if target.shape != input.shape:
        raise ValueError(f"target of shape {tuple(target.shape)} does not fit input of shape {tuple(input.shape)}")
    f = input.to(torch.promote_types(input.dtype, torch.float32))
    y = target.to(f.dtype)"""

_HEAD = {
    "multiclass": _INDICES,
    "binary": _SAME_SHAPE + "\n    f = torch.sigmoid(f)",
    "regression": _SAME_SHAPE,
}


def source(loss: SymbolicLoss) -> str:
    """The text of a Python file that defines the same loss: `loss(input, target)` and a module `Loss`.

    One assignment per node of the expression, so the text grows with its size and no faster.

    Args:
        loss: The loss; its current weights become numbers in the text.

    Returns:
        Python source that imports torch and nothing else.

    Raises:
        LossError: If an operation was registered without source text.
    """
    expression = loss.expression
    nodes, result = _assignments(expression)
    meaning, summary = _MEANING[loss.kind]
    return _FILE.format(
        formula=textwrap.indent(
            textwrap.fill(str(expression), 100, break_long_words=False, break_on_hyphens=False), "    "
        ),
        meaning=meaning,
        summary=summary,
        reduction=loss.reduction,
        head=_HEAD[loss.kind].format(ignore_index=loss.ignore_index) if loss.kind == "multiclass" else _HEAD[loss.kind],
        nodes="\n".join(f"    {line}" for line in nodes),
        tail="\n".join(f"    {line}" for line in _tail(loss, result)),
    )


def _assignments(expression: Expression) -> tuple[list[str], str]:
    """One assignment per node that needs one, and the name of the root's value."""
    lines: list[str] = []
    stack: list[str] = []
    for index in range(expression.size - 1, -1, -1):
        node = expression.nodes[index]
        weight = expression.weights[index - 1] if index else 1.0
        name = f"v{index}"
        if node in ("1", "-1"):
            lines.append(f"{name} = torch.full((), {weight * int(node)!r}, dtype=f.dtype, device=f.device)")
        elif node in TERMINALS and weight == 1.0:
            name = node
        else:
            value = node if node in TERMINALS else _call(node, [stack.pop() for _ in range(primitives.get(node).arity)])
            lines.append(f"{name} = {value}" if weight == 1.0 else f"{name} = {weight!r} * {value}")
        stack.append(name)
    return lines, stack.pop()


def _call(node: str, arguments: list[str]) -> str:
    template = primitives.get(node).source
    if template is None:
        raise LossError(f"operation {node!r} was registered without source text; register it with source='...'")
    return template.format(*arguments)


def _tail(loss: SymbolicLoss, result: str) -> list[str]:
    """From the value of every entry to the value of the batch."""
    lines = {
        "multiclass": [
            f"value = {result}.sum(dim)",
            "if kept is not None:",
            "    value = torch.where(kept, value, 0.0)",
        ],
        "binary": [f"value = {result}"],
        "regression": [f"value = {result}.flatten(1).sum(1) if {result}.ndim > 1 else {result}"],
    }[loss.kind]
    if loss.reduction == "sum":
        lines.append("value = value.sum()")
    elif loss.reduction == "mean" and loss.kind == "multiclass":
        lines.append("value = value.mean() if kept is None else value.sum() / kept.sum()")
    elif loss.reduction == "mean":
        lines.append("value = value.mean()")
    return lines
