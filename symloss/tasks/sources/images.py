"""A directory of images: one folder for each class, with or without folders train and test above them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from symloss.errors import TaskError
from symloss.tasks import cache
from symloss.tasks.registry import register
from symloss.tasks.splits import Array, Samples

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
TEST = ("test", "val")
SIZE = 32


def load(root: Path, image_size: int = SIZE) -> Samples:
    """Images **[N, 3, S, S]** and the number of their folder, in alphabetical order of the folders.

    With folders `train` and `test` (or `val`) in the directory, the latter is the official test part. All images
    are made RGB and resized to S × S. Decoded once, they are kept until a file changes.

    Args:
        root: The directory.
        image_size: Height and width S.

    Raises:
        TaskError: If there are no such folders, or an image cannot be read.
    """
    if not isinstance(image_size, int) or isinstance(image_size, bool) or not 1 <= image_size <= 1024:
        raise TaskError(f"image_size is a whole number from 1 to 1024; received {image_size!r:.60}")
    test = next((root / name for name in TEST if (root / "train").is_dir() and (root / name).is_dir()), None)
    parts = [root] if test is None else [root / "train", test]
    classes = sorted({folder.name for part in parts for folder in part.iterdir() if _holds_images(folder)})
    found = [
        (path, label, part == test)
        for part in parts
        for label, name in enumerate(classes)
        for path in sorted((part / name).rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if len(classes) < 2 or not found:
        raise TaskError(
            f"{str(root)!r:.200} has {len(found)} images in {len(classes)} folders; give a directory with one folder "
            f"of images ({', '.join(SUFFIXES[:3])}, ...) for each class"
        )
    origin = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path, _, _ in found]
    arrays = cache.kept(
        "images", (origin, image_size), lambda: {"x": np.stack([_read(p, image_size) for p, *_ in found])}
    )
    official = None if test is None else np.array([held for *_, held in found])
    return Samples(arrays["x"], np.array([label for _, label, _ in found]), test=official)


def _holds_images(folder: Path) -> bool:
    """Whether it is a class: an empty folder is none, nor is one that is hidden, such as .ipynb_checkpoints."""
    if folder.name.startswith(".") or not folder.is_dir():
        return False
    return any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*"))


def _read(path: Path, size: int) -> Array:
    """Pixels [3, S, S] in bytes."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        said = " ".join(str(error).split())[:120]
        raise TaskError(f"{path} cannot be read as an image ({said}); repair or remove it") from None
    return np.asarray(resized, dtype=np.uint8).transpose(2, 0, 1)


register(
    "images", load, kind="multiclass", source="your files", install="one folder of images for each class", folder=""
)
