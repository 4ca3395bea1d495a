"""One model at many points of parameter space, measured without a change to it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from symloss.errors import LossError, SymlossError, TaskError
from symloss.population.compiled import runs_on
from symloss.population.networks import DenseNetwork, alike, flat
from symloss.population.plane import DensePlane, plane_cross_entropy, prepared
from symloss.population.state import RandomState, evaluating
from symloss.tasks.reading import carried
from symloss.tasks.splits import Split

Metric = Callable[[Tensor, Tensor], Any]
Tensors = dict[str, Tensor]
"""Parameters, and buffers, of a model by name."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BUDGET = {"cpu": 8 * 2**20, "cuda": 2**30}  # bytes of activations held at once; on a CPU they had better stay in cache
_FIRST_BUDGET = 256 * 2**20


class Points:
    """A copy of a model, in evaluation mode, with data and metrics; the model itself is only read.

    Args:
        model: From inputs **[N, ...]** to outputs **[N, ...]**.
        data: Inputs and targets (x, y), **[N, ...]** each.
        metrics: Names to functions of outputs and targets that return one number.
        chunk: Points computed at once; None: as many as keep the activations small.
        batch_size: Samples computed at once; None: all. The metrics always see all outputs.
        batch_statistics: Batch normalisation uses the statistics of each batch, not those stored in training.

    Attributes:
        parameters: Those that are trained, by name.
        buffers: The floating-point ones, by name.
        centre: The metrics at the parameters, **[M]**.

    Raises:
        TaskError: If the model cannot be copied, has nothing that is trained, or fails.
        LossError: If a metric fails.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        metrics: Mapping[str, Metric],
        *,
        chunk: int | None = None,
        batch_size: int | None = None,
        batch_statistics: bool = False,
    ) -> None:
        self.model = _copied(model, batch_statistics)
        self.parameters: Tensors = {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise TaskError("the model has no parameter that is trained (requires_grad), so there is no landscape")
        self.buffers: Tensors = {n: b.detach() for n, b in self.model.named_buffers() if b.is_floating_point()}
        self.x, self.y = _pair(data, next(iter(self.parameters.values())).device)
        self.metrics = dict(metrics)
        self.batches = torch.split(self.x, batch_size or len(self.x))
        convolves = any(isinstance(m, _CONVOLUTIONS) for m in self.model.modules())
        self.together = self.x.is_cuda or not convolves  # convolutions of many copies are slow on a CPU
        self._metrics_together = True
        with self.running():
            size = self._size()
            outputs = self.outputs({})
            self.centre = torch.stack([self._metric_of_one(name, outputs) for name in self.metrics]).cpu()
            self.output_bytes = max(outputs.nbytes, 1)
        self.fixed = chunk
        self.chunk = chunk or max(1, min(1024, _BUDGET.get(self.x.device.type, _BUDGET["cpu"]) // size))
        if not self.x.is_cuda:
            _pool_by_maxima(self.model)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Evaluation mode without gradients; afterwards the random state and the switches of torch are as they were."""
        self._random, fused = RandomState(self.x), torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # vmap cannot take the fused layers of a transformer
        try:
            with evaluating([self.model]):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            self._random.restore()

    def same_draws(self) -> None:
        """Whatever is drawn at random is the same at every point."""
        self._random.restore()

    def _size(self) -> int:
        """Bytes of all activations of one model on one batch."""
        sizes: list[int] = []

        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            sizes.append(output.nbytes if isinstance(output, Tensor) else 0)

        leaves = [m for m in self.model.modules() if not list(m.children())]
        handles = [m.register_forward_hook(note) for m in leaves if not isinstance(m, torch.jit.ScriptModule)]
        try:
            self.same_draws()
            output = self.call({}, self.batches[0])
        finally:
            for handle in handles:
                handle.remove()
        return max(sum(sizes), output.nbytes, 1)

    def call(self, values: Tensors, x: Tensor) -> Tensor:
        """Outputs [B, ...] of one model with these tensors in place of its own."""
        buffers = {n: b.clone() for n, b in self.model.named_buffers() if n not in values}  # some forwards write there
        try:
            output = functional_call(self.model, buffers | values, (x,))
        except Exception as error:
            raise TaskError(f"the model failed on inputs of shape {list(x.shape)}: {carried(error)}") from error
        if not isinstance(output, Tensor) or output.dim() == 0 or len(output) != len(x):
            received = f"shape {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise TaskError(f"the model must return a tensor with a row for each input; received {received}")
        return output

    def outputs(self, values: Tensors) -> Tensor:
        """Outputs [N, ...] of one model on all samples."""
        self.same_draws()
        return torch.cat([self.call(values, x) for x in self.batches])

    def measure(self, outputs: Tensor) -> Tensor:
        """Metrics [P, M] of outputs [P, N, ...], in float64 on the CPU."""
        return torch.stack([self._metric(name, outputs).double().cpu() for name in self.metrics], 1)

    def _metric(self, name: str, outputs: Tensor) -> Tensor:
        metric = self.metrics[name]
        fits = outputs.dim() == 3 and runs_on(outputs.device, outputs.dtype)
        if fits and _is_cross_entropy(metric) and self.indexed(outputs.shape[2]):
            return plane_cross_entropy(outputs.transpose(1, 2), self.y)
        if self._metrics_together:
            try:
                values: Tensor = vmap(lambda o: metric(o, self.y))(outputs)
                return values.view(len(outputs))
            except Exception:  # some look at values, or bring derivatives that vmap does not know
                self._metrics_together = False
        return torch.stack([self._metric_of_one(name, output) for output in outputs])

    def indexed(self, classes: int) -> bool:
        """Whether the targets are indices of so many classes."""
        if self.y.dim() != 1 or self.y.dtype != torch.int64:
            return False
        return bool(self.y.min() >= 0) and bool(self.y.max() < classes)

    def _metric_of_one(self, name: str, output: Tensor) -> Tensor:
        try:
            value = torch.as_tensor(self.metrics[name](output, self.y))
        except SymlossError:
            raise
        except Exception as error:
            shapes = f"outputs {list(output.shape)} and targets {list(self.y.shape)}"
            raise LossError(f"metric {name!r} failed on {shapes}: {carried(error)}") from error
        if value.numel() != 1:
            raise LossError(f"metric {name!r} must return one number; received shape {list(value.shape)}")
        return value.detach().reshape(()).double()


