"""Time and memory of the losses, forward and backward, against torch's own in the same run.

    python -m benchmarks.losses            # everything, about three minutes on one idle core
    python -m benchmarks.losses table      # one part: table, linear

Float32, one thread. Every loss is called as `loss(logits, target)` on logits that a model computed, and its gradient at
the logits is formed. The losses take turns, so that all meet the same machine. Memory is what the allocator of torch
hands out at most beyond what there was, divided by the size of the logits. Writes `benchmarks/results/losses_*`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.record import save
from symloss.losses import AbsoluteCrossEntropy, LabelSmoothing, SparseLabelSmoothing, SymbolicLoss, linear_loss

SIZES = [(b, c) for c in (10, 100, 1000, 10_000, 100_000) for b in (128, 1024) if (b, c) != (1024, 100_000)]
DISCOVERED = "abs(log(1.2*y*f)) + 0.3*tanh(y*f)"
SECONDS = 0.8
"""About how long every loss is timed for at each size."""

Loss = Callable[[Tensor, Tensor], Tensor]
Calls = Mapping[str, Callable[[], float]]


def one_hot_smoothing(logits: Tensor, target: Tensor) -> Tensor:
    """Label smoothing as it is often written: a dense target, minus its product with the log-softmax."""
    smooth = F.one_hot(target, logits.shape[1]).to(logits.dtype) * 0.9 + 0.1 / logits.shape[1]
    return -(smooth * F.log_softmax(logits, 1)).sum(1).mean()


def torch_smoothing(logits: Tensor, target: Tensor) -> Tensor:
    """Label smoothing of torch."""
    return F.cross_entropy(logits, target, label_smoothing=0.1)


def losses() -> dict[str, Any]:
    """What is compared; the second is what the others are divided by."""
    return {
        "cross_entropy": F.cross_entropy,
        "torch LSR": torch_smoothing,
        "one-hot LSR": one_hot_smoothing,
        "LSR": LabelSmoothing(0.1),
        "SparseLSR": SparseLabelSmoothing(0.1),
        "ACE": AbsoluteCrossEntropy(1.0, 1.1),
        "expression": SymbolicLoss(DISCOVERED),
        "LSR in place": LabelSmoothing(0.1, inplace=True),
        "SparseLSR in place": SparseLabelSmoothing(0.1, inplace=True),
    }


def peak(function: Callable[[], Any]) -> int:
    """Most bytes that torch's allocator had handed out at once during a call, beyond those before it."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        kept = function()
    result = profile.profiler.kineto_results
    events = sorted((e for e in result.events() if e.name() == "[memory]"), key=lambda e: e.start_ns())
    del kept
    now = most = 0
    for event in events:
        now += event.nbytes()
        most = max(most, now)
    return most


def in_turns(calls: Calls) -> dict[str, float]:
    """Median seconds of what each call measures; all of them take turns, five calls each."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    until = time.perf_counter() + SECONDS * len(calls)
    while time.perf_counter() < until or len(next(iter(times.values()))) < 7:
        for name, call in calls.items():
            times[name] += [call() for _ in range(5)]
    return {name: statistics.median(values) for name, values in times.items()}


def seconds_of(loss: Loss, source: Tensor, target: Tensor) -> float:
    """Seconds for the loss and its gradient at the logits."""
    logits = source + 0.0  # as from a model: not a leaf
    start = time.perf_counter()
    torch.autograd.grad(loss(logits, target), logits)
    return time.perf_counter() - start


def memory_of(loss: Loss, source: Tensor, target: Tensor) -> float:
    """Peak memory of the loss and its gradient beyond the logits, divided by theirs."""
    logits = [source + 0.0]
    size = logits[0].nbytes
    return peak(lambda: torch.autograd.grad(loss(logits[0], target), logits.pop())) / size


def table() -> None:
    """Every loss at every size."""
    rows, memory = [], []
    for batch, classes in SIZES:
        generator = torch.Generator().manual_seed(0)
        source = torch.randn(batch, classes, generator=generator, requires_grad=True)
        target = torch.randint(classes, (batch,), generator=generator)
        seconds = in_turns({name: partial(seconds_of, loss, source, target) for name, loss in losses().items()})
        reference = seconds["torch LSR"]
        row: dict[str, Any] = {"B": batch, "C": classes, "torch LSR, µs": 1e6 * reference}
        row |= {name: value / reference for name, value in seconds.items() if name != "torch LSR"}
        row |= {f"{name} / SparseLSR": seconds[name] / seconds["SparseLSR"] for name in ("ACE", "expression")}
        rows.append(row)
        extra = {name: memory_of(loss, source, target) for name, loss in losses().items()}
        memory.append({"B": batch, "C": classes} | extra)
    save("losses_time", rows, "Forward and backward, float32, one thread: time ÷ F.cross_entropy(label_smoothing=.1)")
    what = "Peak of torch's allocator beyond the logits ÷ logits, the gradient included"
    save("losses_memory", memory, f"{what}; five numbers per sample are NumPy's")


def linear() -> None:
    """The last linear layer with its loss: B = 512, D = 128, C = 100 000."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(512, 128, generator=generator, requires_grad=True)
    weight = (torch.randn(100_000, 128, generator=generator) / 128**0.5).requires_grad_()
    target = torch.randint(100_000, (512,), generator=generator)

    def held(loss: Loss) -> Any:
        return torch.autograd.grad(loss(F.linear(hidden, weight), target), (hidden, weight))

    def in_blocks(loss: nn.Module) -> Any:
        return torch.autograd.grad(linear_loss(hidden, weight, target, loss), (hidden, weight))

    def seconds(call: Callable[[], Any]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    calls: dict[str, Callable[[], Any]] = {"torch LSR": partial(held, torch_smoothing)}
    for name in ("LSR", "SparseLSR", "ACE", "expression"):
        calls |= {name: partial(held, losses()[name]), f"{name}, linear_loss": partial(in_blocks, losses()[name])}
    times = in_turns({name: partial(seconds, call) for name, call in calls.items()})
    memory = {name: peak(call) for name, call in calls.items()}
    rows = []
    for name in calls:
        own = name.split(",")[0]
        rows.append(
            {
                "loss": name, "s": times[name], "time ÷ logits held": times[name] / times[own],
                "peak MB": memory[name] / 1e6, "memory ÷ logits held": memory[name] / memory[own],
                "memory ÷ torch LSR": memory[name] / memory["torch LSR"],
            }
        )  # fmt: skip
    save("losses_linear", rows, "Linear layer and loss, B = 512, D = 128, C = 100 000, float32, one thread")


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description="Time and memory of the losses against torch's own.")
    parser.add_argument("parts", nargs="*", choices=["table", "linear", []], default=[])
    chosen = parser.parse_args().parts or ["table", "linear"]
    torch.set_num_threads(1)
    for part in chosen:
        {"table": table, "linear": linear}[part]()


if __name__ == "__main__":
    main()
