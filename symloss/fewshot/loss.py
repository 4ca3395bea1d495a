"""The meta-learned loss of the inner loop, M = L_base + L^S + L^Q + R, for many tasks at once.

L^S adds a number for each support sample, L^Q one for each query sample (transductive), R one for the adapted tensors.
All three are networks whose last layers are zero at the start, when M is L_base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from symloss.errors import LossError
from symloss.losses.base import Loss
from symloss.losses.network import smooth_leaky_relu

HIDDEN = (40, 40)
_TINY = 1e-6  # under the roots of R, whose derivative is infinite at 0


@dataclass(frozen=True)
class Outputs:
    """What a model gives for samples of T tasks.

    Args:
        values: Logits, or predictions **[T, B, C]**.
        features: **[T, B, D]**.
    """

    values: Tensor
    features: Tensor


class Network(nn.Module):
    """in → 40 → 40 → 1, smooth leaky ReLU, each hidden layer with FiLM on request; 0 everywhere at the start.

    The last layer has no bias, which would have no gradient.

    Args:
        inputs: Number of inputs.
        film: Whether there are FiLM layers.
    """

    def __init__(self, inputs: int, film: bool) -> None:
        super().__init__()
        widths = (inputs, *HIDDEN)
        self.hidden = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(widths)])
        self.last = nn.Linear(widths[-1], 1, bias=False)
        nn.init.zeros_(self.last.weight)
        self.psi = nn.ModuleList([nn.Linear(a, 2 * b) for a, b in pairwise(widths) if film])
        for parameter in self.psi.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, film: bool = True) -> Tensor:
        """From **[..., inputs]** to **[...]**; without `film` as if its layers were the identity."""
        for place, layer in enumerate(self.hidden):
            a = layer(x)
            if self.psi and film:
                gamma, beta = self.psi[place](x).chunk(2, -1)
                a = (1 + gamma) * a + beta
            x = smooth_leaky_relu(a)
        value: Tensor = self.last(x).squeeze(-1)
        return value


class BaseLoss(nn.Module):
    """L_base of each sample: the task loss, or any loss of symloss.

    Args:
        kind: `"multiclass"` or `"regression"`.
        loss: A loss with `reduction="none"`; None is cross-entropy, or the squared error.
    """

    def __init__(self, kind: str, loss: Loss | None) -> None:
        super().__init__()
        self.kind, self.loss = kind, loss

    def forward(self, values: Tensor, target: Tensor) -> Tensor:
        """Losses **[T, B]** of outputs **[T, B, C]**; targets **[T, B, C]** are probabilities or real numbers."""
        if self.loss is not None:
            flat: Tensor = self.loss(values.flatten(0, 1), target.flatten(0, 1).to(values))
            return flat.view(values.shape[:2])
        if self.kind == "regression":
            return (values - target).square().sum(-1)
        return -(target * F.log_softmax(values, -1)).sum(-1)


class MetaLoss(nn.Module):
    """M of each task.

    Class by class (`fixed_width=False`), L^S sums over classes a network of (logit, probability, label, L_base of the
    sample), so that it depends on neither the number nor the order of classes; with `fixed_width=True` it is one
    network of (all logits, all labels, L_base) for each sample, as published.

    Args:
        base: L_base.
        ways: Outputs C.
        tensors: Number of adapted tensors.
        learned: Whether there are L^S, R and, if `transductive`, L^Q; without them M is L_base.
        transductive: Whether there is L^Q.
        film: Whether the networks have FiLM layers.
        fixed_width: See above.

    Source: Raymond et al., *Meta-Learning Neural Procedural Biases*, arXiv 2406.07983.
    """

    def __init__(
        self, base: BaseLoss, ways: int, tensors: int, *,
        learned: bool, transductive: bool, film: bool, fixed_width: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.base, self.fixed_width = base, fixed_width
        multiclass = base.kind == "multiclass"
        width = 2 * ways + 1 if fixed_width else 3 + multiclass
        self.support = Network(width, film) if learned else None
        self.query = Network(width, film) if learned and transductive else None
        self.regulariser = Network(4 * tensors, film) if learned else None

    def forward(
        self, support: Outputs, target: Tensor, tensors: Sequence[Tensor], queries: Outputs | None = None
    ) -> Tensor:
        """M **[T]**.

        Args:
            support: Outputs for the support samples.
            target: Their labels, one-hot, or real targets **[T, S, C]**.
            tensors: Adapted tensors **[T, ...]**.
            queries: Outputs for the queries, needed where there is L^Q.
        """
        base = self.base(support.values, target)
        total: Tensor = base.mean(1)
        if self.support is not None:
            total = total + self._over_samples(self.support, support.values, target, base)
        if self.query is not None and queries is not None:
            scores = relations(support.features, queries.features, target, self.base.kind)
            between = self.base(queries.values, scores)
            total = total + self._over_samples(self.query, queries.values, scores, between)
        if self.regulariser is not None:
            total = total + self.regulariser(torch.cat([summary(tensor) for tensor in tensors], -1))
        return total

    def entries(self, values: Tensor, target: Tensor, base: Tensor) -> Tensor:
        """Inputs of the sample networks: **[T, B, C, inputs]** class by class, **[T, B, inputs]** at a fixed width."""
        if self.fixed_width:
            return torch.cat([values, target, base.unsqueeze(-1)], -1)
        wide = base.unsqueeze(-1).expand(values.shape)
        parts = [values, target, wide]
        if self.base.kind == "multiclass":
            parts.insert(1, values.softmax(-1))
        return torch.stack(parts, -1)

    def _over_samples(self, network: Network, values: Tensor, target: Tensor, base: Tensor) -> Tensor:
        """Mean over samples [T] of what a network gives for each, summed over classes."""
        found: Tensor = network(self.entries(values, target, base))
        return (found if self.fixed_width else found.sum(-1)).mean(1)


def relations(support: Tensor, queries: Tensor, target: Tensor, kind: str) -> Tensor:
    """What the support set says of queries, by their distances in feature space.

    Multiclass: softmax_c(−‖h − p_c‖² / D) with prototypes p_c, the mean features of the classes. Regression: the mean
    of support targets, weighted with softmax_s(−‖h − h_s‖² / D).

    Args:
        support: Features **[T, S, D]**.
        queries: Features **[T, Q, D]**.
        target: One-hot labels, or real targets, of the support samples **[T, S, C]**.
        kind: `"multiclass"` or `"regression"`.

    Returns:
        Class probabilities, or values **[T, Q, C]**.

    Source: Snell et al., *Prototypical Networks for Few-shot Learning*, arXiv 1703.05175.
    """
    if kind == "regression":
        return (-distances(queries, support)).softmax(-1) @ target
    return (-distances(queries, prototypes(support, target))).softmax(-1)


def prototypes(features: Tensor, target: Tensor) -> Tensor:
    """Mean features of each class **[T, C, D]**, from features **[T, S, D]** and one-hot labels **[T, S, C]**."""
    return (target.transpose(1, 2) @ features) / target.sum(1).unsqueeze(-1)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared differences [T, A, B] of features [T, A, D] and [T, B, D]."""
    squares = a.square().sum(-1, keepdim=True) + b.square().sum(-1).unsqueeze(1) - 2 * a @ b.transpose(1, 2)
    return squares / a.shape[-1]


def summary(tensor: Tensor) -> Tensor:
    """Mean, standard deviation, mean absolute value and root mean square of each task's entries: **[T, 4]**.

    The roots are √(· + ε): their derivative stays finite where all entries are equal.

    Args:
        tensor: **[T, ...]**.
    """
    flat = tensor.flatten(1)
    mean, square = flat.mean(1), flat.square().mean(1)
    deviation = ((flat - mean.unsqueeze(1)).square().mean(1) + _TINY).sqrt()
    return torch.stack([mean, deviation, flat.abs().mean(1), (square + _TINY).sqrt()], -1)


def per_sample(loss: nn.Module) -> Loss:
    """A loss of symloss that gives one number per sample.

    Raises:
        LossError: If it is another module, which cannot be told to.
    """
    if not isinstance(loss, Loss):
        raise LossError(f"base_loss is a loss of symloss, by name, formula or file; received {type(loss).__name__}")
    loss.reduction = "none"
    return loss
