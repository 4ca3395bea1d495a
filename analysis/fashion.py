"""What the studies of smoothing share: Fashion-MNIST from its files, a perceptron, and the losses by name."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import symloss as sl
from symloss.tasks import mlp, seeded
from symloss.tasks.registry import find

DATA = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package dataset-fashion-mnist keeps the four files."""
CLASSES, WIDTHS = 10, (128, 64)
EPOCHS, BATCH, RATE, MOMENTUM, DECAY = 6, 128, 0.1, 0.9, 1e-4
RATES, TUNING_SEEDS, HELD_OUT = (0.03, 0.1, 0.3), (1000, 1001), 10_000


def smoothed(smoothing: float, reduction: str = "mean") -> nn.Module:
    """LSR_ξ, torch's own; cross-entropy for ξ = 0."""
    return nn.CrossEntropyLoss(label_smoothing=smoothing, reduction=reduction)


def sparse(smoothing: float, reduction: str = "mean") -> nn.Module:
    """SparseLSR_ξ."""
    return sl.SparseLabelSmoothing(smoothing, reduction=reduction)


def load(folder: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images **[60000, 784]** and labels, test images **[10000, 784]** and labels; standardised."""
    samples = find("fashion-mnist").load(None if folder == DATA else str(folder))
    x, y, test = samples.x.flatten(1).float() / 255, samples.y, torch.from_numpy(samples.test)
    mean, deviation = x[~test].mean(), x[~test].std()
    return (x[~test] - mean) / deviation, y[~test], (x[test] - mean) / deviation, y[test]


def tuned_rate(loss: nn.Module, x: Tensor, y: Tensor) -> tuple[float, list[float]]:
    """The learning rate of the least error on held-out training images, and the error in percent of each of `RATES`."""
    kept, held = slice(0, len(x) - HELD_OUT), slice(len(x) - HELD_OUT, len(x))
    errors = []
    for rate in RATES:
        models = [train(loss, x[kept], y[kept], seed, rate) for seed in TUNING_SEEDS]
        with torch.no_grad():
            wrong = [float((model(x[held]).argmax(1) != y[held]).double().mean()) for model in models]
        errors.append(100 * sum(wrong) / len(wrong))
    return RATES[errors.index(min(errors))], errors


def train(loss: nn.Module, x: Tensor, y: Tensor, seed: int, rate: float = RATE) -> nn.Sequential:
    """A perceptron 784-128-64-10 trained by SGD with Nesterov momentum and a cosine schedule, seeded."""
    with seeded(seed):
        model = mlp((784,), CLASSES, WIDTHS)
    generator = torch.Generator().manual_seed(seed)
    steps = EPOCHS * (len(x) // BATCH)
    optimiser = torch.optim.SGD(model.parameters(), rate, MOMENTUM, weight_decay=DECAY, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(x), generator=generator)
        for batch in order[: len(x) // BATCH * BATCH].split(BATCH):
            optimiser.zero_grad()
            loss(model(x[batch]), y[batch]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def settings(seeds: int, tuned: bool = False) -> dict[str, object]:
    """What a figure of these studies must say."""
    rate = f"best of {', '.join(map(str, RATES))} on held-out training images" if tuned else f"{RATE}"
    return {
        "data": "Fashion-MNIST, 60 000 training and 10 000 test images", "model": "MLP 784-128-64-10",
        "optimiser": f"SGD, Nesterov momentum {MOMENTUM}, rate {rate} (cosine to 0), weight decay {DECAY}",
        "batch": BATCH, "epochs": EPOCHS, "seeds": seeds,
    }  # fmt: skip


def arguments(description: str | None) -> argparse.Namespace:
    """The command line of a study."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--draw", action="store_true", help="only draw again what is recorded")
    return parser.parse_args()


def equalising(logits: Tensor, y: Tensor) -> Tensor:
    """KL(uniform ‖ softmax of the wrong classes) **[N]**: 0 where the wrong classes are level."""
    target = F.one_hot(y, logits.shape[1]).bool()
    others = logits[~target].view(len(logits), -1).log_softmax(1)
    return -others.mean(1) - float(np.log(others.shape[1]))
