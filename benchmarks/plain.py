"""EvoMAL without an engine, one candidate at a time in plain PyTorch: the peer of `benchmarks.search`.

It follows the procedure of the published implementation (Raymond et al., arXiv 2209.08907): for every new tree, the
weights are refined by unrolled differentiation, then the rejection protocol decides, then a short training run gives
the fitness. Batches come from a `DataLoader` whose iterator is made anew for every step, and the meta-gradient is a
double backward pass through the base network. What the published code gets wrong is right here (a NaN is the worst
fitness, the cache also holds rejected trees, the error rate is a tensor operation), so that its results can be compared
as well as its times. Nothing of symloss's engine is used, only what both sides must share: the grammar, the task and
the operators of variation.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from symloss.discovery.evolution import Individual, initial_population, offspring
from symloss.discovery.settings import Settings
from symloss.expression.expression import Expression
from symloss.tasks import Split, Task, load_task

Batch = tuple[Tensor, Tensor]


class TreeLoss(nn.Module):
    """A tree as a loss: ℓ(y, f) summed over the outputs, averaged over the batch, with one trainable weight per edge.

    Args:
        expression: The tree and the values that its weights start from.
        trainable: Whether the weights are parameters; otherwise they are plain numbers.
    """

    def __init__(self, expression: Expression, trainable: bool = False) -> None:
        super().__init__()
        self.expression = expression
        self.weights = nn.Parameter(torch.tensor(expression.weights)) if trainable else None

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Loss of logits `outputs` [B, C] for the classes `target` [B]: a scalar."""
        y = F.one_hot(target, outputs.shape[1]).to(outputs.dtype)
        f = outputs.softmax(1)
        weights = None if self.weights is None else self.weights.unbind()
        value: Tensor = self.expression.evaluate(y, f, torch, weights)
        return value.sum(1).mean()


def unrolled_loss(task: Task, loss: TreeLoss, model: nn.Module, train: Batch, valid: Batch, rate: float) -> Tensor:
    """Task loss on a validation batch after one SGD step under the learned loss: L_task(θ₀ − α∇_θ M_φ(θ₀)).

    Args:
        task: The task, for its loss.
        loss: The learned loss M_φ.
        model: The base model, with weights θ₀.
        train: Training batch (x [B, ...], target [B]) of the step.
        valid: Validation batch (x [B, ...], target [B]).
        rate: Step size α.

    Returns:
        A scalar, differentiable in the loss's weights by a second backward pass through the network.
    """
    parameters = dict(model.named_parameters())
    inner = loss(model(train[0]), train[1])
    gradients = torch.autograd.grad(inner, list(parameters.values()), create_graph=True, materialize_grads=True)
    stepped = {name: p - rate * g for (name, p), g in zip(parameters.items(), gradients, strict=True)}
    return task.task_loss(functional_call(model, stepped, (valid[0],)), valid[1])


def refine(task: Task, settings: Settings, expression: Expression) -> Expression | None:
    """The tree with its weights refined by Adam on the unrolled loss; None if they diverge.

    Every meta-step draws a fresh base model, a training batch and a validation batch.
    """
    loss = TreeLoss(expression, trainable=True)
    train, valid = _loader(task.train, settings), _loader(task.valid, settings)
    optimiser = torch.optim.Adam(loss.parameters(), lr=settings.refinement_rate)
    for _ in range(settings.refinement_steps):
        model = task.make_model()
        outer = unrolled_loss(task, loss, model, next(iter(train)), next(iter(valid)), settings.learning_rate)
        if not torch.isfinite(outer):
            return None
        optimiser.zero_grad()
        outer.backward(inputs=list(loss.parameters()))  # type: ignore[no-untyped-call]
        optimiser.step()
    assert loss.weights is not None
    weights = loss.weights.tolist()
    return expression.with_weights(weights) if all(map(math.isfinite, weights)) else None


def passes_rejection(task: Task, settings: Settings, expression: Expression) -> bool:
    """Whether optimising an untrained model's predictions under the loss lowers the task's metric."""
    x, y = next(iter(_loader(task.train, settings, settings.rejection_samples)))
    with torch.no_grad():
        outputs = task.make_model()(x)
    before = task.metric(outputs, y)
    outputs.requires_grad_()
    loss = TreeLoss(expression)
    optimiser = torch.optim.Adam([outputs], lr=0.01)
    for _ in range(100 if settings.rejection_steps is None else settings.rejection_steps):
        optimiser.zero_grad()
        value = loss(outputs, y)
        if not torch.isfinite(value):
            return False
        value.backward()
        optimiser.step()
    return task.metric(outputs.detach(), y) < before


