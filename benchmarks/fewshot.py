"""Time and memory of a meta-iteration of MAML and of NPBML, against plain loops over tasks in the same run.

    python -m benchmarks.fewshot           # everything, under three minutes on one idle core
    python -m benchmarks.fewshot --quick   # once each, to see that it runs

4-CONV-32, 28 × 28 pixels, 5-way 1-shot, 15 queries per class, 4 tasks, 5 inner steps, second order, float32, one
thread: the meta-gradient of every meta-parameter. The plain loop takes one task after the other with torch's own layers
and double backward. It computes the same numbers (`tests/fewshot/test_model.py`), in two forms: queries normalised with
the statistics of the support set, as ours are by default, or with their own (`norm="batch"`), as in MAML's published
code. learn2learn's MAML takes part where it is installed. The ways take turns, so that all meet the same machine.
Memory is what torch's allocator hands out at most during an iteration beyond what there was before it. Writes
`benchmarks/results/fewshot*`.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.losses import peak
from benchmarks.record import save
from symloss.fewshot import NPBML, VARIANTS, Tasks
from symloss.fewshot.model import Model

WIDTH, SIZE, WAYS, SHOTS, QUERIES, TASKS, STEPS, RATE = 32, 28, 5, 1, 15, 4, 5, 0.01
REPEATS = 15
State = Mapping[str, Tensor]


def tasks(seed: int = 0) -> Tasks:
    """A meta-batch of random images."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(WAYS).expand(TASKS, WAYS)
    parts = []
    for each in (SHOTS, QUERIES):
        x = torch.randn(TASKS, WAYS * each, 1, SIZE, SIZE, generator=generator)
        parts += [x, y.repeat_interleave(each, 1)]
    return Tasks(*parts)


def features(x: Tensor, state: State, norm: str, support: Tensor | None) -> Tensor:
    """Features [B, D] of 4-CONV for one task, with torch's layers; a `support` set [S, ...] gives the statistics."""
    for block in range(4):
        weight, scale, shift = (state[f"{block}_{part}"] for part in ("weight", "scale", "shift"))
        x = F.conv2d(x, weight, padding=1)
        if support is None or norm == "batch":
            x = F.batch_norm(x, None, None, scale, shift, training=True)
        else:
            support = F.conv2d(support, weight, padding=1)
            variance, mean = torch.var_mean(support, dim=(0, 2, 3), correction=0, keepdim=True)
            x = (x - mean) / (variance + 1e-5).sqrt() * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
            support = F.batch_norm(support, None, None, scale, shift, training=True)
            support = F.max_pool2d(F.relu(support), 2)
        x = F.max_pool2d(F.relu(x), 2)
    return x.flatten(1)


def plain_task_loss(
    theta: State, x: Tensor, y: Tensor, queries: Tensor, query_y: Tensor, *, ways: int, steps: int, rate: float,
    norm: str = "support",
) -> Tensor:  # fmt: skip
    """L_task of one task after inner steps under cross-entropy, written as anybody would.

    Args:
        theta: Weights, scales and shifts of each block, and the vector `head` [D] of all classes.
        x: Support inputs [S, C, H, W].
        y: Their labels [S].
        queries: [Q, C, H, W].
        query_y: [Q].
        ways: Number of classes.
        steps: Inner steps.
        rate: α.
        norm: Whose statistics normalise queries: `"support"` or `"batch"`.
    """
    state = {name: tensor for name, tensor in theta.items() if name != "head"}
    state["head"] = theta["head"].expand(ways, -1)
    state["bias"] = torch.zeros(ways, dtype=x.dtype, requires_grad=True)
    for _ in range(steps):
        logits = F.linear(features(x, state, norm, None), state["head"], state["bias"])
        gradients = torch.autograd.grad(F.cross_entropy(logits, y), list(state.values()), create_graph=True)
        state = {name: t - rate * g for (name, t), g in zip(state.items(), gradients, strict=True)}
    logits = F.linear(features(queries, state, norm, x), state["head"], state["bias"])
    return F.cross_entropy(logits, query_y)


def plain_theta(model: Model) -> dict[str, Tensor]:
    """The initialisation of a model as `plain_task_loss` takes it."""
    return {**dict(model.encoder.theta.items()), "head": model.head["head_weight"]}


