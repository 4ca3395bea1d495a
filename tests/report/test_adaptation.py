"""The page of a run of `adapt`: what it says, what it needs, and what it takes no harm from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import symloss as sl
from symloss.errors import EvaluationError, RunError
from symloss.evaluation.entries import NOUNS
from symloss.online.settings import AdaptSettings
from symloss.report import adaptation
from symloss.report.command import adapt_command
from symloss.report.page import rendered, report
from tests.cli.conftest import Cli, cli  # noqa: F401 - a fixture
from tests.report.test_page import Reader, words

OPTIONS: dict[str, Any] = {
    "offline_steps": 3, "steps": 12, "batch_size": 32, "lr": 0.1, "momentum": 0.5, "tune_lr": False,
}  # fmt: skip
BAD = "</script><b>'{{7*7}}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An adapted run of wine and a control of it."""
    top = tmp_path_factory.mktemp("adapted")
    for method in ("adalfl", "task-loss"):
        sl.adapt("wine", method=method, out=top / method, **OPTIONS)
    return {path.name: path for path in top.iterdir()}


@pytest.fixture
def made(runs: dict[str, Path]) -> dict[str, Any]:
    """The numbers of the run, to be changed."""
    found = adaptation.read(runs["adalfl"])
    assert found is not None
    return found


def shown(run: dict[str, Any], *others: dict[str, Any]) -> str:
    return rendered("adaptation.html", adaptation.contents(run, others))


def test_what_it_says(runs: dict[str, Path], tmp_path: Path) -> None:
    text = report(runs["adalfl"], tmp_path / "a.html", beside=[runs["task-loss"]]).read_text(encoding="utf-8")
    said, reader = words(text), Reader(text)
    values = json.loads((runs["adalfl"] / "result.json").read_text())
    other = json.loads((runs["task-loss"] / "result.json").read_text())
    assert "A loss that adapts, on wine" in said
    assert "trained for 12 steps, after 3 meta-steps on other models (adalfl" in said
    for one in (values, other):
        assert f"{100 * one['metrics']['test']:.2f} %" in said
    for sentence in values["analysis"]["sentences"]:
        assert sentence[1:] in said
    assert "does not stand beside it" not in said
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.references <= set(reader.ids)
    numbers = json.loads(text.split('id="numbers">')[1].split("</script>")[0])
    drawn = {name: chart["series"] for name, chart in numbers.items()}
    assert [name for name, *_ in drawn["learning"]] == ["adalfl, rate 0.1", "task-loss, rate 0.1"]
    assert drawn["learning"][0][2] == pytest.approx([r["valid_metric"] for r in values["records"]], rel=1e-4)
    assert drawn["rate"][0][2] == pytest.approx(
        [r["learning_rate"] * r["effective_rate"] for r in values["records"]], rel=1e-4
    )
    curves = values["snapshots"]["curves"]
    last = curves[-1]["values"][0]
    assert drawn["shape-7"][2][2] == pytest.approx([v - min(last) for v in last], rel=1e-3, abs=1e-4)
    assert len([name for name in drawn if name.startswith("shape-")]) == len(values["snapshots"]["shown"]) == 8


def test_commands_make_the_controls_and_the_run_again(
    runs: dict[str, Path],
    made: dict[str, Any],
    tmp_path: Path,
    cli: Cli,  # noqa: F811
) -> None:
    line = adaptation.contents(made, [])["command"]
    assert line.endswith(f"--out {runs['adalfl']}")
    assert cli(*shlex.split(line)[1:-1], str(tmp_path / "again")).status == 0
    config = "config.json"
    assert json.loads((tmp_path / "again" / config).read_text()) == json.loads((runs["adalfl"] / config).read_text())
    lines = adaptation.contents(made, [])["control_commands"].splitlines()
    assert [shlex.split(one)[1] for one in lines] == ["adapt", "adapt", "adapt", "report"]
    assert [one.split("--method ")[1].split()[0] for one in lines[:3]] == ["task-loss", "frozen", "learned-rate"]
    said = words(shown(made))
    assert "does not stand beside it yet" in said


