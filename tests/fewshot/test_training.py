"""Meta-training: it learns, goes on exactly where it was stopped, keeps the best, and tells mistakes in one line."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from symloss.errors import LossError, ParseError, RunError, SymlossError, TaskError
from symloss.fewshot import MLP, NPBML, VARIANTS, ClassSet, Conv4, Episodes, Sinusoids, Tasks, training
from symloss.fewshot.training import Training, TrainingSettings

OPTIONS: dict[str, Any] = {"meta_batch": 2, "valid_every": 3, "valid_tasks": 4, "progress": False}


def samples(classes: int = 6, each: int = 8, noise: float = 0.5, seed: int = 0) -> ClassSet:
    """Points around the centres of classes."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(classes).repeat_interleave(each)
    x = torch.randn(classes, 4, generator=generator)[y] + noise * torch.randn(len(y), 4, generator=generator)
    return ClassSet(x, y)


def new(**options: Any) -> NPBML:
    return NPBML(MLP((6,)), 3, 2, **{"inner_steps": 2, "lr": 0.1, **options})


def episodes(seed: int = 0) -> Episodes:
    return Episodes(samples(), 3, 2, 4, seed=seed)


def state(learner: NPBML) -> dict[str, torch.Tensor]:
    assert learner.model is not None
    return {name: value.clone() for name, value in learner.model.state_dict().items()}


def same(a: NPBML, b: NPBML) -> bool:
    one, two = state(a), state(b)
    return list(one) == list(two) and all(torch.equal(one[name], two[name]) for name in one)


def test_learns() -> None:
    learner = NPBML(MLP((20,)), 3, 1, inner_steps=2, lr=0.1, seed=1)
    hard = Episodes(samples(40, 8, noise=0.4), 3, 1, 5)
    before = learner.evaluate(hard, 60)
    learner.fit(hard, iterations=150, meta_lr=1e-2, progress=False)
    after = learner.evaluate(hard, 60)
    assert after.minus(before).low > 0.05


def test_more_than_maml_on_sinusoids() -> None:
    """FiLM at its inputs' scale makes the network bilinear: it learns sinusoids faster than MAML."""
    found = {}
    for name in ("maml", "npbml"):
        learner = NPBML("mlp", shots=10, kind="regression", inner_steps=1, **VARIANTS[name])
        learner.fit(Sinusoids(10), iterations=150, meta_lr=3e-3, progress=False)
        found[name] = learner.evaluate(Sinusoids(10), 200)
    assert found["npbml"].minus(found["maml"]).high < 0
    low, high = found["maml"].interval
    assert low < found["maml"].mean < high


def test_depends_on_its_arguments_alone() -> None:
    torch.manual_seed(5)
    one = new().fit(episodes(), iterations=4, **OPTIONS)
    torch.manual_seed(6)
    assert same(one, new().fit(episodes(), iterations=4, **OPTIONS))
    assert not same(one, new(seed=1).fit(episodes(), iterations=4, **OPTIONS))


@pytest.mark.parametrize("options", [{}, {"transductive": True, "learn_rates": True}], ids=str)
def test_goes_on_exactly_where_it_was_stopped(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "KEPT_EVERY", 2)
    whole = new(**options).fit(episodes(), episodes(1), iterations=9, **OPTIONS)
    advance = Training.advance

    def interrupted(self: Training) -> None:
        advance(self)
        if self.done == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Training, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        new(**options).fit(episodes(), episodes(1), iterations=9, out=tmp_path, **OPTIONS)

    def killed(self: Training) -> None:
        advance(self)
        if self.done == 7:  # after the checkpoint at 6
            raise SystemExit

    monkeypatch.setattr(Training, "advance", killed)
    with pytest.raises(SystemExit):
        new(**options).fit(episodes(), episodes(1), iterations=9, out=tmp_path, **OPTIONS)
    monkeypatch.setattr(Training, "advance", advance)
    seen: list[str] = []
    again = new(**options).fit(
        episodes(), episodes(1), iterations=9, out=tmp_path, **{**OPTIONS, "progress": seen.append}
    )
    assert same(whole, again)
    assert again.history == whole.history
    assert [line.split(":")[0].split(",")[0] for line in seen] == ["meta-iteration 8/9", "meta-iteration 9/9"]
    assert [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()] == whole.history
    assert same(NPBML.load(tmp_path), whole)


def test_the_parameters_that_did_best_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = iter([0.2, 0.9, 0.5])
    kept: list[dict[str, torch.Tensor]] = []
    learner = new()

    class Mark:
        def __init__(self, mean: float) -> None:
            self.mean = mean

    def scores(*_: Any) -> Mark:
        kept.append(state(learner))
        return Mark(next(marks))

    monkeypatch.setattr(learner, "scores", scores)
    learner.fit(episodes(), episodes(1), iterations=9, out=tmp_path, **OPTIONS)
    assert [record["valid"] for record in learner.history] == [0.2, 0.9, 0.5]
    for found in (learner, NPBML.load(tmp_path)):
        assert all(torch.equal(value, kept[1][name]) for name, value in state(found).items())
    assert not torch.equal(kept[1]["encoder.theta.0_weight"], kept[2]["encoder.theta.0_weight"])