def learner(variant: str, **options: Any) -> tuple[NPBML, Model]:
    """A learner and its meta-parameters at the start."""
    own = NPBML("conv4", WAYS, SHOTS, width=WIDTH, lr=RATE, inner_steps=STEPS, **(VARIANTS[variant] | options))
    return own, own.build((1, SIZE, SIZE))


def ours(variant: str, **options: Any) -> Callable[[], object]:
    """A meta-iteration of ours."""
    _, model = learner(variant, **options)
    drawn, parameters = tasks(), list(model.parameters())

    def step() -> object:
        losses, _ = model.meta_loss(drawn.support_x, drawn.support_y, drawn.query_x, drawn.query_y)
        return torch.autograd.grad(losses.mean(), parameters, allow_unused=True)

    return step


def plain(norm: str) -> Callable[[], object]:
    """A meta-iteration of MAML as a plain loop over tasks."""
    theta, drawn = plain_theta(learner("maml")[1]), tasks()

    def step() -> object:
        total = torch.zeros(())
        for t in range(TASKS):
            sets = (drawn.support_x[t], drawn.support_y[t], drawn.query_x[t], drawn.query_y[t])
            total = total + plain_task_loss(theta, *sets, ways=WAYS, steps=STEPS, rate=RATE, norm=norm) / TASKS
        return torch.autograd.grad(total, list(theta.values()), allow_unused=True)

    return step


class Plain4Conv(nn.Module):
    """4-CONV with torch's layers, for learn2learn."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for block in range(4):
            blocks += [nn.Conv2d(WIDTH if block else 1, WIDTH, 3, padding=1, bias=False)]
            blocks += [nn.BatchNorm2d(WIDTH, track_running_stats=False), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(WIDTH, WAYS))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, N]."""
        logits: Tensor = self.layers(x)
        return logits


def learn2learn() -> Callable[[], object]:
    """A meta-iteration of learn2learn's MAML; it normalises queries with their own statistics."""
    from learn2learn.algorithms import MAML  # type: ignore[import-not-found]

    model, drawn = MAML(Plain4Conv(), lr=RATE, first_order=False), tasks()

    def step() -> object:
        total = torch.zeros(())
        for t in range(TASKS):
            clone = model.clone()
            for _ in range(STEPS):
                clone.adapt(F.cross_entropy(clone(drawn.support_x[t]), drawn.support_y[t]))
            total = total + F.cross_entropy(clone(drawn.query_x[t]), drawn.query_y[t]) / TASKS
        return torch.autograd.grad(total, list(model.parameters()))

    return step


def ways() -> dict[str, Callable[[], object]]:
    """Meta-iterations by name."""
    found = {
        "MAML, plain loop": plain("support"), "MAML, ours": ours("maml"),
        "NPBML inductive, ours": ours("npbml"), "NPBML transductive, ours": ours("npbml-transductive"),
        "MAML, norm of the batch, plain loop": plain("batch"),
        "MAML, norm of the batch, ours": ours("maml", norm="batch"),
    }  # fmt: skip
    if importlib.util.find_spec("learn2learn") is not None:
        found["MAML, norm of the batch, learn2learn"] = learn2learn()
    return found


def measure(repeats: int) -> list[dict[str, Any]]:
    """Median seconds and peak bytes of each way."""
    steps = ways()
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    mine = {name: seconds["MAML, norm of the batch, ours" if "batch" in name else "MAML, ours"] for name in steps}
    return [
        {
            "way": name, "ms": 1e3 * seconds[name], "÷ our MAML": seconds[name] / mine[name],
            "peak MB": peak(step) / 1e6,
        }
        for name, step in steps.items()
    ]  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="once each, nothing is written")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    rows = measure(1 if quick else REPEATS)
    if quick:
        for row in rows:
            print(row)
        return
    what = f"A meta-iteration: conv4-{WIDTH}, {SIZE}×{SIZE}, {WAYS}-way {SHOTS}-shot, {TASKS} tasks, {STEPS} steps"
    save("fewshot", rows, f"{what}, second order; float32, one thread")


if __name__ == "__main__":
    main()
