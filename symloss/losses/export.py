"""A loss as a standalone Python file that needs torch alone."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from symloss.errors import LossError
from symloss.expression import primitives
from symloss.losses import stable
from symloss.losses.network import LEAK, SHARPNESS
from symloss.losses.program import (
    FIRST,
    LOG_F,
    LOG_Q,
    LOWEST_LOG,
    ONE,
    OUTSIDE,
    F,
    Program,
    Q,
    Term,
    Y,
    compile_expression,
)

if TYPE_CHECKING:
    from symloss.losses.base import Loss
    from symloss.losses.network import LossNetwork
    from symloss.losses.symbolic import SymbolicLoss

_FILE = '''\
"""A loss found by symloss, as plain torch code.

l(y, f) =
{formula}

{meaning}
Computed in float32, or in float64 for float64 inputs; returned in the input's dtype (float32 under autocast).
"""

import torch

{helper}
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
    z = input.to(torch.promote_types(input.dtype, torch.float32))
    if target.shape == input.shape:
        kept, y = None, target.to(z.dtype)
    elif target.shape == input.shape[:dim] + input.shape[dim + 1 :]:
        kept = target != {ignore_index}
        y = torch.nn.functional.one_hot(torch.where(kept, target, 0).long(), input.shape[dim])
        y = y.movedim(-1, dim).to(z.dtype)
        z = torch.where(kept.unsqueeze(dim), z, 0.0)
    else:
        shapes = f"{{tuple(target.shape)}} does not fit logits of shape {{tuple(input.shape)}}"
        raise ValueError(f"target of shape {{shapes}}")"""

_SAME_SHAPE = """\
    if target.shape != input.shape:
        raise ValueError(f"target of shape {tuple(target.shape)} does not fit input of shape {tuple(input.shape)}")
    z = input.to(torch.promote_types(input.dtype, torch.float32))
    y = target.to(z.dtype)"""

_HEAD = {"multiclass": _INDICES, "binary": _SAME_SHAPE, "regression": _SAME_SHAPE}

_NAMES = {F: "f", Q: "q", LOG_F: "log_f", LOG_Q: "log_q", Y: "y"}
_LEAVES = {
    "multiclass": {
        F: "torch.softmax(z, dim)",
        Q: "1 - torch.softmax(z, dim)",
        LOG_F: f"torch.log_softmax(z, dim).clamp(min={LOWEST_LOG!r})",
        LOG_Q: f"torch.nn.functional.logsigmoid(-margins(z, dim)).clamp(min={LOWEST_LOG!r})",
    },
    "binary": {
        F: "torch.sigmoid(z)",
        Q: "torch.sigmoid(-z)",
        LOG_F: f"torch.nn.functional.logsigmoid(z).clamp(min={LOWEST_LOG!r})",
        LOG_Q: f"torch.nn.functional.logsigmoid(-z).clamp(min={LOWEST_LOG!r})",
    },
    "regression": {F: "z"},
}
_OUTSIDE = "(torch.abs({0}) >= 1e-07).to(z.dtype)"


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
    nodes, result = _assignments(compile_expression(expression, probability=loss.kind != "regression"), loss.kind)
    helper = ""
    if any("margins(" in line for line in nodes):
        helper = inspect.getsource(stable.margins).replace(": Tensor", "").replace(": int", "")
        helper = helper.replace(" -> Tensor", "").replace("math.inf", 'float("inf")')
    return _file(loss, str(expression), helper, nodes, result)


def network_source(loss: LossNetwork) -> str:
    """The same for a loss that is a network; its weights stand at the head of the file, one line for each row.

    Args:
        loss: The loss; its current weights become numbers in the text.

    Returns:
        Python source that imports torch and nothing else.
    """
    network, own = loss.network, loss.architecture
    matrices = (layer.tolist() for layer in own.layers(network.weights))
    layers = ",\n".join("    [\n" + "".join(f"        {row},\n" for row in layer) + "    ]" for layer in matrices)
    helper = f"LAYERS = [  # rows are outputs, columns inputs{', the last the bias' * own.bias}\n{layers},\n]\n\n"
    lines = [
        f"f = {_LEAVES[loss.kind][F]}",
        "v = torch.stack((y, f), -1)",
        "for number, layer in enumerate(LAYERS):",
        f"    v = {_FUNCTIONS[own.activation]} if number else v",
        "    layer = torch.tensor(layer, dtype=z.dtype, device=z.device)",
        "    width = v.shape[-1]",
        "    v = v @ layer[:, :width].T + layer[:, width:].sum(1)",
        "v = v.squeeze(-1)",
        f"v = {network.scale!r} * {_FUNCTIONS[own.output]}",
    ]
    return _file(loss, str(own), helper, lines, "v")


