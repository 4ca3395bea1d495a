"""The meta-parameters Φ = {θ, ω, φ, ψ} as one module, and how tasks adapt to their support sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from symloss.errors import TaskError
from symloss.fewshot.encoders import Architecture, Encoder
from symloss.fewshot.layers import Statistics, linear
from symloss.fewshot.loss import BaseLoss, MetaLoss, Outputs, distances, per_sample, prototypes
from symloss.fewshot.settings import Settings
from symloss.losses.symbolic import SymbolicLoss
from symloss.tasks.models import seeded

Theta = dict[str, Tensor]
GROUPS = ("theta", "omega", "phi", "psi", "rates")
HEAD_WEIGHT, HEAD_BIAS = "head_weight", "head_bias"


@dataclass(frozen=True)
class Batch:
    """Inputs of T tasks as the first adapted block takes them, with their targets.

    Args:
        support: Activations of the support samples, in the layout of the encoder's blocks.
        target: One-hot labels, or real targets **[T, S, C]**.
        queries: Activations of the queries; None without them.
        trunk: Statistics of the blocks before, with which queries are normalised.
    """

    support: Tensor
    target: Tensor
    queries: Tensor | None
    trunk: list[list[Statistics]]


class Model(nn.Module):
    """Everything that is learned in the outer loop.

    Args:
        architecture: The encoder.
        settings: What is learned, and how tasks adapt.
        shape: Shape of one sample's inputs.

    Raises:
        TaskError: If they do not fit together.
    """

    def __init__(self, architecture: Architecture, settings: Settings, shape: Sequence[int]) -> None:
        super().__init__()
        self.settings, self.shape = settings, tuple(shape)
        with seeded(settings.seed):
            self.encoder: Encoder = architecture.build(
                self.shape, settings.warp_kernel if settings.optimiser else 0, settings.film
            )
            head = nn.Linear(self.encoder.features, 1)
        if settings.adapted_blocks is not None and settings.adapted_blocks > self.encoder.blocks:
            raise TaskError(
                f"adapted_blocks is at most {self.encoder.blocks} for {architecture}; "
                f"received {settings.adapted_blocks}"
            )
        self.start = self.encoder.blocks - (
            self.encoder.blocks if settings.adapted_blocks is None else settings.adapted_blocks
        )
        self.head = nn.ParameterDict({} if settings.prototypes else _head(head, settings))
        names = self.encoder.names(self.start)
        loss = SymbolicLoss(settings.base_loss, settings.kind) if settings.base_loss is not None else None
        with seeded(settings.seed + 1):
            self.loss = MetaLoss(
                BaseLoss(settings.kind, None if loss is None else per_sample(loss)), settings.ways,
                len(names) + 2, learned=settings.loss, transductive=settings.transductive,
                film=settings.film, fixed_width=settings.fixed_width,
            )  # fmt: skip
        self.rates = nn.ParameterDict()
        if settings.learn_rates:
            shapes = {name: p.shape for name, p in (*((n, self.encoder.theta[n]) for n in names), *self.head.items())}
            for name, own in ({HEAD_BIAS: torch.Size()} | shapes).items():
                self.rates[name] = nn.Parameter(torch.full(own, settings.lr))

    def groups(self) -> dict[str, dict[str, nn.Parameter]]:
        """Meta-parameters by group: θ, ω, φ, ψ and learned rates, each by name; empty groups are left out."""
        found: dict[str, dict[str, nn.Parameter]] = {group: {} for group in GROUPS}
        for name, parameter in self.named_parameters():
            parts = name.split(".")
            first = {"encoder": parts[1], "head": "theta", "rates": "rates"}.get(parts[0], "phi")
            found["psi" if "psi" in parts else first][name] = parameter
        return {group: own for group, own in found.items() if own}

    def initial(self, tasks: int) -> Theta:
        """θ of each task before the first step: the adapted tensors, expanded **[T, ...]**, and the head.

        The head of classes is one vector, expanded to N of them inside the graph, with biases that start at 0: no class
        differs from another. Under cross-entropy the vector has no effect, for it adds the same to all logits of a
        sample; the learned loss, which sees the logits, gives it a gradient.
        """
        ways, theta = self.settings.ways, {}
        for name in self.encoder.names(self.start):
            own = self.encoder.theta[name]
            theta[name] = own.expand(tasks, *own.shape)
        if self.settings.kind == "regression":
            theta |= {name: own.expand(tasks, *own.shape) for name, own in self.head.items()}
        elif not self.settings.prototypes:
            vector = self.head[HEAD_WEIGHT]
            theta[HEAD_WEIGHT] = vector.expand(tasks, ways, len(vector))
            theta[HEAD_BIAS] = vector.new_zeros(tasks, ways, requires_grad=True)
        return theta

    def batch(self, x: Tensor, y: Tensor, queries: Tensor | None) -> Batch:
        """Inputs as the first adapted block takes them: what is not adapted is computed here, once per task.

        Args:
            x: Support inputs **[T, S, ...]**.
            y: Labels **[T, S]**, or real targets **[T, S, C]**.
            queries: Query inputs **[T, Q, ...]**.
        """
        target = F.one_hot(y, self.settings.ways).to(x) if self.settings.kind == "multiclass" else y.to(x)
        support, trunk = self.encoder.run(self.encoder.enter(x), self.encoder.shared, 0, self.start)
        own = Batch(support, target, None, trunk)
        return own if queries is None else replace(own, queries=self.trunk(queries, own))

    def trunk(self, queries: Tensor, batch: Batch) -> Tensor:
        """Activations of queries **[T, Q, ...]** ahead of the first adapted block."""
        return self.encoder.run(self.encoder.enter(queries), self.encoder.shared, 0, self.start, batch.trunk)[0]

    def outputs(
        self, h: Tensor, theta: Theta, known: Sequence[Sequence[Statistics]] | None = None
    ) -> tuple[Outputs, list[list[Statistics]]]:
        """Outputs under θ, and the statistics that they were normalised with (`known`, or else those of `h`)."""
        h, found = self.encoder.run(h, theta, self.start, self.encoder.blocks, known)
        features = self.encoder.leave(h)
        if self.settings.prototypes:
            return Outputs(features, features), found
        weight, bias = theta[HEAD_WEIGHT], theta[HEAD_BIAS]
        return Outputs(linear(features, weight, bias), features), found

    def adapt(
        self, batch: Batch, steps: int, meta: bool = False, watch: Callable[[int, Theta], None] | None = None
    ) -> Theta:
        """θ of each task after inner steps, θ ← θ − α ∇_θ M.

        Args:
            batch: The tasks.
            steps: How many steps.
            meta: Whether θ keeps its graph, so that it can be differentiated in the meta-parameters.
            watch: Called with the number of steps done and θ, before the first step and after each.
        """
        own, theta = self.settings, self.initial(batch.target.shape[0])
        second = meta and not own.first_order
        keep = second or (meta and own.learned)
        if not second:
            batch = replace(
                batch, support=batch.support.detach(),
                queries=None if batch.queries is None else batch.queries.detach(),
            )  # fmt: skip
        if watch is not None:
            watch(0, theta)
        for step in range(steps):
            live = theta if second else {name: t.detach().requires_grad_() for name, t in theta.items()}
            if not meta:
                theta = live
            with torch.enable_grad():
                value = self._inner_loss(batch, live)
                gradients = torch.autograd.grad(value.sum(), list(live.values()), create_graph=keep)
            theta = {
                name: t - (self.rates[name] if own.learn_rates else own.lr) * g
                for (name, t), g in zip(theta.items(), gradients, strict=True)
            }
            theta = theta if meta else {name: t.detach() for name, t in theta.items()}
            if watch is not None:
                watch(step + 1, theta)
        return theta

    def _inner_loss(self, batch: Batch, theta: Theta) -> Tensor:
        """M of each task [T]."""
        support, found = self.outputs(batch.support, theta)
        queries = None
        if self.settings.transductive and batch.queries is not None:
            queries, _ = self.outputs(batch.queries, theta, found)
        value: Tensor = self.loss(support, batch.target, list(theta.values()), queries)
        return value

    def predict(self, batch: Batch, theta: Theta, queries: Tensor) -> Tensor:
        """Logits, or predictions **[T, Q, C]** for queries as `trunk` gives them."""
        support, found = self.outputs(batch.support, theta)
        own, _ = self.outputs(queries, theta, found)
        if self.settings.prototypes:
            centres = prototypes(support.features, batch.target)
            return -distances(own.features, centres) * own.features.shape[-1]
        return own.values

    def task_losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """L_task of each task **[T]**: the mean cross-entropy, or squared error, over queries."""
        if self.settings.kind == "regression":
            return (outputs - y.to(outputs)).square().flatten(1).mean(1)
        return F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none").view(y.shape).mean(1)

    def metric(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Accuracy of each task, or its mean squared error **[T]**."""
        if self.settings.kind == "regression":
            return self.task_losses(outputs, y)
        return (outputs.argmax(-1) == y).to(outputs.dtype).mean(1)

    def meta_loss(self, x: Tensor, y: Tensor, queries: Tensor, query_y: Tensor) -> tuple[Tensor, Tensor]:
        """L_task after adaptation, with its graph, and the metric: **[T]** each; arguments as in `batch`."""
        batch = self.batch(x, y, queries)
        theta = self.adapt(batch, self.settings.inner_steps, meta=True)
        assert batch.queries is not None
        outputs = self.predict(batch, theta, batch.queries)
        return self.task_losses(outputs, query_y), self.metric(outputs.detach(), query_y)


def _head(layer: nn.Linear, settings: Settings) -> dict[str, nn.Parameter]:
    """Initial weights of the head: a vector [D] that all classes share, or [C, D] and [C] for regression."""
    weight, bias = layer.weight.detach()[0], layer.bias.detach()[0]
    if settings.kind == "multiclass":
        return {HEAD_WEIGHT: nn.Parameter(weight.clone())}
    ways = settings.ways
    return {
        HEAD_WEIGHT: nn.Parameter(weight.expand(ways, -1).clone()), HEAD_BIAS: nn.Parameter(bias.expand(ways).clone())
    }  # fmt: skip
