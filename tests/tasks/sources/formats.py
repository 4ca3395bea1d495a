"""Tiny data sets in the true formats, written byte by byte."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

GENERATOR = np.random.default_rng(0)


def images(count: int, *shape: int) -> np.ndarray:
    return GENERATOR.integers(0, 256, size=(count, *shape), dtype=np.uint8)


def labels(count: int, classes: int = 3) -> np.ndarray:
    return (np.arange(count) % classes).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def write_idx(root: Path, packed: bool = False, count: int = 30) -> dict[str, np.ndarray]:
    """The four files of MNIST, of 4 × 5 pixels."""
    arrays = {
        "train-images-idx3-ubyte": images(count, 4, 5), "train-labels-idx1-ubyte": labels(count),
        "t10k-images-idx3-ubyte": images(9, 4, 5), "t10k-labels-idx1-ubyte": labels(9),
    }  # fmt: skip
    for name, array in arrays.items():
        if packed:
            (root / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (root / name).write_bytes(idx(array))
    return arrays


def cifar(x: np.ndarray, *y: np.ndarray) -> bytes:
    return np.concatenate([*(column[:, None] for column in y), x.reshape(len(x), -1)], axis=1).tobytes()


def write_cifar10(root: Path) -> tuple[np.ndarray, np.ndarray]:
    x, y = images(60, 3, 32, 32), labels(60, 10)
    for number in range(5):
        part = slice(10 * number, 10 * number + 10)
        (root / f"data_batch_{number + 1}.bin").write_bytes(cifar(x[part], y[part]))
    (root / "test_batch.bin").write_bytes(cifar(x[50:], y[50:]))
    return x, y


def write_cifar100(root: Path) -> tuple[np.ndarray, np.ndarray]:
    x, fine = images(500, 3, 32, 32), labels(500, 100)
    for name, part in (("train.bin", slice(400)), ("test.bin", slice(400, 500))):
        (root / name).write_bytes(cifar(x[part], fine[part] // 5, fine[part]))
    return x, fine


def write_svhn(root: Path) -> tuple[np.ndarray, np.ndarray]:
    from scipy.io import savemat

    x, y = images(60, 3, 32, 32), labels(60, 10)
    for name, part in (("train_32x32.mat", slice(40)), ("test_32x32.mat", slice(40, 60))):
        mat_labels = np.where(y[part] == 0, 10, y[part])[:, None]
        savemat(root / name, {"X": x[part].transpose(2, 3, 1, 0), "y": mat_labels})
    return x, y


def write_images(root: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 6) -> None:
    from PIL import Image

    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(each):
            Image.fromarray(images(1, 6, 8, 3)[0]).save(root / name / f"{number}.png")
