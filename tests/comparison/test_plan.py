from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from symloss.comparison import plan, read_options
from symloss.errors import LossError, SymlossError, TaskError
from tests.evaluation.helpers import make_task

GOOD: dict[str, Any] = {"tasks": ["wine"], "methods": ["evomal", "focal"], "seeds": 2}


def names(**changes: Any) -> set[str]:
    return {cell.name for cell in plan(**{**GOOD, **changes}).cells}


def test_every_task_method_and_seed_is_a_cell_and_the_references_come_first() -> None:
    made = plan(["wine", {"name": "diabetes", "model": "linear"}], ["evomal", "catalogue"], seeds=[3, 7])
    shown = [str(cell) for cell in made.cells]
    assert shown[:3] == ["wine, task loss, tuned", "wine, task loss, untuned", "wine, catalogue"]
    assert shown[6:] == [
        "wine, evomal, search seed 3", "diabetes, model=linear, evomal, search seed 3",
        "wine, evomal, search seed 7", "diabetes, model=linear, evomal, search seed 7",
    ]  # fmt: skip
    assert len({cell.name for cell in made.cells}) == len(made.cells) == 10


def test_a_cell_is_named_by_what_defines_it() -> None:
    labelled = names(tasks=[{"name": "wine", "label": "W"}], methods=[{"name": "evomal", "label": "E"}, "focal"])
    assert names() == labelled
    assert names() < names(seeds=3)
    assert names(methods=["evomal"]) < names()
    for change in (
        {"tasks": [{"name": "wine", "hidden": [8]}]}, {"steps": 400}, {"training_seeds": 4}, {"rates": [0.1, 1.0]},
        {"tuning_seeds": 2}, {"momentum": 0.5},
    ):  # fmt: skip
        assert not names() & names(**change), change
    budget = names(budget={"generations": 3})
    assert len(names() & budget) == 3  # all but the two searches
    assert budget == names(methods=[{"name": "evomal", "generations": 3}, "focal"])


def test_labels_leave_directories_out() -> None:
    place = "/home/" + "long/" * 20
    made = plan([{"name": "mnist", "root": place, "model": "lenet5"}, f"{place}houses.csv"], ["focal"])
    assert [choice.label for choice in made.tasks] == ["mnist, model=lenet5", "houses.csv"]
    assert made.tasks[1].definition == {"name": f"{place}houses.csv"}


def test_a_search_is_named_without_what_comes_after_it() -> None:
    first, second = plan(**GOOD, steps=100).cells, plan(**GOOD, steps=200).cells
    assert [c.search_name for c in first] == [c.search_name for c in second]
    other = plan(**GOOD, steps=100, budget={"refine": False}).cells
    assert first[-1].search_name != other[-1].search_name


