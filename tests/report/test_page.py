"""The page of a run: what it says, that equal runs give equal bytes, and that no text of a run becomes markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import symloss as sl
from symloss.discovery.archive import STAGES
from symloss.discovery.result import SearchResult, load_run
from symloss.errors import EvaluationError, OutputError, RunError
from symloss.report import measured, repeat
from symloss.report.page import embedded_json, page, report
from tests.cli.conftest import Cli, _made, cli, run  # noqa: F401 - fixtures
from tests.discovery.fakes import make_task
from tests.report.runs import evaluated, make_result
from tests.strategies import expressions

VOID = {"meta", "br", "path", "img", "link", "input", "hr"}


class Reader(HTMLParser):
    """Elements, ids, references and visible text of a page; fails where tags do not close each other."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "xlink:href", "src"):
                assert str(value).startswith("#"), "the page points to nothing but itself"
                self.references.add(str(value)[1:])
            if name in ("data-copy", "data-loss", "aria-labelledby"):
                self.references.add(str(value))
            self.references |= set(re.findall(r"url\(#([^)]*)\)", str(value)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data


def words(text: str) -> str:
    return " ".join(Reader(text).text.split())


@pytest.fixture(scope="module")
def small() -> SearchResult:
    return make_result()


@pytest.fixture(scope="module")
def text(small: SearchResult) -> str:
    return page(small, measured.Measured())


class TestContent:
    def test_of_a_real_run(self, run: Path) -> None:  # noqa: F811
        result = load_run(run)
        place = report(run, run / "report.html")
        shown = place.read_text(encoding="utf-8")
        said = words(shown)
        assert "A loss function for wine" in said
        assert str(result.best.loss.expression) in said
        assert "<math" in shown
        for candidate in result.front:
            assert f'id="loss-{candidate.id}"' in shown
            assert str(candidate.loss.expression) in said
        for stage in STAGES:
            assert stage in said
        assert "this has not been measured" in said.lower()
        assert f"symloss report {run} --evaluate" in said
        for name, version in result.versions.items():
            assert f"{name} {version}" in said
        assert "label smoothing" in said
        assert shlex.join(["--out", str(run)]) in said
        assert result.best.loss.source().splitlines()[-1].strip() in said

    def test_every_reference_is_there_once(self, text: str) -> None:
        reader = Reader(text)
        assert len(reader.ids) == len(set(reader.ids))
        assert reader.references <= set(reader.ids)

    def test_nothing_is_loaded_and_only_its_own_script_runs(self, text: str) -> None:
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
        assert policy is not None
        rules = policy[1].replace("&#39;", "'")
        assert rules.startswith("default-src 'none'")
        (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in rules
        assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"|http://www\.w3\.org/2000/svg|http-equiv', "", text)

    def test_charts_have_their_numbers(self, text: str) -> None:
        (block,) = re.findall(r'<script type="application/json" id="numbers">(.*?)</script>', text, re.S)
        assert set(json.loads(block)) == set(re.findall(r'data-chart="([^"]*)"', text))

    def test_equal_runs_give_equal_bytes(self, run: Path) -> None:  # noqa: F811
        first = report(run, run / "a.html").read_bytes()
        assert report(run, run / "b.html").read_bytes() == first
        done = subprocess.run(
            [sys.executable, "-c", f"import symloss as sl; sl.report({str(run)!r}, {str(run / 'c.html')!r})"],
            capture_output=True, check=True,
        )  # fmt: skip
        assert done.stderr == b""
        assert (run / "c.html").read_bytes() == first

    def test_a_large_front_is_a_small_file(self) -> None:
        formulas = tuple("+".join(["square(1.25*f-0.75*y)"] * k) for k in range(1, 14))
        made = page(make_result(formulas=formulas), measured.Measured())
        assert made.count("<article") == 13
        assert len(made.encode()) < 3_000_000


class TestKinds:
    def test_binary(self) -> None:
        said = words(page(make_result("binary", ("-y*log(f) - (1 - y)*log(1 - f)",)), measured.Measured()))
        assert "the label, 0 or 1" in said
        assert "This binary loss" in said

    def test_regression(self, text: str) -> None:
        assert "residual f − y" in text
        assert "squared-error" in text
        assert "Is it label smoothing?" not in text
        assert "this loss, y = −1" in text  # of losses that depend on more than the residual

    def test_nothing_accepted(self, small: SearchResult) -> None:
        none = replace(small, candidates=small.candidates[-1:])
        said = words(page(none, measured.Measured()))
        assert "none was good enough to train a model with" in said
        assert "What became of 1 candidates" in said

    def test_nothing_done(self, small: SearchResult) -> None:
        none = replace(small, candidates=(), history=(), stopped="not finished", seconds=0.0, versions={})
        said = words(page(none, measured.Measured()))
        assert "This run holds no candidates yet" in said
        assert "No generation was completed" in said
        assert "unknown: the run ended before its first checkpoint" in said

    def test_cut_off(self, run: Path) -> None:  # noqa: F811
        """Killed before its first checkpoint, the run has candidates and no history."""
        (run / "checkpoint.json").unlink()
        for name in ("front.csv", "best.json"):
            (run / name).unlink(missing_ok=True)
        lines = (run / "candidates.jsonl").read_text().splitlines()
        (run / "candidates.jsonl").write_text(f"{lines[0]}\n{lines[1][:20]}")
        said = words(report(run, run / "report.html").read_text())
        assert "The search has done 0 of 2 generations (not finished)" in said

    def test_a_task_of_ones_own(self) -> None:
        stages: dict[str, Any] = {"refinement_steps": 2, "fitness_steps": 5, "rejection_steps": 5}
        result = sl.discover(make_task(), population_size=6, generations=1, guesses=["square(y - f)"], **stages)
        said = words(page(result, measured.Measured()))
        assert "`task` is the one of your own that the run was on: 'planted'" in said
        assert "In the shell" not in said
        assert "loss = result.best.loss" in said
        assert 'sl.report(result, "report.html", evaluate=True, task=task)' in said

    def test_networks(self, cli: Cli) -> None:  # noqa: F811
        words_ = ["--population", "2", "--generations", "1", "--method", "ml3", "--set", "fitness_steps=20"]
        assert cli("discover", "wine", "--out", "r", "--set", "refinement_steps=2", *words_).status == 0
        assert cli("report", "r").status == 0
        said = words(Path("r/report.html").read_text())
        assert "a network of 2650 weights, without a formula" in said
        assert "loss networks, learnt by refinement alone" in said

    def test_tokens(self) -> None:
        recipe = {
            "name": "surnames", "model": "charcnn", "seed": 0, "model_options": {},
            "options": {"train_samples": 500, "clean_validation": True, "augment": True, "root": "a b"},
        }  # fmt: skip
        result = make_result("multiclass", ("abs(log(1.1*y*f))",), recipe=recipe, name="surnames, 500 samples")
        said = words(page(result, measured.Measured()))
        for option in ("--train-samples 500", "--clean-validation", "--augment crop,flip", "--data 'a b'"):
            assert option in said
        assert "train_samples=500, clean_validation=True, augment=True, root='a b'" in said

    def test_too_large_to_be_drawn(self) -> None:
        large = "f"
        for _ in range(9):
            large = f"({large} + {large})"
        assert "too large to be drawn" in page(make_result(formulas=(f"{large} - y",)), measured.Measured())


class TestMeasured:
    def test_it_is_shown_with_its_intervals(self, small: SearchResult) -> None:
        found = evaluated(small)
        said = words(page(small, measured.matched(small, found)))
        row = found["found"]
        assert found.interval(row.score).replace("-", "−") in said
        assert found.interval(row.difference, signed=True).replace("-", "−") in said
        assert found.verdicts["found"] in said
        assert "has not been measured" not in said
        assert "Tuning of the learning rate" in said

    def test_that_of_the_run_is_picked_up(self, run: Path, cli: Cli) -> None:  # noqa: F811
        options = ["--seeds", "2", "--steps", "5", "--out", str(run / "evaluation.json")]
        assert cli("evaluate", str(run), *options).status == 0
        assert cli("report", str(run)) == (0, f"wrote {run}/report.html\n", "")
        said = words((run / "report.html").read_text())
        assert "2 seeds, 5 steps of batch 128" in said
        shutil.move(run / "evaluation.json", run / "elsewhere.json")
        assert "this has not been measured" in words(report(run, run / "report.html").read_text()).lower()
        again = report(run, run / "report.html", evaluation=run / "elsewhere.json").read_text()
        assert "2 seeds, 5 steps of batch 128" in words(again)

    def test_it_is_made_on_demand(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
        monkeypatch.setattr(measured, "SEEDS", 2)
        asked = report(run, run / "report.html", evaluate=True).read_text()
        assert "2 seeds, 20 steps of batch 128" in words(asked)
        assert report(run, run / "b.html").read_text() == asked  # read back from the run

    def test_other_losses_are_not_passed_off(self, small: SearchResult, tmp_path: Path) -> None:
        other = evaluated(small, rows=tuple(replace(r, formula="y*f*f") for r in evaluated(small).rows))
        said = words(page(small, measured.matched(small, other)))
        assert "it is an evaluation of other losses than those on the front of this run" in said
        assert "has not been measured" in said
        (tmp_path / "e.json").write_text(json.dumps(other.to_json()))
        with pytest.raises(EvaluationError, match="other losses"):
            measured.read(small, tmp_path / "e.json")
        (tmp_path / "e.json").write_text(json.dumps(evaluated(small, task="wine").to_json()))
        with pytest.raises(EvaluationError, match="another task"):
            measured.read(small, tmp_path / "e.json")

    @pytest.mark.parametrize("content", ["", "[1]", "{}", '{"protocol": NaN}', "[" * 100_000, "\ud800"])
    def test_damaged(self, small: SearchResult, tmp_path: Path, content: str) -> None:
        (tmp_path / "evaluation.json").write_bytes(content.encode("utf-8", "surrogatepass"))
        with pytest.raises(EvaluationError, match="is no evaluation"):
            measured.read(replace(small, directory=tmp_path), None)

    def test_nothing_to_measure(self, small: SearchResult) -> None:
        with pytest.raises(EvaluationError, match="no loss to evaluate"):
            measured.make(replace(small, candidates=()), None)
        with pytest.raises(EvaluationError, match="give the task"):
            measured.make(small, None)
        with pytest.raises(EvaluationError, match="not both"):
            report(small, "x.html", evaluate=True, evaluation="e.json")


HOSTILE = (
    "</script><script>alert(1)</script>", "]]></style>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}{% raw %}",
    "'\"&<!--", "javascript:alert(1)", "\u2028\u202e\0\x1b[0m", "\ud800", "`$(reboot)`",
)  # fmt: skip


class TestHostileTexts:
    @given(st.one_of(st.sampled_from(HOSTILE), st.text("<>&\"'/scriptimg =({%})`$\n;", max_size=30)))
    @settings(max_examples=12)
    def test_no_text_becomes_markup(self, bad: str) -> None:
        plain, hostile = (self.made(word) for word in ("harmless", bad))
        assert hostile.tags == plain.tags
        assert hostile.attributes == plain.attributes
        visible = bad.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
        assert " ".join(visible.split()) in " ".join(hostile.text.replace("\0", "\ufffd").split())

    def made(self, word: str) -> Reader:
        recipe = {"name": word, "model": word, "seed": 0, "model_options": {"x": word}}
        result = make_result(
            formulas=("square(y - f)",), name=word, identity=word, recipe=recipe, metric=f"mean squared error {word}"
        )
        result = replace(result, directory=Path("runs") / (word.replace("\0", "") or "x"), versions={word: word})
        found = evaluated(result, metric_name=word)
        found = replace(found, rows=tuple(replace(r, name=f"{word}{k}") for k, r in enumerate(found.rows)))
        made = page(result, measured.matched(result, found)).encode("utf-8", "replace").decode()
        (block,) = re.findall(r'<script type="application/json" id="numbers">(.*?)</script>', made, re.S)
        json.loads(block)
        return Reader(made)

    @given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
    def test_json_ends_no_script(self, value: object) -> None:
        text = embedded_json(value)
        assert not set("<>&\u2028\u2029") & set(text)
        assert json.loads(text) == value

    def test_code_is_not_put_into_python_lines(self) -> None:
        recipe = {"name": "a", "model": "b", "seed": 0, "model_options": {"x=1); import os; os.remove('y')#": 1}}
        assert "import os" not in repeat.python(make_result(recipe=recipe))
        assert repeat.command(make_result(recipe=recipe)) is None
        quoted = repeat.command(make_result(recipe={**recipe, "model_options": {"x": "`$(reboot)` ; rm"}}))
        assert quoted is not None
        assert "x=`$(reboot)` ; rm" in shlex.split(quoted)

    @given(expressions(primitives="all"))
    @settings(max_examples=5)
    def test_any_formula(self, expression: sl.Expression) -> None:
        if "f" in expression.variables:
            Reader(page(make_result(formulas=(str(expression),)), measured.Measured()))


class TestRepeating:
    def test_python_lines_repeat_the_run(self, run: Path, tmp_path: Path) -> None:  # noqa: F811
        lines = repeat.python(load_run(run)).replace(repr(str(run)), repr(str(tmp_path / "again")))
        subprocess.run([sys.executable, "-c", lines], check=True, capture_output=True, cwd=tmp_path)
        again, first = load_run(tmp_path / "again"), load_run(run)
        assert again.config == first.config
        assert [(c.expression, c.fitness) for c in again.candidates] == [
            (c.expression, c.fitness) for c in first.candidates
        ]

    def test_of_another_method(self) -> None:
        result = make_result()
        result = replace(result, config=replace(result.config, method="random", guesses=(sl.parse("y*f"),)))
        assert "--method random" in str(repeat.command(result))
        assert "method='random'" in repeat.python(result)
        assert "guesses=['y*f']" in repeat.python(result)


class TestPlace:
    def test_an_earlier_report_is_replaced_and_nothing_else(self, small: SearchResult, tmp_path: Path) -> None:
        place = tmp_path / "r.html"
        place.write_text("<p>mine</p>")
        with pytest.raises(OutputError, match="is there and is no report"):
            report(small, place)
        assert place.read_text() == "<p>mine</p>"
        assert report(small, place, overwrite=True) == place
        first = place.read_bytes()
        report(small, place)
        assert place.read_bytes() == first
        assert [entry.name for entry in tmp_path.iterdir()] == ["r.html"]

    @pytest.mark.parametrize(
        ("name", "said"), [("no/r.html", "there is no directory"), (".", "is a directory"), ("a\0b", "is a directory")]
    )
    def test_where_none_can_be(self, small: SearchResult, tmp_path: Path, name: str, said: str) -> None:
        with pytest.raises(OutputError, match=said):
            report(small, f"{tmp_path}/{name}")

    def test_no_run(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="is empty"):
            report(tmp_path, tmp_path / "r.html")

    def test_the_room_is_the_function(self, small: SearchResult, tmp_path: Path) -> None:
        import symloss.report.latex

        assert sl.report(small, tmp_path / "r.html") == tmp_path / "r.html"
        assert callable(symloss.report.latex.document)


MISTAKES = {
    "no run": ("report nowhere", "is not a directory"),
    "no directory": ("report {run} --out no/r.html", "there is no directory"),
    "over a directory": ("report {run} --out .", "is a directory"),
    "over another file": ("report {run} --out {run}/config.toml", "is no report"),
    "no evaluation": ("report {run} --evaluation nowhere.json", "cannot read"),
    "a file that is none": ("report {run} --evaluation {run}/best.json", "is no evaluation"),
    "two evaluations": ("report {run} --evaluate --evaluation x.json", "not both"),
    "unwritable": ("report {run} --out /proc/r.html", "cannot write"),
}


@pytest.mark.parametrize(("line", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_on_the_command_line(cli: Cli, run: Path, line: str, said: str) -> None:  # noqa: F811
    answer = cli(*line.format(run=run).split())
    assert answer.status == 2
    assert answer.out == ""
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    assert said in answer.err


def test_a_damaged_run(cli: Cli, run: Path) -> None:  # noqa: F811
    (run / "candidates.jsonl").write_text("{}\n" * 12)
    answer = cli("report", str(run))
    assert answer.status == 2
    assert "is damaged" in answer.err
    assert not (run / "report.html").exists()
