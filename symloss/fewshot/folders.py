"""Few-shot image sets that users have on disk, in the layouts in which they are passed around."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from symloss.errors import TaskError
from symloss.fewshot.episodes import ClassSet, ClassSplits
from symloss.tasks import cache
from symloss.tasks.sources.images import SUFFIXES
from symloss.tasks.splits import Array

PARTS = ("train", "valid", "test")
Root = str | os.PathLike[str]
_Found = dict[str, dict[str, list[Path]]]  # part -> class -> images


def omniglot(root: Root, image_size: int = 28) -> ClassSplits:
    """Omniglot: images **[N, 1, S, S]**, ink 255, one class per character.

    Reads `images_background` and `images_evaluation`, folders of alphabets with folders of characters, also below
    `omniglot-py`. Validation takes the last sixth of the background alphabets in alphabetical order, and the tests all
    evaluation alphabets.

    Args:
        root: The directory.
        image_size: Height and width S.

    Raises:
        TaskError: If the folders or images cannot be read.
    """
    folder = _directory(root)
    folder = folder / "omniglot-py" if (folder / "omniglot-py").is_dir() else folder
    alphabets = {
        name: sorted(p for p in (folder / name).iterdir() if p.is_dir()) if (folder / name).is_dir() else []
        for name in ("images_background", "images_evaluation")
    }
    background, evaluation = alphabets.values()
    if len(background) < 2 or not evaluation:
        raise TaskError(
            f"{str(folder)!r:.200} has {len(background)} alphabets in images_background and {len(evaluation)} in "
            "images_evaluation; give the directory of Omniglot's two folders"
        )
    valid = max(1, len(background) // 6)
    parts = dict(zip(PARTS, (background[:-valid], background[-valid:], evaluation), strict=True))
    found = {
        part: {f"{a.name}/{c.name}": _images(c) for a in own for c in sorted(a.iterdir()) if c.is_dir()}
        for part, own in parts.items()
    }
    return _splits("Omniglot", folder, found, image_size, grey=True)


def mini_imagenet(root: Root, image_size: int = 84) -> ClassSplits:
    """mini-ImageNet: images **[N, 3, S, S]**.

    Reads folders `train`, `val` and `test` of one folder per class; or `train.csv`, `val.csv` and `test.csv` with
    columns filename and label, and the folder `images`. All images are held in memory.

    Args:
        root: The directory.
        image_size: Height and width S.

    Raises:
        TaskError: If the folders, lists or images cannot be read.
    """
    folder = _directory(root)
    found = _from_lists(folder) if (folder / "train.csv").is_file() else _from_folders(folder)
    return _splits("mini-ImageNet", folder, found, image_size)


def tiered_imagenet(root: Root, image_size: int = 84) -> ClassSplits:
    """tiered-ImageNet: images **[N, 3, S, S]**, from folders `train`, `val` and `test` of one folder per class.

    The 780 000 images need 16 GB of memory at S = 84, and 2 GB at S = 32. Pickles are not read.

    Args:
        root: The directory.
        image_size: Height and width S.

    Raises:
        TaskError: If the folders or images cannot be read.
    """
    folder = _directory(root)
    return _splits("tiered-ImageNet", folder, _from_folders(folder), image_size)


def cifar_fs(root: Root, image_size: int = 32) -> ClassSplits:
    """CIFAR-FS: images **[N, 3, S, S]**.

    Reads `data`, one folder per class, with the classes of each part in `splits/bertinetto/{train,val,test}.txt`; or
    folders `train`, `val` and `test` of one folder per class.

    Args:
        root: The directory.
        image_size: Height and width S.

    Raises:
        TaskError: If the folders, lists or images cannot be read.
    """
    folder = _directory(root)
    lists = folder / "splits" / "bertinetto"
    if not lists.is_dir():
        return _splits("CIFAR-FS", folder, _from_folders(folder), image_size)
    found: _Found = {}
    for part, name in zip(PARTS, ("train", "val", "test"), strict=True):
        classes = _text(lists / f"{name}.txt").split()
        found[part] = {c: _images(folder / "data" / c) for c in classes}
    return _splits("CIFAR-FS", folder, found, image_size)


FOLDERS: dict[str, Callable[..., ClassSplits]] = {
    "omniglot": omniglot, "mini-imagenet": mini_imagenet, "tiered-imagenet": tiered_imagenet, "cifar-fs": cifar_fs,
}  # fmt: skip
"""Readers by name: each is called with the directory."""


def _directory(root: Root) -> Path:
    path = Path(root)
    if not path.is_dir():
        raise TaskError(f"there is no directory {str(path)!r:.200}; give the one that holds the images")
    return path


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise TaskError(f"there is no folder {str(folder)!r:.200} of images, which a list names; add it")
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def _from_folders(root: Path) -> _Found:
    found: _Found = {}
    for part, names in zip(PARTS, (("train",), ("val", "valid"), ("test",)), strict=True):
        own = next((root / name for name in names if (root / name).is_dir()), None)
        if own is None:
            raise TaskError(f"{str(root)!r:.200} has no folder {names[0]}; give one with train, val and test")
        found[part] = {c.name: _images(c) for c in sorted(own.iterdir()) if c.is_dir() and not c.name.startswith(".")}
    return found


def _from_lists(root: Path) -> _Found:
    found: _Found = {}
    for part, name in zip(PARTS, ("train.csv", "val.csv", "test.csv"), strict=True):
        own: dict[str, list[Path]] = {}
        for row in csv.DictReader(_text(root / name).splitlines()):
            file, label = row.get("filename"), row.get("label")
            if not file or not label:
                raise TaskError(f"{root / name} needs columns filename and label; it has {', '.join(map(str, row))}")
            own.setdefault(label, []).append(root / "images" / file)
        found[part] = own
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} cannot be read ({error}); check the file") from None


def _splits(name: str, root: Path, found: _Found, size: int, grey: bool = False) -> ClassSplits:
    """The images of all parts, decoded once and kept until a file changes."""
    if not isinstance(size, int) or isinstance(size, bool) or not 8 <= size <= 1024:
        raise TaskError(f"image_size is a whole number from 8 to 1024; received {size!r:.60}")
    for part, classes in found.items():
        if len(classes) < 2 or not all(classes.values()):
            empty = next((c for c, images in classes.items() if not images), None)
            what = f"{len(classes)} classes" if empty is None else f"no image of class {empty}"
            raise TaskError(f"the {part} part of {name} in {str(root)!r:.200} has {what}; each needs two with images")
    shared = next((c for a, b in (PARTS[:2], PARTS[1:], PARTS[::2]) for c in found[a] if c in found[b]), None)
    if shared is not None:
        raise TaskError(f"class {shared} of {name} is in two parts; leave it in one")
    parts = {part: list(_stacked(name, classes, size, grey)) for part, classes in found.items()}
    pixels = parts["train"][0]
    mean, deviation = _statistics(pixels)
    sets = {part: ClassSet(x, y, f"{name}, {part}", mean, deviation) for part, (x, y) in parts.items()}
    return ClassSplits(**sets)


def _stacked(name: str, classes: dict[str, list[Path]], size: int, grey: bool) -> Iterator[torch.Tensor]:
    """Images [N, C, S, S] in bytes, then labels [N]."""
    paths = [path for images in classes.values() for path in images]
    try:
        files = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    except OSError as error:
        raise TaskError(f"an image of {name} is missing ({error.filename}); repair the list or add it") from None
    kept = cache.kept(name.lower(), (files, size, grey), lambda: {"x": np.stack([_read(p, size, grey) for p in paths])})
    yield torch.from_numpy(kept["x"])
    yield torch.arange(len(classes)).repeat_interleave(torch.tensor([len(images) for images in classes.values()]))


def _read(path: Path, size: int, grey: bool) -> Array:
    """Pixels [C, S, S] in bytes; black ink on white becomes bright where grey."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L" if grey else "RGB").resize((size, size), Image.Resampling.BILINEAR))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        said = " ".join(str(error).split())[:120]
        raise TaskError(f"{path} cannot be read as an image ({said}); repair or remove it") from None
    return 255 - pixels[None] if grey else pixels.transpose(2, 0, 1)


def _statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation per channel [C], of pixels from 0 to 1; from sums of bytes, so that memory stays small."""
    counts = torch.stack([torch.bincount(x[:, c].flatten().int(), minlength=256) for c in range(x.shape[1])]).double()
    levels = torch.arange(256, dtype=torch.float64) / 255
    total = counts.sum(1)
    mean = counts @ levels / total
    deviation = (counts @ levels.square() / total - mean.square()).clamp_min(1e-12).sqrt()
    return mean.float(), deviation.float()
