"""Tables of the user's own: .csv, .tsv and .npz files, true and damaged."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest
import torch

from symloss.errors import TaskError
from symloss.tasks import load_task
from symloss.tasks.sources.tables import table

X = np.round(np.random.default_rng(0).normal(size=(40, 3)), 4)
REAL = np.round(X @ [1.0, 2.0, 3.0] + 7, 4)
WORDS = np.array(["no", "yes", "maybe"])[np.arange(40) % 3]


def text(y, heading="a,b,c,price", delimiter=","):
    lines = [delimiter.join([*map(str, row), str(target)]) for row, target in zip(X, y, strict=True)]
    return "\n".join([*([heading.replace(",", delimiter)] if heading else []), *lines]) + "\n"


def read(path, **options):
    record = table(path, **options)
    return record, record.load()


@pytest.mark.parametrize("heading", ["a,b,c,price", ""])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_file(tmp_path, heading, delimiter):
    path = tmp_path / "My houses.csv"
    path.write_text("\ufeff" + text(REAL, heading, delimiter), encoding="utf-8")
    record, samples = read(path)
    assert (record.name, record.kind) == ("my-houses", "regression")
    assert np.array_equal(samples.x.numpy(), X)
    assert np.array_equal(samples.y.flatten().numpy(), REAL)


def test_columns_that_are_called_by_their_place(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text(WORDS, "0,1,2,label"))
    samples = read(path)[1]
    assert len(samples) == 40
    assert samples.y.max() == 2


def test_the_target_by_name_or_number(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text(REAL))
    assert np.array_equal(read(path, target="b")[1].y.flatten().numpy(), X[:, 1])
    path.write_text(text(REAL, ""))
    assert np.array_equal(read(path, target="1")[1].x.numpy(), np.c_[X[:, 1:], REAL])


@pytest.mark.parametrize(
    ("y", "kind", "classes"),
    [
        (WORDS, "multiclass", [1, 2, 0]),
        (np.arange(40) % 3 + 5, "multiclass", [0, 1, 2]),
        (np.arange(40) % 2 * 2 - 1, "binary", [0, 1]),
        (np.array(["n", "y"])[np.arange(40) % 2], "binary", [0, 1]),
        (np.arange(40), "regression", None),
    ],
)
def test_the_kind_is_told_by_the_targets(tmp_path, y, kind, classes):
    path = tmp_path / "t.tsv"
    path.write_text(text(y, delimiter="\t"))
    record, samples = read(path)
    assert record.kind == kind
    if classes:
        assert samples.y.flatten().tolist() == (classes * 40)[:40]


def test_a_kind_that_is_given(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text(np.arange(40) % 2))
    assert read(path, kind="regression")[0].kind == "regression"
    assert load_task(path, kind="multiclass").outputs == 2


def test_a_task_from_a_file_knows_how_to_be_loaded_again(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text(text(REAL))
    monkeypatch.chdir(tmp_path)
    task = load_task("t.csv", target="c", seed=3, hidden=4)
    assert task.recipe == {
        "name": os.path.join(os.getcwd(), "t.csv"), "model": "mlp", "seed": 3, "model_options": {"hidden": 4},
        "options": {"target": "c", "kind": "regression"},
    }  # fmt: skip
    monkeypatch.chdir("/")
    recipe = task.recipe
    again = load_task(recipe["name"], recipe["model"], recipe["seed"], **recipe["options"], **recipe["model_options"])
    assert again.identity() == task.identity()


def test_npz_archives(tmp_path):
    path = tmp_path / "t.npz"
    np.savez(path, X=X, Y=np.arange(40)[:, None] % 4)
    record, samples = read(path)
    assert (record.kind, samples.test) == ("multiclass", None)
    assert np.array_equal(samples.x.numpy(), X)
    np.savez(path, x=X, price=REAL, y=WORDS)
    assert read(path, target="price")[0].kind == "regression"


def test_npz_archives_of_images_with_a_test_part(tmp_path):
    path = tmp_path / "mnist.npz"
    x = np.random.default_rng(0).integers(0, 256, size=(50, 6, 7), dtype=np.uint8)
    np.savez(path, x_train=x[:40], y_train=np.arange(40) % 2, x_test=x[40:], y_test=np.arange(10) % 2)
    _, samples = read(path, kind="multiclass")
    assert samples.x.shape == (50, 1, 6, 7)
    assert samples.x.dtype == torch.uint8
    assert samples.test.sum() == 10
    assert len(load_task(path).test) == 10
    np.savez(path, x=np.stack([x] * 3, axis=3), y=np.arange(50) % 2)
    assert np.array_equal(read(path)[1].x.numpy(), np.stack([x] * 3, axis=1))


CSV = {
    "nothing": ("", {}, "is empty; give a row for each sample"),
    "blank lines": ("\n\n\n", {}, "is empty"),
    "heading only": ("a,b,y\n", {}, "has a heading and no rows"),
    "ragged row": (text(REAL) + "1,2,3\n", {}, "line 42: 3 cells, where the first row has 4"),
    "NaN": (text(REAL) + "1,2,nan,4\n", {}, "line 42: 'nan' in column 'c' is not finite"),
    "infinity": (text(REAL) + "1,2,3,-inf\n", {}, "line 42: '-inf' in column 'price' is not finite"),
    "empty cell": (text(REAL) + "1,,3,4\n", {}, "line 42: column 'b' is empty"),
    "empty target": (text(WORDS) + "1,2,3,\n", {}, "line 42: column 'price' is empty"),
    "word among numbers": (text(REAL) + "1,2,three,4\n", {}, "line 42: 'three' in column 'c' is no number; encode"),
    "word among targets": (text(REAL) + "1,2,3,four\n", {}, "line 42: 'four' in column 'price' is no number"),
    "one column": ("a\n1\n2\n", {}, "has one column"),
    "numbered rows": (",a,y\n0,5.5,1.5\n1,6.5,2.5\n", {}, r"numbers its rows .* write it without \(index=False\)"),
    "equal columns": ("a,a,y\n1,2,3\n", {}, "has two columns 'a'"),
    "one class": (text(["yes"] * 40), {}, r"one class only \(yes\) in 40 samples"),
    "one number": (text([3] * 40), {}, r"one class only \(3.0\) in 40 samples"),
    "classes everywhere": (text([f"id{i}" for i in range(40)]), {}, "40 different targets .* choose the column"),
    "real classes": (text(REAL), {"kind": "multiclass"}, "different targets .* kind='regression'"),
    "three classes for two": (text(WORDS), {"kind": "binary"}, r"3 classes \(maybe, no, yes\), a binary task two"),
    "words for numbers": (text(WORDS), {"kind": "regression"}, "words such as 'maybe' for targets"),
    "unknown target": (text(REAL), {"target": "prize"}, "unknown column of 't.csv': 'prize'; did you mean 'price'"),
    "unknown kind": (text(REAL), {"kind": "binari"}, "unknown kind of task 'binari'; did you mean 'binary'"),
    "target of a type": (text(REAL), {"target": 3}, "target is a text; received 3"),
    "a heading of numbers": (text(WORDS, "2019,2020,2021,label"), {}, r"line 1: .*a heading or a sample\? 'label'"),
    "few rows": ("a,y\n1,2.5\n2,3.5\n", {}, "too few for three splits"),
    "open quote": ('a,b\n1,"2\n', {}, "cannot be read as comma-separated text"),
    "no text": (b"\xff\xfe\x00\x01,\n", {}, "cannot be read as comma-separated text in UTF-8"),
}


@pytest.mark.parametrize("case", CSV)
def test_damaged_csv_files_are_refused_in_one_line(tmp_path, case):
    contents, options, message = CSV[case]
    (tmp_path / "t.csv").write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    with pytest.raises(TaskError, match=message) as caught:
        load_task(tmp_path / "t.csv", **options)
    assert "\n" not in str(caught.value)


class Trap:
    """Whoever unpickles it has executed code."""

    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def _save(**arrays):
    return lambda path: np.savez(path, **arrays)


def _one_array(path):
    with path.open("wb") as file:
        np.save(file, X)


def _too_large(path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**13, 3)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", head.getvalue())


NPZ = {
    "objects": (_save(x=X, y=np.array([Trap()] * 40, dtype=object)), {}, "holds objects, which could execute code"),
    "a pickle": (lambda path: path.write_bytes(b"\x80\x04N."), {}, "holds objects, which could execute code"),
    "nonsense": (lambda path: path.write_bytes(b"PK\x03\x04nonsense"), {}, "no archive of arrays"),
    "nothing": (lambda path: path.write_bytes(b""), {}, "no archive of arrays"),
    "one array": (_one_array, {}, r"^\S+t\.npz holds a single array; write it with numpy.savez"),
    "more than memory holds": (_too_large, {}, "Unable to allocate .*; write it with numpy.savez"),
    "words in one part": (
        _save(x_train=X, y_train=WORDS, x_test=X[:9] + 1, y_test=np.arange(9)), {}, "y_train holds words, y_test numb"
    ),
    "no y": (_save(x=X, z=REAL), {}, "unknown array of 't.npz': 'y'; .*known: x, z"),
    "no target": (_save(x=X, y=REAL), {"target": "Z"}, "unknown array of 't.npz': 'z'"),
    "lengths": (_save(x=X, y=REAL[:9]), {}, r"received \[40, 3\] and \[9\]"),
    "flat": (_save(x=REAL, y=REAL), {}, r"x must be \[N, features, ...\]"),
    "parts differ": (
        _save(x_train=X, y_train=REAL, x_test=X[:, :2], y_test=REAL), {}, "x_test must be .* of one shape in all parts"
    ),
    "NaN": (_save(x=X * np.nan, y=REAL), {}, "t inputs hold 120 values that are NaN"),
    "NaN targets": (_save(x=X, y=REAL * np.nan), {}, "NaN"),
    "NaN classes": (_save(x=X, y=REAL * np.nan), {"kind": "multiclass"}, "targets that are NaN or infinite"),
    "words": (_save(x=X.astype(str), y=REAL), {}, "t inputs must be numbers"),
    "complex": (_save(x=X, y=REAL * 1j), {}, "must be numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", NPZ)
def test_damaged_npz_archives_are_refused_in_one_line(tmp_path, case):
    write, options, message = NPZ[case]
    write(tmp_path / "t.npz")
    with pytest.raises(TaskError, match=message) as caught:
        load_task(tmp_path / "t.npz", **options)
    assert "\n" not in str(caught.value)


def test_a_cut_archive(tmp_path):
    np.savez(tmp_path / "t.npz", x=X, y=REAL)
    whole = (tmp_path / "t.npz").read_bytes()
    for count in (10, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "t.npz").write_bytes(whole[:count])
        with pytest.raises(TaskError, match="archive of arrays"):
            load_task(tmp_path / "t.npz")


def test_names_that_are_no_files(tmp_path):
    with pytest.raises(TaskError, match=r"there is no file '/no/where\.csv'"):
        load_task("/no/where.csv")
    with pytest.raises(TaskError, match="target and kind are for files; task 'wine' has its own"):
        load_task("wine", target="y")
    with pytest.raises(TaskError, match=r"cannot look for '.*csv': File name too long"):
        load_task("x" * 5000 + ".csv")
