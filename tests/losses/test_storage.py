from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symloss.errors import LossError
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.losses import SymbolicLoss, get, load, save
from tests.losses.helpers import classes, logits
from tests.strategies import any_weights, expressions


@given(
    expression=expressions(primitives="all", weights=any_weights).filter(lambda e: "f" in e.variables),
    kind=st.sampled_from(("multiclass", "binary", "regression")),
    reduction=st.sampled_from(("mean", "sum", "none")),
    trainable=st.booleans(),
)
def test_round_trip_is_exact(
    tmp_path_factory: pytest.TempPathFactory, expression: Expression, kind: str, reduction: str, trainable: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "loss.json"
    ignore = 7 if kind == "multiclass" else -100
    SymbolicLoss(expression, kind, reduction, ignore, trainable).save(path)
    loss = load(path)
    assert loss.expression == expression
    assert (loss.kind, loss.reduction, loss.ignore_index, loss.trainable) == (kind, reduction, ignore, trainable)


def test_the_current_weights_are_saved(tmp_path: Path) -> None:
    loss = SymbolicLoss("abs(log(1.1*y*f))", trainable=True)
    loss.weights.data[:] = 1 / 3
    save(loss, str(tmp_path / "loss.json"))
    again = load(tmp_path / "loss.json")
    assert again.weights.equal(loss.weights)
    assert again(logits(4, 3), classes(4, high=3)) == loss(logits(4, 3), classes(4, high=3))


def test_the_file_is_readable_json_with_notes(tmp_path: Path) -> None:
    path = tmp_path / "loss.json"
    save(SymbolicLoss("-y*log(f)"), path, notes={"task": "digits", "fitness": 0.05})
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["format"] == "symloss-loss"
    assert record["version"] == 1
    assert record["notes"] == {"task": "digits", "fitness": 0.05}
    assert parse(record["expression"]) == load(path).expression
    assert isinstance(record["symloss"], str)


def damaged(**changes: object) -> str:
    record = {
        "format": "symloss-loss",
        "version": 1,
        "expression": "y*f",
        "kind": "multiclass",
        "reduction": "mean",
        "ignore_index": -100,
        "trainable": False,
    }
    return json.dumps({key: value for key, value in {**record, **changes}.items() if value != "absent"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("{", "cut off"),
        (damaged()[:-30], "cut off"),
        (b"\xff\xfe\x00", "not JSON text"),
        ("[" * 100_000, "too deeply nested|not JSON text"),
        ("1" * 10_000, "not JSON text|not a loss"),
        ("[]", "is not a loss"),
        ("3", "is not a loss"),
        ("{}", "is not a loss"),
        (damaged(format="symloss-run"), "is not a loss"),
        (damaged(version="1"), "'version' must be a whole number"),
        (damaged(version=True), "'version' must be a whole number"),
        (damaged(version=2), "format version 2, this symloss reads up to 1; upgrade"),
        (damaged(expression="absent"), "'expression' is missing"),
        (damaged(expression=["y", "f"]), "'expression' must be str"),
        (damaged(expression="__import__('os').system('x')"), "does not hold a usable loss"),
        (damaged(expression="y*g"), "does not hold a usable loss: .*g"),
        (damaged(expression="square(y)"), "must contain the prediction f"),
        (damaged(kind="ranking"), "kind must be one of"),
        (damaged(reduction=None), "'reduction' must be str"),
        (damaged(ignore_index=1.5), "'ignore_index' must be int"),
        (damaged(ignore_index=10**40), "ignore_index must be"),
        (damaged(trainable=1), "'trainable' must be bool"),
        (damaged(notes="x" * 2_000_000), "larger than 1 MB"),
    ],
)
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "loss.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LossError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(LossError, match="there is no file"):
        load(tmp_path / "missing.json")
    with pytest.raises(LossError, match="is not a file"):
        load(tmp_path)
    with pytest.raises(LossError, match="there is no file"):
        load("a\0b.json")


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    loss = SymbolicLoss("y*f")
    with pytest.raises(LossError, match=r"cannot write .*No such file or directory"):
        loss.save(tmp_path / "missing" / "loss.json")
    (tmp_path / "file").write_text("x")
    with pytest.raises(LossError, match="cannot write"):
        loss.save(tmp_path / "file" / "loss.json")
    with pytest.raises(LossError, match="cannot write"):
        loss.save(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["file"]


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: int) -> None:
    path = tmp_path / "loss.json"
    SymbolicLoss("y*f").save(path)

    def fail(_: int) -> None:
        raise OSError(failure, os.strerror(failure))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(LossError, match=os.strerror(failure)) as caught:
        SymbolicLoss("y - f").save(path)
    assert "\n" not in str(caught.value)
    assert str(load(path).expression) == "y*f"
    assert os.listdir(tmp_path) == ["loss.json"]


def test_saving_replaces_and_follows_links(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "loss.json")
    SymbolicLoss("y*f").save(tmp_path / "link.json")
    SymbolicLoss("y - f").save(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert str(load(tmp_path / "loss.json").expression) == "y - f"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "loss.json").stat().st_mode) == 0o666 & ~mask


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(LossError, match=r"get\('cross-entropy'\) makes it anew"):
        save(get("cross-entropy"), tmp_path / "loss.json")
    for notes in ({"model": object()}, {"fitness": float("nan")}):
        with pytest.raises(LossError, match="notes must be plain values"):
            save(SymbolicLoss("y*f"), tmp_path / "loss.json", notes=notes)
    with pytest.raises(LossError, match="at most"):
        save(SymbolicLoss("y*f"), tmp_path / "loss.json", notes={"x": "x" * 2_000_000})
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("path", [5, None, b"loss.json", ["loss.json"]])
def test_what_is_no_path_is_one_line(path: object) -> None:
    for use in (load, SymbolicLoss("y*f").save):
        with pytest.raises(LossError, match="given by its path; received"):
            use(path)
    for use in (load, SymbolicLoss("y*f").save):
        with pytest.raises(LossError, match=r"loss\.json"):
            use("a\0/loss.json")


def test_a_pipe_or_device_is_never_replaced(tmp_path: Path) -> None:
    """Nor through a link: renaming over it would take the system's /dev/null away from a superuser."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(LossError, match="is no file that could be replaced"):
            SymbolicLoss("y*f").save(tmp_path / name)
        assert stat.S_ISFIFO((tmp_path / name).stat().st_mode)