@pytest.mark.parametrize(
    "changes",
    [{"output": "softplus"}, {"offline_meta_lr": 0.5}, {"records": 7}],
    ids=lambda changes: next(iter(changes)),
)
def test_what_the_command_line_has_no_option_for(changes: dict[str, Any]) -> None:
    recipe = {"name": "wine", "model": "mlp", "seed": 0, "model_options": {}}
    assert adapt_command(recipe, AdaptSettings(nesterov=True, momentum=0.9, clip=1.0).to_json()) == (
        "symloss adapt wine --model mlp --split-seed 0 --momentum 0.9 --nesterov --clip 1.0"
    )
    assert adapt_command(recipe, AdaptSettings(**changes).to_json()) is None
    assert adapt_command(None, AdaptSettings().to_json()) is None


@pytest.mark.parametrize("kind", ["regression", "nothing recorded", "diverged", "own task", "cut off"])
def test_other_runs(made: dict[str, Any], kind: str) -> None:
    changes: dict[str, Callable[[], Any]] = {
        "regression": lambda: made.update(kind="regression"),
        "nothing recorded": lambda: made.update(
            records=[], analysis=None, snapshots={"targets": [], "predictions": [], "curves": [], "shown": []}
        ),
        "diverged": lambda: (made["metrics"].update(test=None), made["records"][-1].update(valid_metric=None)),
        "own task": lambda: made.update(recipe=None),
        "cut off": lambda: made.update(stopped="interrupted", steps_done=5, trouble="the loss has collapsed"),
    }
    changes[kind]()
    said = words(shown(made))
    expected = {
        "regression": f"than {NOUNS['regression']}?", "nothing recorded": "does not stand beside it",
        "diverged": "diverged",
        "own task": "All settings", "cut off": "It has not done all steps (interrupted)",
    }  # fmt: skip
    assert expected[kind] in said
    assert ("symloss adapt" in said) == (kind != "own task")
    assert ("A warning: the loss has collapsed." in said) == (kind == "cut off")


def test_no_text_becomes_markup(made: dict[str, Any]) -> None:
    settings = {**made["settings"], BAD: BAD}
    hostile = {
        **made,
        "task": BAD,
        "metric": BAD,
        "stopped": BAD,
        "trouble": BAD,
        "directory": BAD,
        "settings": settings,
    }
    hostile["versions"] = {BAD: BAD}
    text = shown(hostile, hostile)
    assert "<b>" not in text
    assert "49" not in words(text).replace("0.49", "")
    assert "{{7*7}}" in words(text)


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no records": lambda run: run.pop("records"),
    "a word for a number": lambda run: run["records"][0].update(effective_rate="much"),
    "a short curve": lambda run: run["snapshots"]["curves"][0]["values"][0].pop(),
    "a place that is not there": lambda run: run["snapshots"].update(shown=[99]),
    "another format": lambda run: run.update(format="x"),
    "an unknown method": lambda run: run["settings"].update(method=BAD),
    "a look without a pull": lambda run: run["analysis"]["looks"][0].pop("pull"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage(damage: str, made: dict[str, Any], tmp_path: Path) -> None:
    DAMAGES[damage](made)
    (tmp_path / "result.json").write_text(json.dumps(made))
    with pytest.raises(RunError, match=r"result.json is damaged \(.*\); the same symloss adapt writes it again"):
        report(tmp_path, tmp_path / "a.html")


def test_mistakes(runs: dict[str, Path], tmp_path: Path, cli: Cli) -> None:  # noqa: F811
    adapted, place = runs["adalfl"], tmp_path / "a.html"
    with pytest.raises(EvaluationError, match="has no evaluation"):
        report(adapted, place, evaluate=True)
    with pytest.raises(RunError, match="is no directory of a run of adapt"):
        report(adapted, place, beside=[tmp_path])
    sl.adapt("iris", out=tmp_path / "iris", **{**OPTIONS, "steps": 1, "offline_steps": 1})
    with pytest.raises(RunError, match="is on another task"):
        report(adapted, place, beside=[tmp_path / "iris"])
    (tmp_path / "iris" / "result.json").unlink()
    with pytest.raises(RunError, match=r"has no result\.json yet"):
        report(tmp_path / "iris", place)
    assert not place.exists()
    answer = cli("report", str(tmp_path), "--beside", str(adapted))
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    answer = cli("report", str(adapted), "--beside", str(runs["task-loss"]))
    assert (answer.status, answer.out) == (0, f"wrote {adapted / 'report.html'}\n")
