"""Data on the user's own disk: each reader on a tiny file in the true format, and on what goes wrong with it."""

from __future__ import annotations

import gzip
import pickle
import struct

import numpy as np
import pytest
import torch

from symloss.errors import TaskError
from symloss.tasks import load_task
from symloss.tasks.registry import find
from tests.tasks.sources import formats

WRITERS = {
    "mnist": lambda root: formats.write_idx(root, count=300),
    "idx": formats.write_idx,
    "fashion-mnist": lambda root: formats.write_idx(root, packed=True),
    "cifar10": formats.write_cifar10,
    "cifar100": formats.write_cifar100,
    "svhn": formats.write_svhn,
    "images": formats.write_images,
}


def rows(split):
    return {row.numpy().tobytes() for row in split.x}


@pytest.mark.parametrize("name", WRITERS)
def test_sets_are_read_from_a_directory_of_the_user(name, tmp_path):
    WRITERS[name](tmp_path)
    task = load_task(name, "linear", root=tmp_path)
    assert task.name == name
    assert task.recipe["options"] == {"root": str(tmp_path)}
    train, valid, test = map(rows, (task.train, task.valid, task.test))
    assert train.isdisjoint(valid | test)
    assert valid.isdisjoint(test)
    assert abs(task.train.x.double().mean()) < 1e-5
    again = load_task(task.recipe["name"], task.recipe["model"], 0, **task.recipe["options"])
    assert again.identity() == task.identity()


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files(tmp_path, packed):
    arrays = formats.write_idx(tmp_path, packed)
    samples = find("idx").load(root=str(tmp_path))
    assert samples.x.dtype == torch.uint8
    x = np.concatenate([arrays["train-images-idx3-ubyte"], arrays["t10k-images-idx3-ubyte"]])
    assert np.array_equal(samples.x[:, 0].numpy(), x)
    assert np.array_equal(samples.y.numpy(), np.r_[formats.labels(30), formats.labels(9)])
    assert samples.test.tolist() == [False] * 30 + [True] * 9


def test_idx_files_where_torchvision_puts_them(tmp_path):
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    formats.write_idx(tmp_path / "MNIST" / "raw")
    assert len(find("idx").load(root=str(tmp_path))) == 39


def test_idx_files_of_other_numbers(tmp_path):
    from symloss.tasks.sources.idx import read_idx

    (tmp_path / "f").write_bytes(struct.pack(">BBBBI2f", 0, 0, 0x0D, 1, 2, 1.5, -2.0))
    assert read_idx(tmp_path / "f").tolist() == [1.5, -2.0]


def test_cifar(tmp_path):
    x, y = formats.write_cifar10(tmp_path)
    samples = find("cifar10").load(root=str(tmp_path))
    assert np.array_equal(samples.x.numpy(), x)
    assert np.array_equal(samples.y.numpy(), y)
    assert samples.test.sum() == 10
    nested = tmp_path / "cifar-100-binary"
    nested.mkdir()
    x, y = formats.write_cifar100(nested)
    samples = find("cifar100").load(root=str(tmp_path))
    assert np.array_equal(samples.y.numpy(), y)
    assert np.array_equal(samples.x.numpy(), x)


def test_svhn(tmp_path):
    x, y = formats.write_svhn(tmp_path)
    samples = find("svhn").load(root=str(tmp_path))
    assert np.array_equal(samples.x.numpy(), x)
    assert np.array_equal(samples.y.numpy(), y)


def test_folders_of_images(tmp_path):
    formats.write_images(tmp_path, ("b", "a", "c"), 5)
    samples = find("images").load(root=str(tmp_path), image_size=7)
    assert samples.x.shape == (15, 3, 7, 7)
    assert samples.y.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert samples.test is None
    (tmp_path / "a" / "0.png").write_bytes((tmp_path / "b" / "1.png").read_bytes())
    changed = find("images").load(root=str(tmp_path), image_size=7)
    assert torch.equal(changed.x[0], changed.x[6])
    assert not torch.equal(samples.x[0], changed.x[0])