class Plane:
    """Points w + Σ cₖ dₖ, each computed from the stored w and d.

    Where the first layer is linear in its parameters, it is applied to w and to each d once; its outputs are added.

    Args:
        points: Model, data and metrics; w is theirs.
        directions: K directions, by name; what is not named does not move.
    """

    def __init__(self, points: Points, directions: Sequence[Tensors]) -> None:
        self.points, self.count = points, len(directions)
        own = points.parameters | points.buffers
        names = [n for n in own if any(n in d and bool(d[n].any()) for d in directions)]
        self.origin = {n: own[n] for n in names}
        self.moves = {
            n: torch.stack([d[n].to(own[n]) if n in d else torch.zeros_like(own[n]) for d in directions]) for n in names
        }
        self._first: list[Tensor] = []
        self._rest, self._names = points.model, {n: n for n in names}
        self._dense: list[DensePlane] = []
        self._cross_entropy = False
        self.chunk = points.chunk
        with points.running():
            self._take_first_layer()
        self._checked = not points.together or bool(self._dense)

    def _take_first_layer(self) -> None:
        """The first layer's outputs [1 + K, B, ...] for w and each d on each batch, and the layers after it."""
        points, layers = self.points, flat(self.points.model) or []
        skip = sum(1 for m in layers[:1] if type(m) is nn.Flatten and (m.start_dim, m.end_dim) == (1, -1))
        if len(layers) < skip + 2 or type(layers[skip]) not in (nn.Linear, *_CONVOLUTIONS) or points.buffers:
            return
        first, rest = layers[skip], nn.Sequential(*layers[skip + 1 :])
        names = {id(p): n for n, p in points.model.named_parameters()}
        if any(p is q for p in first.parameters() for q in rest.parameters()):
            return
        parts = {short: self._basis(names[id(p)], p) for short, p in first.named_parameters()}
        states = [{short: part[k] for short, part in parts.items()} for k in range(1 + self.count)]
        inputs = [x.flatten(1) if skip else x for x in points.batches]
        size = functional_call(first, states[0], (inputs[0],)).nbytes * len(inputs)
        if size * len(states) > _FIRST_BUDGET:
            return
        self._first = [torch.stack([functional_call(first, state, (x,)) for state in states]) for x in inputs]
        moved = {s: names[id(p)] for s, p in rest.named_parameters()}
        self._rest, self._names = rest, {s: n for s, n in moved.items() if n in self.moves}
        network = DenseNetwork.recognise(points.model)
        if network is not None and self.count <= 2 and runs_on(points.x.device, points.x.dtype):
            prepared(points.x.dtype)
            later = [self._basis(names[id(p)], p) for p in rest.parameters()]
            self._dense = [DensePlane(network, outputs.transpose(1, 2), later) for outputs in self._first]
            self._first, self.chunk = [], points.fixed or max(1, _BUDGET["cpu"] // points.output_bytes)
            plain = all(map(_is_cross_entropy, points.metrics.values()))
            self._cross_entropy = plain and points.indexed(self._dense[0].classes)

    def _basis(self, name: str, w: Tensor) -> Tensor:
        """A parameter w and its d [1 + K, ...]."""
        moves = self.moves[name] if name in self.moves else w.new_zeros(self.count, *w.shape)
        return torch.cat([w.detach().unsqueeze(0), moves])

    def measure(self, coordinates: Tensor) -> Tensor:
        """Metrics **[P, M]** at points c **[P, K]**; where c = 0 those of the model as it is, bit for bit."""
        found = []
        with self.points.running():
            for part in torch.split(coordinates, self.chunk):
                found.append(self._losses(part) if self._cross_entropy else self.points.measure(self._outputs(part)))
        values = torch.cat(found)
        values[(coordinates == 0).all(1).cpu()] = self.points.centre
        return values

    def _losses(self, c: Tensor) -> Tensor:
        """What `measure` returns where all that is measured is cross-entropy, without keeping outputs."""
        labels = torch.split(self.points.y, [len(x) for x in self.points.batches])
        sums = [plane.cross_entropy(c, y) for plane, y in zip(self._dense, labels, strict=True)]
        mean = torch.stack(sums).sum(0) / len(self.points.y)
        return mean.unsqueeze(1).expand(-1, len(self.points.metrics))

    def _outputs(self, c: Tensor) -> Tensor:
        """Outputs [P, N, ...] at points [P, K]."""
        if not self._checked:
            self._checked = True
            self.points.together = self._fits(c[[0, -1]])
        if self._dense:
            found = [plane.outputs(c) for plane in self._dense]
            return torch.cat(found, 2).transpose(1, 2) if len(found) > 1 else found[0].transpose(1, 2)
        inner = {s: self._at(n, c) for s, n in self._names.items()}
        return self._together(inner, c) if self.points.together else self._one_by_one(inner, c)

    def _together(self, inner: Tensors, c: Tensor) -> Tensor:
        self.points.same_draws()
        run = vmap(self._run, (0, 0 if self._first else None), randomness="same")
        with sdpa_kernel(SDPBackend.MATH):  # vmap would take the fused attention apart, one point at a time
            return torch.cat([run(inner, self._inputs(index, c)) for index in range(len(self.points.batches))], 1)

    def _one_by_one(self, inner: Tensors, c: Tensor) -> Tensor:
        found = []
        for p in range(len(c)):
            self.points.same_draws()
            one = {s: v[p] for s, v in inner.items()}
            inputs = (self._inputs(index, c[p : p + 1]) for index in range(len(self.points.batches)))
            found.append(torch.cat([self._run(one, x[0] if self._first else x) for x in inputs]))
        return torch.stack(found)

    def _inputs(self, index: int, c: Tensor) -> Tensor:
        """What `_run` takes: a batch, or [P, ...] from the first layer."""
        if not self._first:
            return self.points.batches[index]
        basis = self._first[index]
        weights = torch.cat([torch.ones(len(c), 1).to(basis), c.to(basis)], 1)
        return (weights @ basis.flatten(1)).view(len(c), *basis.shape[1:])

    def _run(self, values: Tensors, x: Tensor) -> Tensor:
        if not self._first:
            return self.points.call(values, x)
        output: Tensor = functional_call(self._rest, values, (x,))
        return output

    def _at(self, name: str, c: Tensor) -> Tensor:
        """w + Σ cₖ dₖ for one tensor that moves, [P, ...]."""
        w, d = self.origin[name], self.moves[name]
        return w + (c.to(d) @ d.flatten(1)).view(len(c), *w.shape)

    def _fits(self, c: Tensor) -> bool:
        """Whether vmap can take the model, and then gives what it gives one at a time."""
        inner = {s: self._at(n, c) for s, n in self._names.items()}
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", "There is a performance drop", UserWarning)
                found = self._together(inner, c)
        except Exception:
            return False
        return alike(found, self._one_by_one(inner, c))


def _is_cross_entropy(metric: Metric) -> bool:
    """Whether it is torch's mean cross-entropy, without options."""
    if metric is F.cross_entropy:
        return True
    plain = type(metric) is nn.CrossEntropyLoss and metric.weight is None and metric.label_smoothing == 0
    return plain and metric.reduction == "mean" and metric.ignore_index < 0  # type: ignore[attr-defined]


def _copied(model: nn.Module, batch_statistics: bool) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TaskError(f"the model must be an nn.Module; received {type(model).__name__}")
    try:
        twin = copy.deepcopy(model)
    except Exception as error:
        raise TaskError(f"the model cannot be copied: {carried(error)}") from error
    for part in twin.modules():
        if batch_statistics and isinstance(part, _BatchNorm):
            part.running_mean = part.running_var = part.num_batches_tracked = None
            part.track_running_stats = False
    return twin.eval()


def _pair(data: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """Inputs and targets on the model's device."""
    pair = (data.x, data.y) if isinstance(data, Split) else data
    try:
        x, y = (torch.as_tensor(part, device=device) for part in pair)
    except Exception as error:
        raise TaskError(f"data are a pair (x, y) of tensors; received {type(data).__name__}") from error
    if x.dim() == 0 or y.dim() == 0 or len(x) != len(y) or len(x) == 0:
        shapes = f"{list(x.shape)} and {list(y.shape)}"
        raise TaskError(f"data are inputs and targets of as many samples, at least one; received shapes {shapes}")
    return x, y


class _Maxima(nn.Module):
    """Maximum over 2 × 2 pixels: four to ten times faster than torch's pooling on a CPU, and the same."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., H, W] -> [..., H // 2, W // 2]."""
        h, w = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
        left, right = x[..., :h, 0:w:2], x[..., :h, 1:w:2]
        return torch.maximum(
            torch.maximum(left[..., 0::2, :], right[..., 0::2, :]),
            torch.maximum(left[..., 1::2, :], right[..., 1::2, :]),
        )


def _pool_by_maxima(model: nn.Module) -> None:
    """Put `_Maxima` in the place of the poolings that it equals."""
    for part in list(model.modules()):
        for name, child in part.named_children():
            if type(child) is nn.MaxPool2d and not child._forward_hooks and not child._forward_pre_hooks:
                sizes = {child.kernel_size, child.stride} | {(child.padding, child.dilation)}
                if sizes <= {2, (2, 2), (0, 1)} and not child.ceil_mode and not child.return_indices:
                    setattr(part, name, _Maxima())