def test_own_tasks_are_known_by_their_data() -> None:
    task = make_task(double=False)
    made = plan(task, "focal")
    assert made.tasks[0].definition == {"name": "blobs", "identity": task.identity()}
    assert made.tasks[0].load() is task


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tasks": []}, "no task to compare"),
        ({"tasks": [{"label": "x"}]}, "a task is a name or a table with one"),
        ({"tasks": [{"name": "wine", "model": len}]}, "give a Task"),
        ({"tasks": [{"name": "wine", "budget": 3}]}, "the budget of task 'wine' is a table of search settings"),
        ({"tasks": [{"name": "wine", "budget": {"seed": 3}}]}, "the seeds of all searches are given by `seeds`"),
        ({"tasks": [{"name": "wine", "budget": {"sed": 3}}]}, "unknown setting 'sed'"),
        ({"tasks": [{"name": "wine", "steps": 0}]}, "steps is a whole number"),
        ({"tasks": ["wine", "wine"]}, "two tasks are called 'wine'"),
        ({"tasks": ["wine", {"name": "wine", "label": "other"}]}, "'wine' and 'other' are the same"),
        ({"tasks": [{"name": "wine", "label": "a\nb"}]}, "a label is a line of 1 to 60 characters"),
        ({"methods": ["evomall"]}, "unknown method 'evomall'; did you mean 'evomal'?"),
        ({"methods": [3]}, "a method is a name or a table with one"),
        ({"methods": [{"name": "evomal", "generation": 3}]}, "unknown setting 'generation'; known: batch_size, "),
        ({"methods": [{"name": "evomal", "generations": 0}]}, "generations is a whole number"),
        ({"methods": [{"name": "evomal", "seed": 0}]}, "the seeds of all searches are given by `seeds`"),
        ({"methods": [{"name": "focal", "gama": 1.0}]}, "has no parameter 'gama'"),
        ({"methods": [{"name": "catalogue", "loses": ["focal"]}]}, "unknown setting of method"),
        ({"methods": [{"name": "catalogue", "losses": ["focl"]}]}, "is a list of named losses"),
        ({"methods": [{"name": "evomal", "label": 3}]}, "the label of a method is a text"),
        ({"methods": [{"name": "evomal", "label": "task loss, tuned"}]}, "two methods are called"),
        ({"methods": ["focal", {"name": "focal", "label": "again"}]}, "'focal' and 'again' are the same"),
        ({"seeds": 0}, "seeds is a number of searches"),
        ({"seeds": [1, 1]}, "different whole numbers"),
        ({"seeds": True}, "seeds is a number of searches"),
        ({"seeds": "three"}, "seeds is a number of searches"),
        ({"training_seeds": 0}, "training_seeds is a whole number of at least 1; received 0"),
        ({"methods": [{"name": "catalogue", "losses": []}]}, "is a list of named losses"),
        ({"budget": {"population": 3}}, "unknown setting 'population'; known: "),
        ({"budget": {"seed": 3}}, "budget has a seed"),
        ({"stepps": 3}, "unknown option 'stepps'; known: steps, batch_size, learning_rate, rates, tuning_seeds"),
        ({"steps": 0}, "steps is a whole number"),
    ],
)
def test_mistakes_are_told_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SymlossError) as caught:
        plan(**{**GOOD, **changes})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parameters_of_losses_are_checked() -> None:
    assert plan("wine", {"name": "focal", "gamma": 3.0}).methods[0].settings == {"gamma": 3.0}
    with pytest.raises(LossError, match="gamma must lie between"):
        plan("wine", {"name": "focal", "gamma": -3.0})


def test_a_task_without_test_data_is_no_ground_for_a_comparison() -> None:
    with pytest.raises(TaskError, match="no test data"):
        plan(make_task(test=False), "focal").tasks[0].load()


# --- files

FILE = """
seeds = [1, 2]
training_seeds = 3
steps = 40
[budget]
population_size = 6
initial_depth = [2, 3]
[[tasks]]
name = "wine"
hidden = [8, 8]
label = "Wine"
[[methods]]
name = "evomal"
label = "scale-free"
scale_free = true
"""


def test_a_file_says_what_arguments_say(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(FILE)
    made = plan(**read_options(path))
    expected = plan(
        {"name": "wine", "hidden": (8, 8), "label": "Wine"},
        {"name": "evomal", "scale_free": True, "label": "scale-free"},
        seeds=[1, 2], budget={"population_size": 6, "initial_depth": (2, 3)}, training_seeds=3, steps=40,
    )  # fmt: skip
    assert made == expected
    assert made.tasks[0].load().parameters == 13 * 8 + 8 + 8 * 8 + 8 + 8 * 3 + 3
    assert json.loads(json.dumps(made.cells[-1].definition)) == made.cells[-1].definition


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds = 2", "has no tasks; add [[tasks]]"),
        ("[[tasks]]\nname = 'wine'", "has no methods"),
        (FILE.replace("steps", "stepps"), "'stepps'; known: tasks, methods, budget, seeds, training_seeds, steps, "),
        (FILE.replace("[budget]", "[[budget]]"), "[budget] is a table"),
        ("seeds = ", "is not TOML"),
        ("\udcff", "is not TOML"),
    ],
)
def test_bad_files_are_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SymlossError) as caught:
        plan(**read_options(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file() -> None:
    with pytest.raises(SymlossError, match=r"cannot read 'nowhere\.toml': No such file"):
        read_options("nowhere.toml")