def test_hidden_and_empty_folders_are_no_classes(tmp_path):
    formats.write_images(tmp_path, (".ipynb_checkpoints", "b", "c"), 5)
    (tmp_path / "a").mkdir()
    assert find("images").load(root=str(tmp_path)).y.tolist() == [0] * 5 + [1] * 5


def test_folders_of_images_with_an_official_test_part(tmp_path):
    for part, each in (("train", 8), ("val", 3)):
        formats.write_images(tmp_path / part, each=each)
    samples = find("images").load(root=str(tmp_path))
    assert samples.test.tolist() == [False] * 16 + [True] * 6
    assert len(load_task("images", root=tmp_path, image_size=8).test) == 6


# What goes wrong


def _images_name(root):
    return root / "train-images-idx3-ubyte"


def _write(path, contents):
    path.write_bytes(contents)


def _cut(path, count=-3):
    path.write_bytes(path.read_bytes()[:count])


def _mat(path, **arrays):
    from scipy.io import savemat

    savemat(path, arrays)


BAD = {
    "no directory": ("cifar10", lambda root: root.rename(root.with_name("moved")), "there is no directory"),
    "missing file": ("cifar10", lambda root: (root / "data_batch_3.bin").unlink(), "does not hold all of data_batch_1"),
    "wrong magic": ("idx", lambda root: _write(_images_name(root), b"\x89PNG12345678"), "not an IDX file: .* 89 50 4e"),
    "unknown type": ("idx", lambda root: _write(_images_name(root), b"\0\0\x07\x01\0\0\0\0"), "is not an IDX file"),
    "empty file": ("idx", lambda root: _write(_images_name(root), b""), "is not an IDX file: it begins with nothing"),
    "short head": ("idx", lambda root: _cut(_images_name(root), 9), "is not an IDX file"),
    "short body": ("idx", lambda root: _cut(_images_name(root)), "holds 597 bytes of values, its head says 600"),
    "long body": (
        "idx", lambda root: _write(_images_name(root), formats.idx(formats.images(30, 4, 5)) + b"1"), "601 bytes"
    ),
    "huge head": (
        "idx", lambda root: _write(_images_name(root), struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3)),
        "holds 0 bytes of values",
    ),
    "no values": (
        "idx",
        lambda root: [_write(p, formats.idx(np.zeros((0, 4, 5)[: 1 + 2 * ("im" in p.name)]))) for p in root.iterdir()],
        "data hold no samples",
    ),
    "fewer labels": (
        "idx", lambda root: _write(root / "train-labels-idx1-ubyte", formats.idx(formats.labels(29))),
        r"do not belong together: images \[30, 4, 5\], labels \[29\]",
    ),
    "other test size": (
        "idx", lambda root: _write(root / "t10k-images-idx3-ubyte", formats.idx(formats.images(9, 5, 5))),
        "do not belong together",
    ),
    "labels for images": (
        "idx", lambda root: _write(_images_name(root), formats.idx(formats.labels(30))), "do not belong together"
    ),
    "cut gzip": ("fashion-mnist", lambda root: _cut(root / "train-images-idx3-ubyte.gz"), "is a damaged gzip file"),
    "no gzip": (
        "fashion-mnist", lambda root: _write(root / "train-labels-idx1-ubyte.gz", b"hello"), "is a damaged gzip file"
    ),
    "bad gzip": (
        "fashion-mnist",
        lambda root: _write(root / "train-labels-idx1-ubyte.gz", gzip.compress(b"x" * 99)[:12] + b"\xff" * 30),
        "is a damaged gzip file",
    ),
    "version for Python": (
        "cifar10", lambda root: [(root / "cifar-10-batches-py").mkdir(), (root / "test_batch.bin").unlink()],
        "does not hold all of .*; pickles, the version for Python, are not read",
    ),
    "odd length": ("cifar10", lambda root: _cut(root / "data_batch_2.bin", -1), "30729 bytes, no multiple of 3073"),
    "empty batch": ("cifar10", lambda root: _write(root / "test_batch.bin", b""), "it has 0 bytes"),
    "pickled batch": (
        "cifar10", lambda root: _write(root / "data_batch_1.bin", pickle.dumps({b"data": [0]})), "of another format"
    ),
    "label out of range": (
        "cifar10", lambda root: _write(root / "test_batch.bin", b"\x0a" + b"\0" * 3072), "a label is 10, the 10 classes"
    ),
    "cifar10 for cifar100": ("cifar100", lambda root: _cut(root / "train.bin", 3073), "no multiple of 3074"),
    "no mat": ("svhn", lambda root: _write(root / "train_32x32.mat", b"nonsense" * 99), "cannot be read as a .mat"),
    "empty mat": ("svhn", lambda root: _write(root / "train_32x32.mat", b""), "cannot be read as a .mat file"),
    "cut mat": ("svhn", lambda root: _cut(root / "train_32x32.mat", 5000), "cannot be read as a .mat file"),
    "other arrays": ("svhn", lambda root: _mat(root / "test_32x32.mat", Z=np.ones(3)), r"must hold X \[32, 32, 3, N\]"),
    "other shape": (
        "svhn", lambda root: _mat(root / "test_32x32.mat", X=np.ones((4, 32, 32, 3), np.uint8), y=np.ones((4, 1))),
        r"it has X uint8 \[4, 32, 32, 3\]",
    ),
    "labels from 0": (
        "svhn", lambda root: _mat(root / "test_32x32.mat", X=np.ones((32, 32, 3, 2), np.uint8), y=np.array([[0], [3]])),
        "labels must be 1 to 10; received 0 to 3",
    ),
    "no image": ("images", lambda root: _write(root / "cat" / "3.png", b"nonsense"), "3.png cannot be read as an"),
    "cut image": ("images", lambda root: _cut(root / "cat" / "3.png", 60), "3.png cannot be read as an image"),
    "one folder": ("images", lambda root: (root / "dog").rename(root.with_name("dog")), "has 6 images in 1 folders"),
    "one class": ("images", lambda root: [p.unlink() for p in (root / "dog").iterdir()], "has 6 images in 1 folders"),
    "no images": (
        "images", lambda root: [p.unlink() for name in ("cat", "dog") for p in (root / name).iterdir()],
        "has 0 images in 0 folders; give a directory with one folder",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_damaged_data_are_refused_in_one_line(case, tmp_path):
    name, damage, message = BAD[case]
    root = tmp_path / "data"
    root.mkdir()
    WRITERS[name](root)
    damage(root)
    with pytest.raises(TaskError, match=message) as caught:
        load_task(name, "linear", root=root)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_directory_must_be_given_and_only_where_one_is_read(tmp_path):
    with pytest.raises(
        TaskError, match=r"'cifar10' is read from a directory of yours \(data_batch_1.*root=.*--data DIR"
    ):
        load_task("cifar10")
    with pytest.raises(TaskError, match="'wine' is not read from a directory; leave root="):
        load_task("wine", root=tmp_path)
    with pytest.raises(TaskError, match="task 'wine' has no option 'image_size'"):
        load_task("wine", image_size=3)
    with pytest.raises(TaskError, match="task 'cifar10' has no option 'image_size'"):
        load_task("cifar10", root=tmp_path, image_size=3)
    with pytest.raises(TaskError, match="image_size is a whole number from 1 to 1024; received 0"):
        load_task("images", root=tmp_path, image_size=0)
    with pytest.raises(TaskError, match="is a directory; for images in folders give the task 'images'"):
        load_task(str(tmp_path))
