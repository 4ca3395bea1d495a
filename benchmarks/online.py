"""Time and memory of a step under an adaptive loss, against a plain step of torch in the same run.

    python -m benchmarks.online            # everything, under three minutes on one idle core

Float32, one thread, SGD with Nesterov's momentum, the loss network of AdaLFL. The plain step trains under
cross-entropy. "Double backward" unrolls the step and differentiates through the network, at φ alone. The three take
turns, so that all meet the same machine. Memory is what torch's allocator hands out at most during a step beyond what
there was before it. Writes `benchmarks/results/online*`.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.losses import peak
from benchmarks.record import save
from symloss.losses.network import LossNetwork
from symloss.online import AdaptiveLoss, loss_network
from symloss.tasks.models import MODELS, seeded

SIZES: dict[str, tuple[str, tuple[int, ...], int, int]] = {
    "digits MLP": ("mlp", (1, 8, 8), 128, 100),
    "LeNet-5, 28×28": ("lenet5", (1, 28, 28), 128, 15),
    "ResNet-18, 32×32": ("resnet18", (3, 32, 32), 16, 3),
}
"""Name of the model, shape of a sample, batch, and how often each step is timed."""
RATE, META_RATE, CLASSES, LONG = 1e-3, 1e-4, 10, 1000


class Setting:
    """A model of its own for one way of training, and the batches that all share.

    Args:
        size: A name of `SIZES`.
    """

    def __init__(self, size: str) -> None:
        name, shape, batch, _ = SIZES[size]
        with seeded(0):
            self.model = MODELS[name](shape, CLASSES).train()
        self.sgd = torch.optim.SGD(self.model.parameters(), RATE, momentum=0.9, nesterov=True)
        self.loss: LossNetwork = loss_network("multiclass", CLASSES)
        self.adam = torch.optim.Adam(self.loss.parameters(), META_RATE)
        generator = torch.Generator().manual_seed(1)
        draws = [
            (torch.randn(batch, *shape, generator=generator), torch.randint(CLASSES, (batch,), generator=generator))
            for _ in range(2)
        ]
        self.train, self.valid = draws


def plain(setting: Setting) -> Callable[[], object]:
    """A step under cross-entropy."""

    def step() -> None:
        setting.sgd.zero_grad()
        F.cross_entropy(setting.model(setting.train[0]), setting.train[1]).backward()  # type: ignore[no-untyped-call]
        setting.sgd.step()

    return step


def adaptive(setting: Setting) -> Callable[[], object]:
    """A step of `AdaptiveLoss`."""
    own = AdaptiveLoss(setting.loss, setting.model, setting.sgd, meta_optimiser=setting.adam)
    return lambda: own.step(*setting.train, *setting.valid)


def double_backward(setting: Setting) -> Callable[[], object]:
    """The step of Nesterov's SGD unrolled, and plain double backward through it."""
    named = dict(setting.model.named_parameters())
    velocity = [torch.zeros_like(p) for p in named.values()]

    def call(parameters: Iterable[Tensor], x: Tensor) -> Tensor:
        state = {name: b.clone() for name, b in setting.model.named_buffers()}
        state |= dict(zip(named, parameters, strict=True))
        outputs: Tensor = torch.func.functional_call(setting.model, state, (x,))
        return outputs

    def step() -> None:
        x, y = setting.train
        live = [p.detach().requires_grad_() for p in named.values()]
        gradients = torch.autograd.grad(setting.loss(call(live, x), y), live, create_graph=True)
        faster = [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
        moved = [p - RATE * (g + 0.9 * v) for p, g, v in zip(live, gradients, faster, strict=True)]
        value = F.cross_entropy(call(moved, setting.valid[0]), setting.valid[1])
        setting.adam.zero_grad()
        for phi, slope in zip(setting.loss.parameters(), torch.autograd.grad(value, setting.loss.weights), strict=True):
            phi.grad = slope
        setting.adam.step()
        with torch.no_grad():
            for p, new, held, v in zip(named.values(), moved, velocity, faster, strict=True):
                p.copy_(new)
                held.copy_(v)

    return step


WAYS: dict[str, Callable[[Setting], Callable[[], object]]] = {
    "plain": plain,
    "adaptive": adaptive,
    "double backward": double_backward,
}


def compare(size: str) -> dict[str, Any]:
    """Median seconds and peak bytes of each way at one size, as ratios."""
    steps = {name: way(Setting(size)) for name, way in WAYS.items()}
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(SIZES[size][3]):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    memory = {name: peak(step) for name, step in steps.items()}
    return {
        "model": size, "batch": SIZES[size][2], "plain, ms": 1e3 * seconds["plain"],
        "adaptive ÷ plain": seconds["adaptive"] / seconds["plain"],
        "double backward ÷ adaptive": seconds["double backward"] / seconds["adaptive"],
        "plain, peak MB": memory["plain"] / 1e6, "adaptive ÷ plain, memory": memory["adaptive"] / memory["plain"],
        "double backward ÷ plain, memory": memory["double backward"] / memory["plain"],
    }  # fmt: skip


def held() -> int:
    """Bytes of all tensors that are alive."""
    gc.collect()
    return sum(t.nbytes for t in gc.get_objects() if issubclass(type(t), Tensor))


def long_run() -> dict[str, Any]:
    """Memory after 10 and after 1000 steps of the MLP."""
    setting = Setting("digits MLP")
    step = adaptive(setting)
    row: dict[str, Any] = {}
    for number in range(1, LONG + 1):
        step()
        if number in (10, LONG):
            row |= {f"held after {number}, kB": held() / 1e3, f"peak of step {number + 1}, kB": peak(step) / 1e3}
    return {"model": "digits MLP", **row}


def main() -> None:
    """Measure everything."""
    torch.set_num_threads(1)
    what = "A step under an adaptive loss ÷ a plain step; and plain double backward ÷ it; float32, one thread"
    save("online", [compare(size) for size in SIZES], what)
    save("online_memory", [long_run()], f"Memory of {LONG} steps under an adaptive loss: held, and peak beyond it")


if __name__ == "__main__":
    main()