_FUNCTIONS = {
    "relu": "torch.relu(v)",
    "softplus": "torch.nn.functional.softplus(v)",
    "smooth-leaky-relu": f"({LEAK} * v + {1 - LEAK} * torch.nn.functional.softplus(v, {SHARPNESS}))",
    "identity": "v",
}


def _file(loss: Loss, formula: str, helper: str, nodes: Sequence[str], result: str) -> str:
    meaning, summary = _MEANING[loss.kind]
    helper = f"\n{helper}\n" if helper else ""
    return _FILE.format(
        formula=textwrap.indent(textwrap.fill(formula, 100, break_long_words=False, break_on_hyphens=False), "    "),
        meaning=meaning,
        summary=summary,
        helper=helper,
        reduction=loss.reduction,
        head=_HEAD[loss.kind].format(ignore_index=loss.ignore_index) if loss.kind == "multiclass" else _HEAD[loss.kind],
        nodes="\n".join(f"    {line}" for line in nodes),
        tail="\n".join(f"    {line}" for line in _tail(loss, result)),
    )


def _assignments(program: Program, kind: str) -> tuple[list[str], str]:
    """One assignment per leaf, step and weight that needs one, and the name of the result."""
    lines: list[str] = []
    names = {Y: "y"}

    def name(term: Term) -> str:
        if term.row == ONE:
            return assign(f"torch.full((), {term.number!r}, dtype=z.dtype, device=z.device)", "c")
        if term.row not in names:
            names[term.row] = _NAMES[term.row]
            lines.append(f"{_NAMES[term.row]} = {_LEAVES[kind][term.row]}")
        return names[term.row] if term.number == 1 else assign(f"{term.number!r} * {names[term.row]}", "w")

    def assign(value: str, letter: str) -> str:
        lines.append(f"{letter}{len(lines)} = {value}")
        return lines[-1].partition(" ")[0]

    for i, (operation, terms) in enumerate(program.steps):
        names[FIRST + i] = assign(_call(operation, [name(term) for term in terms]), "v")
    return lines, name(program.result)


def _call(node: str, arguments: list[str]) -> str:
    template = _OUTSIDE if node == OUTSIDE else primitives.get(node).source
    if template is None:
        raise LossError(f"operation {node!r} was registered without source text; register it with source='...'")
    return template.format(*arguments)


def _tail(loss: Loss, result: str) -> list[str]:
    """From the value of every entry to the value of the batch."""
    lines = {
        "multiclass": [
            f"value = {result}.expand(z.shape).sum(dim)",
            "if kept is not None:",
            "    value = torch.where(kept, value, 0.0)",
        ],
        "binary": [f"value = {result}.expand(z.shape)"],
        "regression": [
            f"value = {result}.expand(z.shape)",
            "value = value.flatten(1).sum(1) if value.ndim > 1 else value",
        ],
    }[loss.kind]
    total = "kept.sum()"
    if loss.weight is not None:
        lines += [
            f"weight = torch.tensor({loss.weight.tolist()!r}, dtype=z.dtype, device=z.device)",
            "weight = (y.movedim(dim, -1) * weight).sum(-1)",
            "value = value * weight",
        ]
        total = "(weight * kept).sum()"
    if loss.reduction == "sum":
        lines.append("value = value.sum()")
    elif loss.reduction == "mean" and loss.kind == "multiclass":
        lines.append(f"value = value.mean() if kept is None else value.sum() / {total}")
    elif loss.reduction == "mean":
        lines.append("value = value.mean()")
    return lines
