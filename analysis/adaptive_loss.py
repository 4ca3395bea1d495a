"""Does a loss that adapts while the model trains (AdaLFL) spare the tuning of the learning rate, and learn faster?

    python -m analysis.adaptive_loss --jobs 2              # finished cells are kept
    python -m analysis.adaptive_loss --tasks digits        # a part of it: the same cells
    python -m analysis.adaptive_loss --dry-run             # what there is to do

Five tasks, seven base learning rates over three decades around the best rate of the task loss, five seeds. A cell
trains one task at one rate from one seed four times, by plain SGD on the same batches from the same weights: under the
loss that adapts, under the same loss as the offline phase left it (frozen, ML3), under the task loss with a learning
rate that adapts, and under the task loss. "Tuned" is the task loss at the rate with the lowest mean validation metric
at the end, over the very seeds that are reported. Training that has diverged, or is worse than the constant that fits
the training data best, counts as that constant (error rate 1). Intervals are Student's, 95 %, over seeds, paired by
seed. Writes `figures/adaptive_loss.json` and `.png`.
"""

from __future__ import annotations

import argparse
import math
from functools import cache
from typing import Any

import torch

import symloss as sl
from analysis import records
from symloss.analysis.adaptation import look
from symloss.discovery.executor import Executor
from symloss.errors import LossError
from symloss.evaluation.statistics import Estimate, compared, estimate, paired
from symloss.online import ScaledTaskLoss, adaptable, loss_network
from symloss.online.settings import AdaptSettings
from symloss.online.shapes import with_weights
from symloss.online.training import Training
from symloss.tasks.task import Task

SEEDS = 5
_DENSE = {"steps": 500, "batch_size": 128, "offline_steps": 600, "records": 25}
_DEEP = {"steps": 200, "batch_size": 32, "offline_steps": 400, "records": 10}
_SMALL = {"train_samples": 4000, "valid_samples": 1000}  # fixed: drawn with the seed of the split
TASKS: dict[str, dict[str, Any]] = {
    "digits": {"task": {"name": "digits", "model": "mlp"}, "centre": 0.3, "meta_rate": 0.01, **_DENSE},
    "MNIST-5k": {"task": {"name": "mnist-5k", "model": "lenet5"}, "centre": 0.1, "meta_rate": 0.01, **_DEEP},
    "Fashion-MNIST": {
        "task": {"name": "fashion-mnist", "model": "lenet5", **_SMALL}, "centre": 0.1, "meta_rate": 0.01, **_DEEP,
    },
    "diabetes": {"task": {"name": "diabetes", "model": "mlp"}, "centre": 0.01, "meta_rate": 1e-3, **_DENSE},
    "California": {
        "task": {"name": "california", "model": "mlp", **_SMALL}, "centre": 0.03, "meta_rate": 1e-3, **_DENSE,
    },
}  # fmt: skip
"""What is trained; the middle of its rates; η of the learned rate (on digits and MNIST better than 0.001, 0.1)."""
METHODS = ("adaptive loss", "frozen loss", "learned rate", "task loss")
_GRID = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
_LOOKS = 3  # at a loss: before training, after a tenth of it, and at its end


def rates(label: str) -> tuple[float, ...]:
    """Seven half-decades of a task."""
    middle = _GRID.index(TASKS[label]["centre"])
    return _GRID[middle - 3 : middle + 4]


def key_of(label: str, rate: float, seed: int) -> str:
    """The name of a cell."""
    return f"{label}, rate {rate:g}, seed {seed}"


@cache
def _task(label: str) -> Task:
    return sl.load_task(**TASKS[label]["task"], seed=0)