def test_the_lowest_error_is_the_best_for_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = NPBML(MLP((4,)), shots=3, kind="regression", inner_steps=1)
    learner.fit(Sinusoids(3), Sinusoids(3, seed=1), iterations=30, valid_every=5, valid_tasks=5, progress=False)
    best = min(record["valid"] for record in learner.history)
    found = learner.scores(Sinusoids(3, seed=1), range(5), "valid").mean
    assert found == pytest.approx(best, rel=1e-6)


def test_a_learner_is_read_as_it_was_written(tmp_path: Path) -> None:
    learner = NPBML("mlp", 3, 2, hidden=(5, 4), base_loss="focal", learn_rates=True, dtype=torch.float64)
    learner.fit(episodes(), iterations=2, **OPTIONS)
    learner.save(tmp_path / "a.npz")
    again = NPBML.load(tmp_path / "a.npz")
    assert again.settings == learner.settings
    assert again.architecture == learner.architecture == MLP((5, 4))
    assert same(learner, again)
    drawn = episodes().tasks(range(3))
    assert torch.equal(learner.predict(drawn), again.predict(drawn))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04damaged"])
def test_damaged_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"a\.npz is damaged or no learner .*; get it again"):
        NPBML.load(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(RunError, match=r"a\.npz is damaged or no learner"):
        NPBML.load(path)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, facts=np.array([print], dtype=object))
    with pytest.raises(RunError, match="damaged or no learner"):
        NPBML.load(path)


class TestPretraining:
    def test_the_encoder_learns_all_classes_and_the_rest_stays(self) -> None:
        learner, hard = new(), Episodes(samples(12, 8, noise=0.3), 3, 2, 4)
        learner.build((4,))
        before, lines = state(learner), []
        learner.pretrain(hard, iterations=200, batch_size=32, lr=1e-2, progress=lines.append)
        after = state(learner)
        assert {name for name in before if not torch.equal(before[name], after[name])} == {
            "encoder.theta.0_weight", "encoder.theta.0_bias"
        }  # fmt: skip
        first, last = (float(line.rpartition(" ")[2]) for line in (lines[0], lines[-1]))
        assert lines[0].startswith("pre-training 100/200: loss of 12 classes ")
        assert last < min(first, 0.7 * np.log(12))

    def test_images_and_the_same_again(self) -> None:
        x = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        data = Episodes((x, torch.arange(24) % 4), 3, 1, 2)
        learners = [
            NPBML(Conv4(width=3, depth=2), 3, 1).pretrain(data, 5, batch_size=8, progress=False) for _ in range(2)
        ]
        assert same(*learners)

    def test_not_for_regression(self) -> None:
        with pytest.raises(TaskError, match="pre-training is for classes"):
            NPBML("mlp", kind="regression").pretrain(Sinusoids())  # type: ignore[arg-type]


def test_curves_reach_beyond_the_trained_number_of_steps() -> None:
    learner = new()
    curve = learner.curve(episodes(), tasks=13, steps=4)
    assert curve.values.shape == (5, 13)
    for step in (0, 2, 4):
        assert np.array_equal(curve.values[step], learner.evaluate(episodes(), 13, step).values)
    assert "4 steps: " in str(curve)


def test_scores_print_themselves() -> None:
    scores = new().evaluate(episodes(), 5)
    assert str(scores).startswith("accuracy ")
    assert str(scores).endswith(" %], 5 tasks, 2 inner steps")
    assert scores.to_json()["mean"] == scores.mean == pytest.approx(float(scores.values.mean()))