def fitness(task: Task, settings: Settings, expression: Expression) -> float:
    """Validation metric after a short training run; the same initial weights and batches for every candidate."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model, loss = task.make_model(), TreeLoss(expression)
        train = _loader(task.train, settings)
        optimiser = torch.optim.SGD(model.parameters(), lr=settings.learning_rate)
        for _ in range(settings.fitness_steps):
            x, y = next(iter(train))
            optimiser.zero_grad()
            value = loss(model(x), y)
            if not torch.isfinite(value):
                return math.inf
            value.backward()
            optimiser.step()
    with torch.no_grad():
        error = task.metric(model(task.valid.x), task.valid.y)
    return error if math.isfinite(error) else math.inf


def _loader(split: Split, settings: Settings, batch_size: int | None = None) -> DataLoader[Any]:
    return DataLoader(TensorDataset(split.x, split.y), batch_size=batch_size or settings.batch_size, shuffle=True)


@dataclass
class Search:
    """One run: the cache of every tree ever evaluated, with what became of it, and the CPU-seconds of each stage."""

    task: Task
    settings: Settings
    cache: dict[str, Individual] = field(default_factory=dict)
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("variation", "refinement", "rejection", "fitness"), 0.0)
    )

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the CPU-seconds of the block to a stage."""
        start = time.process_time()
        yield
        self.seconds[stage] += time.process_time() - start

    def evaluate(self, expression: Expression) -> Individual:
        """The candidate with refined weights and fitness (inf: rejected); from the cache if its tree is there."""
        key = str(Expression(expression.nodes))  # the tree without its weights
        if key not in self.cache:
            self.cache[key] = self._develop(expression)
        return self.cache[key]

    def _develop(self, expression: Expression) -> Individual:
        with self.timed("refinement"):
            refined = refine(self.task, self.settings, expression)
        if refined is None:
            return Individual(expression, math.inf)
        with self.timed("rejection"):
            passed = passes_rejection(self.task, self.settings, refined)
        if not passed:
            return Individual(refined, math.inf)
        with self.timed("fitness"):
            return Individual(refined, fitness(self.task, self.settings, refined))

    def evolve(self) -> None:
        """All generations, the initial one included."""
        rng = np.random.RandomState(self.settings.seed)
        with self.timed("variation"):
            candidates = initial_population(self.settings, rng)
        for generation in range(self.settings.generations):
            population = [self.evaluate(candidate) for candidate in candidates]
            if generation + 1 < self.settings.generations:
                with self.timed("variation"):
                    candidates = [child.expression for child in offspring(population, self.settings, rng)]

    def front(self) -> list[Individual]:
        """The Pareto front of complexity and fitness, smallest tree first."""
        front: list[Individual] = []
        for candidate in sorted(self.cache.values(), key=lambda one: (one.expression.size, one.fitness)):
            if candidate.fitness < min((one.fitness for one in front), default=math.inf):
                front.append(candidate)
        return front


def run(task: Task, population_size: int = 25, generations: int = 6, seed: int = 0, **settings: Any) -> dict[str, Any]:
    """Search for a loss, one candidate at a time.

    Args:
        task: A multiclass `Task`.
        population_size: Candidates per generation.
        generations: Generations, the initial one included.
        seed: The seed from which every random number follows.
        settings: Any other field of `Settings`; its defaults are EvoMAL's.

    Returns:
        `best_fitness` (inf if all were rejected), `seconds_cpu`, `seconds_wall`, `seconds` (CPU, per stage),
        `candidates` (the budget), `evaluated` (trees that the cache did not answer), `rejected` (of these), and
        `front`, the Pareto front as (complexity, fitness, expression).
    """
    search = Search(task, Settings(population_size=population_size, generations=generations, seed=seed, **settings))
    cpu, wall = time.process_time(), time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        search.evolve()
    front = search.front()
    return {
        "best_fitness": front[-1].fitness if front else math.inf,
        "seconds_cpu": time.process_time() - cpu,
        "seconds_wall": time.perf_counter() - wall,
        "seconds": search.seconds,
        "candidates": population_size * generations,
        "evaluated": len(search.cache),
        "rejected": sum(one.fitness == math.inf for one in search.cache.values()),
        "front": [(one.expression.size, one.fitness, str(one.expression)) for one in front],
    }


def main() -> None:
    """Run on the digits and print one line of JSON."""
    parser = argparse.ArgumentParser(description="EvoMAL on the digits without an engine; prints one line of JSON.")
    for name, default in (("population", 25), ("generations", 6), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--refinement-steps", type=int, default=250)
    parser.add_argument("--fitness-steps", type=int, default=500)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    result = run(
        load_task("digits", model="mlp", seed=arguments.seed),
        arguments.population,
        arguments.generations,
        arguments.seed,
        refinement_steps=arguments.refinement_steps,
        fitness_steps=arguments.fitness_steps,
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
