"""Pre-training: the encoder learns to tell all training classes apart before it learns to adapt."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from symloss.fewshot.episodes import Episodes, whole
from symloss.fewshot.model import Model
from symloss.fewshot.settings import number
from symloss.tasks.models import seeded


def pretrain(
    model: Model, episodes: Episodes, iterations: int, batch_size: int, lr: float, say: Callable[[str], object]
) -> None:
    """Minimise the cross-entropy of a linear classifier of all classes on the encoder's features, with Adam.

    The encoder's initial tensors θ are trained; warp and FiLM layers and everything else stay as they are.

    Args:
        model: The meta-parameters.
        episodes: Samples and their augmentation.
        iterations: Steps.
        batch_size: Samples in a batch.
        lr: Learning rate, falling to 0 in a cosine curve.
        say: Called with a line now and then.

    Raises:
        TaskError: If a number cannot be used.
    """
    whole("iterations", iterations), whole("batch_size", batch_size, 2), number("lr", lr)
    encoder, (samples, classes) = model.encoder, episodes.samples
    some = next(encoder.parameters())
    with seeded(model.settings.seed + 2):
        classifier = nn.Linear(encoder.features, classes).to(some)
    adam = torch.optim.Adam([*encoder.theta.parameters(), *classifier.parameters()], lr)
    for iteration in range(iterations):
        adam.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * iteration / iterations)) / 2
        x, y = samples(iteration, batch_size)
        h = encoder.enter(x.to(some).unsqueeze(0))
        features = encoder.leave(encoder.run(h, encoder.shared, 0, encoder.blocks)[0])[0]
        loss = F.cross_entropy(classifier(features), y.to(some.device))
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        if (iteration + 1) % 100 == 0 or iteration + 1 == iterations:
            say(f"pre-training {iteration + 1}/{iterations}: loss of {classes} classes {float(loss.detach()):.4g}")
    for parameter in model.parameters():
        parameter.grad = None