MISTAKES: dict[str, tuple[Any, str]] = {
    "encoder": (lambda: NPBML("conv5"), "unknown encoder 'conv5'; did you mean 'conv4'? known: conv4, resnet12, mlp"),
    "option": (
        lambda: NPBML("conv4", wide=3),
        "unknown option of NPBML with encoder 'conv4': 'wide'; did you mean 'width'?",
    ),
    "option of an object": (
        lambda: NPBML(MLP(), hidden=3),
        "options such as hidden belong to encoders by name, not to MLP",
    ),
    "width": (lambda: NPBML("conv4", width=0), "width is a whole number of at least 1; received 0"),
    "hidden": (lambda: NPBML("mlp", hidden=3), "hidden is a width for each layer, such as (40, 40); received 3"),
    "norm": (lambda: NPBML("conv4", norm="layer"), "unknown norm 'layer'; known: support, batch"),
    "kind": (
        lambda: NPBML("mlp", kind="binary"),
        "kind of a few-shot learner is one of multiclass, regression; received",
    ),
    "ways": (lambda: NPBML("mlp", 1), "ways is a whole number of at least 2; received 1"),
    "shots": (lambda: NPBML("mlp", shots=0), "shots is a whole number of at least 1; received 0"),
    "steps": (lambda: NPBML("mlp", inner_steps=0), "inner_steps is a whole number of at least 1; received 0"),
    "rate": (lambda: NPBML("mlp", lr=0), "lr is a number from 1e-12 to 1e+06; received 0"),
    "flag": (lambda: NPBML("mlp", film=1), "film is True or False; received 1"),
    "transductive": (
        lambda: NPBML("mlp", loss=False, transductive=True),
        "transductive=True is about the learned loss",
    ),
    "prototypes": (lambda: NPBML("mlp", prototypes=True), "prototypes are for kind 'multiclass' without inner steps"),
    "kernel": (lambda: NPBML("conv4", warp_kernel=5), "warp_kernel is 1 or 3; received 5"),
    "blocks": (
        lambda: NPBML("mlp", adapted_blocks=3).build((2,)),
        "adapted_blocks is at most 2 for MLP(hidden=(40, 40))",
    ),
    "base loss": (lambda: NPBML("mlp", base_loss="crossentropy2"), "unknown loss 'crossentropy2'"),
    "base loss without formula": (lambda: NPBML("mlp", base_loss=torch.nn.NLLLoss()), "has no formula ℓ(y, f)"),
    "small images": (lambda: NPBML("conv4").build((1, 8, 8)), "images [C, H, W] of at least 16 × 16 pixels; received"),
    "no images": (lambda: NPBML("resnet12").build((4,)), "received inputs of shape [4]"),
    "other ways": (lambda: NPBML("mlp", 5, 2).fit(episodes()), "these tasks have ways=3, the learner ways=5"),
    "other shots": (lambda: NPBML("mlp", 3, 1).evaluate(episodes()), "these tasks have shots=2, the learner shots=1"),
    "other kind": (lambda: NPBML("mlp", 3, 2).fit(Sinusoids(2)), "these tasks have kind='regression', the learner"),
    "no tasks": (lambda: NPBML("mlp").fit([1, 2]), "tasks come from Episodes or Sinusoids; received list"),
    "training option": (
        lambda: new().fit(episodes(), metabatch=3),
        "there is no setting 'metabatch' of fit; there is: ",
    ),
    "iterations": (
        lambda: new().fit(episodes(), iterations=0),
        "iterations is a whole number of at least 1; received 0",
    ),
    "schedule": (lambda: TrainingSettings(schedule="step"), "schedule is one of cosine, constant; received 'step'"),
    "tasks": (lambda: new().evaluate(episodes(), tasks=0), "tasks is a whole number of at least 1; received 0"),
    "unseen": (lambda: new().save("x.npz"), "this learner has seen no data yet"),
    "labels": (
        lambda: new().adapt((torch.zeros(6, 4), torch.arange(6))),
        "labels of a 3-way task are 0 to 2; received 0 to 5",
    ),
    "number of labels": (
        lambda: new().adapt((torch.zeros(6, 4), torch.zeros(5).long())),
        "labels are class indices [6] here; received [5]",
    ),
    "real labels": (lambda: new().adapt((torch.zeros(2, 4), torch.zeros(2))), "labels are class indices [2] here"),
    "targets": (
        lambda: NPBML("mlp", kind="regression").adapt((torch.zeros(2, 1), torch.zeros(2, 3))),
        "targets are real numbers [2, 1] here; received [2, 3]",
    ),
    "queries": (lambda: new(transductive=True).adapt((torch.zeros(3, 4), torch.arange(3))), "give queries=..."),
    "sizes": (
        lambda: new().adapt((torch.zeros(3, 4), torch.arange(3)))(torch.zeros(2, 5)),
        "inputs have shape [Q, 4]; received",
    ),
    "sets": (
        lambda: new().predict(Tasks(torch.zeros(1, 3, 4), torch.zeros(1, 2), torch.zeros(1, 3, 4), torch.zeros(1, 3))),
        "support sets of tasks are inputs [T, B, ...] and as many targets; received [1, 3, 4] and [1, 2]",
    ),
    "file": (lambda: NPBML.load("nowhere.npz"), "there is no learner 'nowhere.npz'; give a file that save() wrote"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_in_one_line(name: str) -> None:
    call, message = MISTAKES[name]
    with pytest.raises(SymlossError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_formula_that_is_none_is_told_as_that() -> None:
    with pytest.raises(ParseError):
        NPBML("mlp", base_loss="y*(f")


def test_other_inputs_than_before() -> None:
    learner = new()
    learner.build((4,))
    with pytest.raises(TaskError, match=r"this learner takes inputs of shape \[4\]; received \[5\]: make a new one"):
        learner.build((5,))


def test_another_run_in_the_directory(tmp_path: Path) -> None:
    new().fit(episodes(), iterations=2, out=tmp_path, **OPTIONS)
    with pytest.raises(RunError, match=r"holds a run with other settings \(training was"):
        new().fit(episodes(), iterations=3, out=tmp_path, **OPTIONS)
    with pytest.raises(RunError, match=r"holds a run with other settings \(tasks was"):
        new().fit(episodes(3), iterations=2, out=tmp_path, **OPTIONS)


def test_divergence_is_told() -> None:
    with pytest.raises(LossError, match="infinite or NaN in meta-iteration 1; use a smaller lr or meta_lr"):
        new(lr=1e6, inner_steps=5, base_loss="mul(1e30, square(sub(y, f)))").fit(
            episodes(), iterations=3, progress=False
        )
