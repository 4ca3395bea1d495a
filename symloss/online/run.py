"""adapt: AdaLFL on a task, from a loss network or from any loss with weights, and its controls."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any

from torch import nn

from symloss.discovery.executor import Executor
from symloss.errors import LossError, SearchError
from symloss.evaluation.entries import AnyLoss
from symloss.evaluation.gradients import TASK_LOSSES
from symloss.evaluation.tuning import tuned_rate
from symloss.losses.network import LossNetwork
from symloss.losses.symbolic import SymbolicLoss
from symloss.online.checkpoint import BEST, HISTORY, RESULT, AdaptDirectory, fingerprint
from symloss.online.losses import ResidualLoss, ScaledTaskLoss, adaptable, loss_network
from symloss.online.result import Adaptation
from symloss.online.settings import AdaptSettings
from symloss.online.training import Training
from symloss.tasks import Task, load_task

Progress = bool | Callable[[str], object] | None

KEPT_EVERY = 250
"""Steps between checkpoints and lines of progress."""
DONE, INTERRUPTED = "all steps done", "interrupted"


def adapt(
    task: Task | str,
    loss: AnyLoss | None = None,
    *,
    offline_steps: int = 2500,
    steps: int = 2000,
    lr: float = 0.01,
    meta_lr: float = 1e-4,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: Progress = None,
    **options: Any,
) -> Adaptation:
    """Train a model under a loss that adapts while it trains (AdaLFL), or under one of its controls.

    Offline phase: meta-steps on models of which each starts from fresh weights, as in ML3, and is trained for
    `offline_horizon` of them. Online phase: θ′ = θ − step(∇_θ M_φ), then
    φ ← φ − η dL_task(θ′)/dφ on a validation batch; see `AdaptiveLoss`. The validation data take part in training then:
    judge the model by the test data.

    The result depends on the arguments alone, bit for bit on one machine. Ctrl-C keeps what is there; the same call
    with the same `out` goes on where a run was stopped or killed, and ends as if it had not been.

    Args:
        task: The task, or the name of one for `load_task`.
        loss: Where φ starts: a formula, a file, a run directory, or a module with parameters. None takes the loss
            network 2 → 40 → 40 → 1.
        offline_steps: Meta-steps of the offline phase.
        steps: Training steps of the online phase.
        lr: α, learning rate of the model.
        meta_lr: η, learning rate of the loss while the model trains.
        seed: Of weights, batches and dropout.
        out: Directory to keep the run in; None keeps it in memory.
        progress: True writes lines to stderr, None does so if stderr is a terminal, False never; a function is called
            with each line instead.
        options: More fields of `AdaptSettings`, such as `method="frozen"`, `momentum=0.9` or `residual=True`.

    Returns:
        The trained model, the loss and what was measured; it prints itself.

    Raises:
        SearchError: If an option cannot be used.
        LossError: If the loss cannot be adapted.
        RunError: If `out` cannot be used, or holds another run.
        TaskError: If the task cannot be loaded.

    Source: Raymond et al., *Online Loss Function Learning*, arXiv 2301.13247.
    """
    settings = AdaptSettings.from_options(
        {"offline_steps": offline_steps, "steps": steps, "lr": lr, "meta_lr": meta_lr, "seed": seed, **options}
    )
    own = load_task(task) if isinstance(task, str) else task
    if not isinstance(own, Task):
        raise SearchError(f"a task is a Task or the name of one; received {task!r:.60}")
    started = time.perf_counter()
    module = _loss(own, settings, loss)
    config = {"format": 1, **settings.to_json(), "task": own.identity(), "loss": fingerprint(module)}
    directory = None if out is None else AdaptDirectory(out, config)
    say = listener(progress)
    with Executor(own):  # on one thread
        begun = directory is not None and directory.load() is not None
        training = Training(own, settings, module, settings.lr if begun else _rate(own, settings, say))
        if directory is not None:
            training.restore(directory)
        stopped = _train(training, directory, say)
        parts = {"training": own.train, "validation": own.valid, "test": own.test}
        metrics = {name: training.metric(split) for name, split in parts.items() if split is not None}
    found = Adaptation(
        task=own.summary(), recipe=own.recipe, kind=own.kind, metric_name=own.metric_name, settings=settings,
        model=training.model.eval(), loss=module, learning_rate=training.lr, offline=training.offline,
        online=training.online, records=tuple(training.records), outputs=own.outputs,
        snapshots=tuple(training.snapshots), weights=tuple(training.weights),
        metrics=metrics, stopped=stopped, trouble=training.adaptive.guard.trouble,
        directory=None if directory is None else directory.path, seconds=time.perf_counter() - started,
    )  # fmt: skip
    if directory is not None:
        directory.write(RESULT, (json.dumps(found.to_json(), allow_nan=False) + "\n").encode())
    return found


def _loss(task: Task, settings: AdaptSettings, loss: AnyLoss | None) -> nn.Module:
    """The module whose weights are trained."""
    if settings.method in ("learned-rate", "task-loss"):
        if loss is not None:
            raise SearchError(f"method {settings.method!r} trains under the task loss; leave the loss out")
        return ScaledTaskLoss(task.kind)
    if loss is None:
        found: nn.Module = loss_network(task.kind, task.outputs, settings.seed, settings.output)
    else:
        found = adaptable(loss, task.kind)
    found = ResidualLoss(found, task.kind) if settings.residual else found
    return found.to(task.device)


def _rate(task: Task, settings: AdaptSettings, say: Callable[[str], object]) -> float:
    """The learning rate that training starts with."""
    if not settings.tunes:
        return settings.lr
    return tuned_rate(
        task, TASK_LOSSES[task.kind], steps=settings.steps, batch_size=settings.batch_size, learning_rate=settings.lr,
        momentum=settings.momentum, nesterov=settings.nesterov, weight_decay=settings.weight_decay,
        seed=settings.seed, progress=say,
    )  # fmt: skip


def _train(training: Training, directory: AdaptDirectory | None, say: Callable[[str], object]) -> str:
    """All steps that are left; returns why it ended."""
    with deferred() as asked:
        try:
            while training.left:
                training.advance()
                done = training.offline + training.online
                due = done % KEPT_EVERY == 0 or not training.left
                if due:
                    say(_line(training))
                if directory is not None and training.whole and (due or asked):
                    _keep(training, directory)
                if asked and training.whole:
                    return INTERRUPTED
        except LossError as error:
            return str(error)
    return DONE


def _keep(training: Training, directory: AdaptDirectory) -> None:
    training.save(directory)
    directory.write(HISTORY, training.history().encode())
    if isinstance(training.loss, SymbolicLoss | LossNetwork):
        training.loss.save(directory.path / BEST, {"found by": "adapt", "online steps": training.online})


def _line(training: Training) -> str:
    own = training.settings
    if training.online == 0:
        return f"offline meta-step {training.offline}/{own.offline_steps}"
    last = training.records[-1]
    return (
        f"step {training.online}/{own.steps}: task loss {last.task_loss:.4g}, "
        f"validation {training.task.metric_name} {last.valid_metric:.4g}, effective rate {last.effective_rate:.3g}"
    )


@contextmanager
def deferred() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM wait for the end of a step: the list is no longer empty then. A second one does not wait."""
    asked: list[int] = []
    if current_thread() is not main_thread():
        yield asked
        return

    def note(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) not in (signal.SIG_DFL, None)]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listener(progress: Progress) -> Callable[[str], object]:
    """What to call with each line of progress."""
    if callable(progress):
        return progress
    if progress or (progress is None and sys.stderr.isatty()):
        return lambda line: print(line, file=sys.stderr, flush=True)
    return lambda line: None