def cell(key: str) -> dict[str, Any]:
    """All four trainings of a task at a rate from a seed: test metrics at the end and halfway, validation metrics."""
    torch.set_num_threads(1)
    label, at, seed = key.split(", ")
    task, own = _task(label), TASKS[label]
    shared: dict[str, Any] = {
        "lr": float(at.split()[1]), "seed": int(seed.split()[1]), "steps": own["steps"],
        "batch_size": own["batch_size"], "records": own["records"],
    }  # fmt: skip
    with Executor(task):  # on one thread
        network = loss_network(task.kind, task.outputs, shared["seed"])
        found: dict[str, Any] = {}
        learnt, found["frozen loss"] = _trained(
            task, AdaptSettings("frozen", own["offline_steps"], **shared), adaptable(network, task.kind)
        )
        training, found["adaptive loss"] = _trained(
            task, AdaptSettings("adalfl", 0, **shared), adaptable(learnt.loss, task.kind)
        )
        found["adaptive loss"] |= _followed(training)
        for method, name, more in (
            ("learned-rate", "learned rate", {"meta_lr": own["meta_rate"]}), ("task-loss", "task loss", {}),
        ):  # fmt: skip
            settings = AdaptSettings(method, 0, **shared, **more, tune_lr=False)
            found[name] = _trained(task, settings, ScaledTaskLoss(task.kind))[1]
    return found


def _trained(task: Task, settings: AdaptSettings, loss: torch.nn.Module) -> tuple[Training, dict[str, Any]]:
    """One training, and its metrics: test at the end and halfway, validation at each record; None from a failure on."""
    assert task.test is not None
    training = Training(task, settings, loss, settings.lr)
    half = None
    try:
        while training.left:
            training.advance()
            if training.online == settings.steps // 2 and not training.offline_left and half is None:
                half = training.metric(task.test)
        test = training.metric(task.test)
    except LossError:
        test = math.inf
    curve = [_plain(record.valid_metric) for record in training.records]
    curve += [None] * (settings.records + 1 - len(curve))
    return training, {"test": _plain(test), "half": _plain(half), "valid": curve}


