"""Speed and memory of the search, against the plain implementation of `benchmarks.plain` and against the network alone.

    python -m benchmarks.search                  # everything, about 35 minutes on two idle cores
    python -m benchmarks.search speed --seeds 2  # one part: speed, quality, parts, growth, workers

Writes `benchmarks/results/search_*.json` and `.md`. Every time is a ratio to a peer in the same run.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import plain
from benchmarks.record import save
from symloss.discovery import stages
from symloss.discovery.evolution import initial_population
from symloss.discovery.filters import fingerprints
from symloss.discovery.fitness import fitness
from symloss.discovery.refinement import optimiser_of, refine
from symloss.discovery.runs import discover
from symloss.discovery.settings import Settings
from symloss.evaluation.statistics import paired
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.population.training import Workspace, train, validation_metric
from symloss.tasks import Task, load_task
from symloss.tasks.models import ModelFactory

BUDGET: dict[str, Any] = {"population_size": 25, "generations": 6}
SLOW: dict[str, Any] = {"population_size": 16, "generations": 2, "refinement_steps": 50, "fitness_steps": 100}


def timed(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, seconds of processor time of this process, seconds on the wall."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = function()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def speed(seeds: int) -> None:
    """The same budget: plain, one worker, two workers; per seed, and the ratio of the sums."""
    task = load_task("digits", model="mlp")
    discover(task, population_size=8, generations=1, seed=999, n_jobs=1)  # both sides warm: compiled, loaded
    plain.run(task, population_size=2, generations=1, seed=999)
    rows = []
    for seed in range(seeds):
        peer, peer_cpu, peer_wall = timed(partial(plain.run, task, seed=seed, **BUDGET))
        one, one_cpu, one_wall = timed(partial(discover, task, seed=seed, n_jobs=1, **BUDGET))
        two, _, two_wall = timed(partial(discover, task, seed=seed, n_jobs=2, **BUDGET))
        assert [c.fitness for c in one.candidates] == [c.fitness for c in two.candidates]
        rows.append(
            {
                "seed": seed, "plain CPU s": peer_cpu, "plain wall s": peer_wall, "plain best": peer["best_fitness"],
                "plain trained": peer["candidates"] - peer["rejected"],
                "CPU s": one_cpu, "wall s": one_wall, "wall s, 2 workers": two_wall, "best": one.best.fitness,
                "trained": sum(c.stage == stages.EVALUATED for c in one.candidates),
                "CPU ratio": peer_cpu / one_cpu, "wall ratio, 2 workers": peer_wall / two_wall,
            }
        )  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)

    def total(name: str) -> float:
        return float(sum(row[name] for row in rows))

    rows.append(
        {
            "seed": "all",
            **{k: total(k) for k in ("plain CPU s", "plain wall s", "plain trained", "CPU s", "wall s", "trained")},
            "wall s, 2 workers": total("wall s, 2 workers"),
            "plain best": statistics.mean(r["plain best"] for r in rows),
            "best": statistics.mean(r["best"] for r in rows),
            "CPU ratio": total("plain CPU s") / total("CPU s"),
            "wall ratio, 2 workers": total("plain wall s") / total("wall s, 2 workers"),
        }
    )  # fmt: skip
    save("search_speed", rows, "25 × 6 candidates on digits, MLP 64-64-10, batch 128, 250 + 500 steps; bests are means")


def quality(seeds: int) -> None:
    """The picks of both searches, measured as each reports it and afresh: the mean from 20 other training seeds.

    The plain search takes the best of what single training runs gave, which luck can win.
    """
    task, settings = load_task("digits", model="mlp"), Settings()
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        peer = plain.run(task, seed=seed, **BUDGET)
        mine = discover(task, seed=seed, n_jobs=1, progress=False, **BUDGET).best
        row: dict[str, Any] = {"seed": seed, "plain": peer["best_fitness"], "symloss": mine.fitness}
        assert isinstance(mine.expression, Expression)
        picks = {"plain": parse(peer["front"][-1][2]), "symloss": mine.expression}
        row |= {f"{name}, afresh": afresh(task, settings, pick) for name, pick in picks.items()}
        rows.append(row)
        print(json.dumps(rows[-1]), flush=True)
    means = {name: statistics.mean(row[name] for row in rows) for name in rows[0] if name != "seed"}
    found = paired([row["symloss, afresh"] for row in rows], [row["plain, afresh"] for row in rows])
    rows.append({"seed": "mean", **means})
    note = f"symloss minus plain, afresh: 95 % interval {found.low:+.4f} to {found.high:+.4f}"
    save("search_quality", rows, f"25 × 6 candidates on digits, validation error rate of the picks; {note}")


def afresh(task: Task, settings: Settings, expression: Expression) -> float:
    """Mean validation metric after training under a loss from 20 seeds that no search uses."""
    workspace = stages.workspace(task, settings)
    gradient, values = workspace.loss_gradient([expression]), []
    for seed in range(7_000_000, 7_000_020):
        steps, optimiser = settings.fitness_steps, optimiser_of(settings)
        parameters = train(workspace, gradient, 1, steps, optimiser, seed=seed, batch_seed=seed)
        values += validation_metric(workspace, parameters)
    return statistics.mean(values)


def workers(seeds: int) -> None:
    """Wall time of the same searches with one worker and with two: threads for the MLP, processes for LeNet-5.

    The first search with processes waits for them to start.
    """
    rows: list[dict[str, Any]] = []
    for name, model, kind, budget in (("digits", "mlp", "threads", BUDGET), ("mnist-5k", "lenet5", "processes", SLOW)):
        task = load_task(name, model=model)
        discover(task, population_size=8, generations=1, seed=999, n_jobs=1, fitness_steps=10, refinement_steps=2)
        for seed in range(seeds if model == "mlp" else 3):
            row: dict[str, Any] = {"model": model, "workers": kind, "seed": seed}
            for jobs in (1, 2):
                row[f"wall s, {jobs}"] = timed(partial(discover, task, seed=seed, n_jobs=jobs, **budget))[2]
            rows.append({**row, "ratio": row["wall s, 1"] / row["wall s, 2"]})
            print(json.dumps(rows[-1]), flush=True)
    sizes = "MLP on digits 25 × 6 candidates, LeNet-5 on MNIST (5 000) 16 × 2 with 50 + 100 steps"
    save("search_workers", rows, f"one worker against two: {sizes}")


def survivors(task: Task, settings: Settings, count: int) -> list[Expression]:
    """`count` different random expressions that pass the filters."""
    rng = np.random.RandomState(0)
    found: dict[str, Expression] = {}
    while len(found) < count:
        drawn = initial_population(Settings(population_size=100), rng)
        prints = fingerprints(drawn, stages.workspace(task, settings).kind)
        fresh = {p: e for p, e in zip(prints, drawn, strict=True) if p and p not in found}
        passed = stages.screen(task, settings, list(fresh.values()))
        found |= {p: e for (p, e), ok in zip(fresh.items(), passed, strict=True) if ok}
    return list(found.values())[:count]


def best_of(function: Callable[[], Any], repeats: int = 5) -> float:
    """Least processor seconds of a few runs, after a first that does not count."""
    function()
    return min(timed(function)[1] for _ in range(repeats))


def repeat(function: Callable[[], Any], times: int) -> None:
    """Call a function a number of times."""
    for _ in range(times):
        function()


def network_alone(workspace: Workspace, count: int, steps: int) -> float:
    """Microseconds per model of a training step in which the loss costs nothing: forward, backward, update."""
    network = workspace.network
    parameters = [p.expand(count, *p.shape).clone() for p in workspace.initial(0)]
    batches = workspace.batches(len(workspace.train.x), steps, 0)
    cotangent = torch.randn(count, workspace.task.outputs, workspace.batch_size) / workspace.batch_size

    def run() -> None:
        with torch.no_grad():
            for index in batches:
                _, saved = network.forward(parameters, workspace.pick(workspace.train, index)[0])
                for p, g in zip(parameters, network.backward(parameters, saved, cotangent), strict=True):
                    p.add_(g, alpha=-1e-9)

    return best_of(run) / steps / count * 1e6


def torch_alone(task: Task, steps: int) -> float:
    """Microseconds of a training step of one model in plain torch with the data in memory."""
    model, x, y = task.new_model(0), task.train.x, task.train.y
    optimiser = torch.optim.SGD(model.parameters(), 0.01)

    def run() -> None:
        for start in range(steps):
            index = torch.arange(start, start + 128) % len(x)
            optimiser.zero_grad()
            F.cross_entropy(model(x[index]), y[index]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    return best_of(run) / steps * 1e6


def parts() -> None:
    """Microseconds per candidate and step of each part, beside the network alone."""
    task, settings = load_task("digits", model="mlp"), Settings()
    workspace = stages.workspace(task, settings)
    one = torch_alone(task, 300)
    rows = []
    for count in (1, 4, 8, 16, 64):
        found = survivors(task, settings, count)
        alone = network_alone(workspace, count, 300)
        training = best_of(partial(fitness, workspace, settings, found)) / settings.fitness_steps / count * 1e6
        refinement = best_of(partial(refine, workspace, settings, found)) / settings.refinement_steps / count * 1e6
        objective, f = workspace.objective(found, freeze=True), torch.rand(count, 10, 128)
        once = partial(objective.logits_gradient, f, torch.arange(128) % 10)
        trees = best_of(partial(repeat, once, 200)) / 200 / count * 1e6
        rows.append(
            {
                "candidates": count, "network alone µs": alone, "training step µs": training, "trees µs": trees,
                "refinement step µs": refinement, "training ÷ network": training / alone,
                "refinement ÷ network": refinement / alone, "one model in torch µs": one,
            }
        )  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    save("search_parts", rows, "digits, MLP 64-64-10, batch 128: per candidate and step")


def generation(candidates: int, classes: int) -> None:
    """Develop one generation in this process and print its time and the growth of the peak of memory, as JSON."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2000, 64, generator=generator), torch.arange(2000) % classes
    task = Task(
        ModelFactory("mlp", (64,), classes, {}),
        (x[:1400], y[:1400]),
        (x[1400:], y[1400:]),
        classes=classes,
        name="noise",
    )
    settings = Settings(rejection_steps=0, chunk_size=candidates)
    found = survivors(load_task("digits", model="mlp"), Settings(), candidates)
    stages.develop(task, settings, found[:2], [True] * 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, cpu, _ = timed(lambda: stages.develop(task, settings, found, [True] * candidates))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"CPU s": cpu, "peak MiB": peak / 1024, "growth MiB": (peak - before) / 1024}))


def growth() -> None:
    """Time and memory of a generation that is developed as one chunk, each in a process of its own."""
    rows: list[dict[str, Any]] = []
    for candidates, classes in ((25, 10), (100, 10), (400, 10), (100, 100)):
        command = [sys.executable, "-m", "benchmarks.search", "generation", str(candidates), str(classes)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows.append({"candidates": candidates, "classes": classes, **json.loads(answer)})
        rows[-1]["CPU ms per candidate"] = rows[-1]["CPU s"] / candidates * 1e3
        print(json.dumps(rows[-1]), flush=True)
    save("search_growth", rows, "one generation in one chunk: 250 + 500 steps, MLP 64-64-C, batch 128")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "part",
        nargs="?",
        choices=("all", "speed", "quality", "parts", "growth", "workers", "generation"),
        default="all",
    )
    parser.add_argument("numbers", nargs="*", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.part == "generation":
        generation(*options.numbers)
    if options.part in ("all", "parts"):
        parts()
    if options.part in ("all", "growth"):
        growth()
    if options.part in ("all", "workers"):
        workers(options.seeds)
    if options.part in ("all", "speed"):
        speed(options.seeds)
    if options.part in ("all", "quality"):
        quality(options.seeds)


if __name__ == "__main__":
    main()
