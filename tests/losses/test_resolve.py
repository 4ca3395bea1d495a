from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from symloss.errors import LossError, ParseError, SymlossError
from symloss.expression.parsing import parse
from symloss.losses import SymbolicLoss, TorchLoss, get, loss
from symloss.losses.catalogue import names


@pytest.fixture
def run(tmp_path: Path) -> Path:
    SymbolicLoss("abs(log(1.2*y*f))").save(tmp_path / "best.json")
    return tmp_path


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
def test_names(kind: str) -> None:
    for name in names(kind):
        module = loss(name, kind)
        assert (module.name, module.kind) == (name, kind)
    assert isinstance(loss("MSE", "regression"), TorchLoss)


@pytest.mark.parametrize("what", ["abs(log(1.2*y*f))", parse("abs(log(1.2*y*f))")])
def test_formulas(what: object) -> None:
    for kind in ("multiclass", "binary", "regression"):
        module = loss(what, kind)
        assert module.expression == parse("abs(log(1.2*y*f))")
        assert module.kind == kind


def test_files_and_run_directories(run: Path) -> None:
    for what in (run, str(run), run / "best.json", str(run / "best.json")):
        assert str(loss(what).expression) == "abs(log(1.2*y*f))"


def test_modules_are_returned_as_they_are() -> None:
    for module in (nn.CrossEntropyLoss(), get("focal"), SymbolicLoss("y*f")):
        assert loss(module) is module
    foreign = nn.MSELoss()
    assert loss(foreign, "regression") is foreign


def test_of_another_kind(run: Path) -> None:
    for what in (run, str(run / "best.json"), SymbolicLoss("y*f"), get("focal")):
        with pytest.raises(LossError, match="of kind 'multiclass'; wanted 'binary'"):
            loss(what, "binary")
    with pytest.raises(LossError, match="huber is for regression"):
        loss("huber")
    with pytest.raises(LossError, match="kind must be one of"):
        loss("focal", "ranking")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("focl", "unknown loss 'focl'; did you mean 'focal'?"),
        ("cross-entrpy", "did you mean 'cross-entropy'?"),
        ("wibble", "unknown loss 'wibble'; known: cross-entropy"),
        ("runs/digits", "there is no file or run directory 'runs/digits'"),
        ("missing.json", "there is no file 'missing.json'"),
        (Path("nowhere"), "there is no file 'nowhere'"),
        (3.0, "received float"),
        (None, "received NoneType"),
    ],
)
def test_what_is_no_loss(what: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LossError) as caught:
        loss(what)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["log(y", "y*g", "sin(f)*y", "__import__('os').system('x')", "", "y/*f", "y" * 2_000_000, "(" * 10_000]
)
def test_a_wrong_formula_points_at_the_character(text: str) -> None:
    with pytest.raises(SymlossError) as caught:
        loss(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_parse_errors_keep_their_position() -> None:
    with pytest.raises(ParseError) as caught:
        loss("y*log(f) + q")
    assert caught.value.position == 11


def test_a_directory_without_a_loss(tmp_path: Path) -> None:
    with pytest.raises(LossError, match=r"holds no best\.json"):
        loss(tmp_path)
    (tmp_path / "best.json").write_text("")
    with pytest.raises(LossError, match="is empty"):
        loss(tmp_path)


def test_a_directory_that_cannot_be_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(LossError, match=r"cannot read .*best\.json': Permission denied"):
        loss(run)