def _followed(training: Training) -> dict[str, Any]:
    """How the loss changed: α ‖∇M‖ / ‖∇L_task‖ at each record, and what the tools say of its snapshots."""
    steps = training.settings.steps
    places = [place for place, (step, _) in enumerate(training.snapshots) if step in (0, steps // 10, steps)]
    looks = [
        look(with_weights(training.loss, training.weights[place]), training.task.kind, training.task.outputs)
        for place in places
    ]
    return {
        "effective rate": [_plain(r.learning_rate * r.effective_rate) for r in training.records],
        "looks": [
            {"step": training.snapshots[place][0], "smoothing": one.smoothing, "rests": list(one.rests),
             "pull": one.pull}
            for place, one in zip(places, looks, strict=True)
        ],
    }  # fmt: skip


def _plain(value: float | None) -> float | None:
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None


class Results:
    """The finished cells of one task, what failed counted as the constant.

    Args:
        record: With its cells.
        label: The task.
    """

    def __init__(self, record: records.Record, label: str) -> None:
        self.cells, self.label, self.rates = record["cells"], label, rates(label)
        self.worst: float = record["settings"]["constants"][label]
        self.seeds = [
            seed for seed in range(100) if all(key_of(label, rate, seed) in self.cells for rate in self.rates)
        ]
        steps, every = TASKS[label]["steps"], TASKS[label]["steps"] // TASKS[label]["records"]
        self.steps = [1, *range(every, steps + 1, every)]
        if self.seeds:
            ends = [sum(self.values("task loss", rate, "valid")) for rate in self.rates]
            self.tuned = self.rates[ends.index(min(ends))]

    def of(self, method: str, rate: float) -> list[dict[str, Any]]:
        """That method's part of the cell of each seed."""
        return [self.cells[key_of(self.label, rate, seed)][method] for seed in self.seeds]

    def counted(self, value: float | None) -> float:
        """What a metric counts as."""
        return self.worst if value is None else min(value, self.worst)

    def values(self, method: str, rate: float, what: str) -> list[float]:
        """`"test"`, `"half"` or the last `"valid"` metric of each seed."""
        found = (part[what] for part in self.of(method, rate))
        return [self.counted(value[-1] if isinstance(value, list) else value) for value in found]

    def reached(self, method: str, rate: float) -> list[float | None]:
        """For each seed the first recorded step from whose validation metric is that of the tuned task loss's end."""
        wanted = self.values("task loss", self.tuned, "valid")
        mean = sum(wanted) / len(wanted)
        found = []
        for part in self.of(method, rate):
            hits = [s for s, v in zip(self.steps, part["valid"], strict=True) if v is not None and v <= mean]
            found.append(hits[0] if hits else None)
        return found

    def against(self, method: str, rate: float, what: str) -> dict[str, Any]:
        """Test metric, minus that of the tuned task loss at the same number of steps, with its interval and verdict."""
        own, tuned = self.values(method, rate, what), self.values("task loss", self.tuned, what)
        difference = paired(own, tuned)
        return {
            what: _interval(estimate(own)), "minus tuned": _interval(difference), "verdict": compared(difference),
        }  # fmt: skip


def summary(record: records.Record) -> dict[str, Any]:
    """Per task with a seed or more at every rate: every method at every rate against the tuned task loss."""
    found: dict[str, Any] = {}
    for label in TASKS:
        own = Results(record, label)
        if not own.seeds:
            continue
        found[label] = {"seeds": len(own.seeds), "tuned rate": own.tuned}
        for method in METHODS:
            at = {}
            for rate in own.rates:
                reached = own.reached(method, rate)
                steps = sorted(math.inf if step is None else step for step in reached)
                at[f"{rate:g}"] = {
                    "end": own.against(method, rate, "test"), "halfway": own.against(method, rate, "half"),
                    "median steps to the tuned end": _plain(steps[(len(steps) - 1) // 2]),
                    "seeds that reach it": sum(step is not None for step in reached),
                }  # fmt: skip
            found[label][method] = at
        found[label]["smoothing"] = _smoothing(own)
    return found


def _smoothing(own: Results) -> list[dict[str, Any]]:
    """Over all adaptive losses of a task: share that smooths labels, pull and effective rate, look by look."""
    parts = [part for rate in own.rates for part in own.of("adaptive loss", rate) if len(part["looks"]) == _LOOKS]
    rows = []
    for place in range(_LOOKS if parts else 0):
        looks = [part["looks"][place] for part in parts]
        steps = looks[0]["step"]
        nearest = min(range(len(own.steps)), key=lambda k: abs(own.steps[k] - steps))
        effective = sorted(
            part["effective rate"][min(nearest, len(part["effective rate"]) - 1)] or 0.0 for part in parts
        )
        pulls = sorted(one["pull"] / part["looks"][0]["pull"] for one, part in zip(looks, parts, strict=True))
        rows.append({
            "step": steps, "losses": len(parts),
            "share with an optimum inside": _share(bool(o["rests"]) for o in looks),
            "share with one label smoothing": _share(o["smoothing"] is not None for o in looks),
            "median pull over that of the first": pulls[len(pulls) // 2],
            "median effective rate": effective[len(effective) // 2],
        })  # fmt: skip
    return rows


def _interval(value: Estimate) -> list[float | None]:
    """Mean and bounds; None for the bounds of one seed."""
    return [value.mean, *((value.low, value.high) if value.bounded else (None, None))]


def _share(truths: Any) -> float:
    values = list(truths)
    return float(sum(values) / len(values))


def constant(label: str) -> float:
    """What a failure counts as: error rate 1, or the test error of the training mean."""
    task = _task(label)
    assert task.test is not None
    return 1.0 if task.kind != "regression" else float((task.test.y - task.train.y.mean()).square().mean())


def draw(record: records.Record) -> None:
    """For each task: test metric over the rate at the end; and learning curves, each method at its median rate."""
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    with rc_context(style.STYLE):
        records.save(_figure(record, style), "adaptive_loss")


def _figure(record: records.Record, style: Any) -> Any:
    shown = [label for label in TASKS if label in record["summary"]]
    colours = dict(zip(METHODS, (style.BLUE, style.VERMILLION, style.GREEN, style.BLACK), strict=True))
    marks = dict(zip(METHODS, "os^D", strict=True))
    settings: dict[str, object] = {
        "model": "MLP, or LeNet-5 on images", "optimiser": "plain SGD", "bars and bands": "95 % over seeds",
        "steps": ", ".join(f"{label} {TASKS[label]['steps']}" for label in shown),
        "curves": "median over rates (blue band: range) of means over seeds",
    }  # fmt: skip
    figure, panels = style.new("A loss that adapts", settings, (7.4, 1.2 + 2.0 * len(shown)), len(shown), 2)
    for (left, right), label in zip(panels, shown, strict=True):
        own = Results(record, label)
        regression = own.worst != 1.0
        scale = 1.0 if regression else 100.0
        for method in METHODS:
            _over_rates(left, own, method, scale, colours[method], marks[method])
            _over_steps(right, own, method, scale, colours[method])
        low, middle, high = _ends(own, "task loss", own.tuned, scale)
        left.axhspan(low, high, color=style.GREY, alpha=0.3, lw=0)
        left.axhline(middle, color="black", lw=0.8, ls="--")
        left.set_xscale("log")
        for axes in (left, right):
            axes.set_yscale("log")
            _plain_numbers(axes)
        left.set_title(f"{label} ({len(own.seeds)} seed{'s' * (len(own.seeds) > 1)})", loc="left")
        left.set_ylabel("test squared error" if regression else "test error [%]")
        right.set_ylabel("validation squared error" if regression else "validation error [%]")
    panels[-1][0].set_xlabel("base learning rate α")
    panels[-1][1].set_xlabel("training step; median of the seven rates")
    handles, names = panels[0][0].get_legend_handles_labels()
    more, tuned = panels[0][1].get_legend_handles_labels()
    figure.legend([*handles, *more], [*names, *tuned], loc="outside upper center", ncols=5)
    return figure


def _over_rates(axes: Any, own: Results, method: str, scale: float, colour: str, mark: str) -> None:
    found = [_ends(own, method, rate, scale) for rate in own.rates]
    mean = [m for _, m, _ in found]
    reach = [[m - low for low, m, _ in found], [high - m for _, m, high in found]]
    shift = 1.0 + 0.06 * (METHODS.index(method) - 1.5)
    axes.errorbar(
        [shift * rate for rate in own.rates], mean, yerr=reach, fmt=f"{mark}-", color=colour, markersize=3.5,
        capsize=1.5, linewidth=1.0, label=method,
    )  # fmt: skip


def _ends(own: Results, method: str, rate: float, scale: float) -> tuple[float, float, float]:
    """Lower bound, mean and upper bound, as far as a logarithmic axis of possible values has them."""
    mean, low, high = own.against(method, rate, "test")["test"]
    low, high = (mean, mean) if low is None else (max(low, 0.5 * mean), min(high, own.worst))
    return scale * low, scale * mean, scale * max(high, mean)


def _over_steps(axes: Any, own: Results, method: str, scale: float, colour: str) -> None:
    """Median and range over the rates of the mean over seeds."""
    curves = [
        [
            scale * sum(own.counted(part["valid"][k]) for part in own.of(method, rate)) / len(own.seeds)
            for k in range(len(own.steps))
        ]
        for rate in own.rates
    ]  # fmt: skip
    at = [sorted(values) for values in zip(*curves, strict=True)]
    axes.plot(own.steps, [values[len(values) // 2] for values in at], color=colour, linewidth=1.2)
    if method == "adaptive loss":
        axes.fill_between(own.steps, [v[0] for v in at], [v[-1] for v in at], color=colour, alpha=0.2, linewidth=0)
    if method == "task loss":
        best = curves[own.rates.index(own.tuned)]
        axes.plot(own.steps, best, color=colour, linewidth=1.2, linestyle="--", label="task loss, rate tuned")


def _plain_numbers(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="LABEL")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    wanted = [key_of(t, rate, seed) for seed in range(options.seeds) for t in options.tasks for rate in rates(t)]
    torch.set_num_threads(1)
    defaults = AdaptSettings()
    settings: records.Record = {
        "tasks": TASKS, "rates": {label: rates(label) for label in TASKS}, "methods": METHODS,
        "loss": "network 2-40-40-1", "meta rate": defaults.meta_lr,
        "offline meta rate": f"{defaults.offline_meta_lr:g}, falling linearly to 0",
        "offline horizon": defaults.offline_horizon, "offline rate": "as in training",
        "constants": {label: constant(label) for label in TASKS},
    }  # fmt: skip
    if options.dry_run:
        kept = records.finished("adaptive_loss", settings)
        left = [key for key in wanted if key not in kept]
        print(*left, f"{len(left)} of {len(wanted)} cells are left", sep="\n")
        return
    record = records.computed("adaptive_loss", settings, wanted, cell, summary, options.jobs, others=True)
    if record["summary"]:
        draw(record)
    for label, found in record["summary"].items():
        print(label, f"tuned rate {found['tuned rate']:g}")
        for method in METHODS:
            print(
                " ", method, {rate: (at["end"]["test"][0], at["end"]["verdict"]) for rate, at in found[method].items()}
            )


if __name__ == "__main__":
    main()
