"""Few-shot glyphs: letters and digits of five scripts, drawn from the fonts of 18 Debian packages."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from symloss.errors import TaskError
from symloss.fewshot.episodes import ClassSet, ClassSplits
from symloss.tasks import cache
from symloss.tasks.sources.glyphs import DRAWN, draw
from symloss.tasks.splits import Array

logger = logging.getLogger("symloss")

FOLDER = "/usr/share/fonts"
SCRIPTS = {"LATIN": "train", "DIGIT": "train", "GREEK": "valid", "CYRILLIC": "test", "HEBREW": "test"}
"""Scripts, by the first word of the names of their characters, and the part that they belong to; where two characters
look the same, the one of the earlier script stays."""
PACKAGES = (
    "aenigma", "georgewilliams", "dejavu-core", "uralic", "eurofurence", "liberation2", "unifont", "stix",
    "linuxlibertine", "crosextra-carlito", "freefont-ttf", "paratype", "roboto-unhinted", "symbola", "open-sans",
    "cardo", "sil-doulos", "noto-core",
)  # fmt: skip
INSTALL = "sudo apt-get install --no-install-recommends " + " ".join(f"fonts-{name}" for name in PACKAGES)
"""The command that brings the fonts."""

_FAMILIES, _IMAGES, _BOXES = 20, 19, 5
_NEAR, _NEAR_TWIN = 0.0148, 0.02  # mean squared differences of pixels below which characters look the same
_VERSION = 1  # of how they are chosen and drawn


def glyphs(root: str | os.PathLike[str] | None = None) -> ClassSplits:
    """Images **[N, 1, 28, 28]** of letters and digits, one class per character, split by script.

    Training classes are Latin letters and digits, validation classes Greek, test classes Cyrillic and Hebrew letters.
    There is one image for each font family that has the character. Characters of fewer than 20 families are left out,
    also those with accents, and of several that look the same in half of the families they share (case twins such as
    c and C, homoglyphs such as Latin A and Cyrillic А) all but the first. Drawing takes a minute or two; the images are
    then kept in the user's cache directory.

    Args:
        root: Directory of fonts, searched with all folders below it; None is `FOLDER`.

    Returns:
        The three parts, in bytes.

    Raises:
        TaskError: If the fonts are absent, or too few.
    """
    import PIL

    folder = Path(FOLDER if root is None else root)
    if not folder.is_dir():
        raise TaskError(f"there is no directory {str(folder)!r:.200} of fonts; install them: {INSTALL}")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".ttf", ".otf"))
    origin = (_VERSION, PIL.__version__, [(path.name, path.stat().st_size) for path in paths])
    arrays = cache.kept("few-shot-glyphs", origin, lambda: _made(paths, folder))
    x, y, characters = (
        torch.from_numpy(arrays["x"]),
        torch.from_numpy(arrays["y"].astype(np.int64)),
        arrays["characters"],
    )
    part_of = np.array([SCRIPTS[script(chr(c))] for c in characters])
    parts = {}
    inside = {part: torch.from_numpy(part_of == part)[y] for part in ("train", "valid", "test")}
    pixels = x[inside["train"]].double() / 255
    mean, deviation = pixels.mean().float(), pixels.std().float()
    for part, where in inside.items():
        parts[part] = ClassSet(x[where], y[where], f"glyphs, {part}", mean.view(1), deviation.view(1))
    return ClassSplits(**parts)


def script(character: str) -> str:
    """First word of a character's name: its script; empty if it has no name."""
    return unicodedata.name(character, "").partition(" ")[0]


@dataclass(frozen=True)
class _Font:
    path: Path
    characters: frozenset[str]


def _made(paths: list[Path], folder: Path) -> dict[str, Array]:
    """Images, labels and the characters of the labels."""
    fonts = _families(paths)
    counts = Counter(c for font in fonts for c in font.characters)
    chosen = [c for c in counts if counts[c] >= _FAMILIES]
    chosen.sort(key=lambda c: (list(SCRIPTS).index(script(c)), c))
    if not {"train", "valid", "test"} <= {SCRIPTS[script(c)] for c in chosen}:
        raise TaskError(
            f"{str(folder)!r:.200} has {len(fonts)} font families, too few with letters of each script; "
            f"install them: {INSTALL}"
        )
    logger.info("drawing %d characters of %d font families, once on this machine", len(chosen), len(fonts))
    drawn = [_drawn(font, chosen) for font in fonts]
    kept = _distinct(chosen, drawn)
    places = {c: place for place, c in enumerate(kept)}
    rows = [(image, places[c]) for images in drawn for c, image in images.items() if c in places]
    images, labels = zip(*rows, strict=True)
    return {
        "x": np.stack(images)[:, None], "y": np.array(labels, np.int16), "characters": np.array([ord(c) for c in kept])
    }  # fmt: skip


def _families(paths: list[Path]) -> list[_Font]:
    """One font of each family, the one with the most characters, in order of the families' names."""
    best: dict[str, _Font] = {}
    for path in paths:
        name, characters = _read(path)
        if characters and (name not in best or len(characters) > len(best[name].characters)):
            best[name] = _Font(path, characters)
    return [best[name] for name in sorted(best)]


def _read(path: Path) -> tuple[str, frozenset[str]]:
    """Family of a font, and its letters and digits of the scripts; those with accents are left out."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        with TTFont(path, lazy=True) as font:
            names, points = font["name"], font.getBestCmap() or {}
            name = names.getDebugName(16) or names.getDebugName(1) or path.stem
    except (OSError, TTLibError, KeyError, ValueError) as error:
        logger.warning("%s cannot be read as a font (%s); it is left out", path, " ".join(str(error).split())[:120])
        return path.stem, frozenset()
    return str(name), frozenset(chr(p) for p in points if _wanted(chr(p)))


def _wanted(character: str) -> bool:
    kind = unicodedata.category(character)
    return (
        kind in ("Lu", "Ll", "Lo", "Nd") and script(character) in SCRIPTS and not unicodedata.decomposition(character)
    )


def _drawn(font: _Font, chosen: list[str]) -> dict[str, Array]:
    """Images of a font by character; boxes that stand for missing glyphs are left out."""
    from PIL import ImageFont

    try:
        face: Any = ImageFont.truetype(str(font.path), DRAWN)
        images = {c: image for c in chosen if c in font.characters and (image := draw(face, c)) is not None}
        missing = draw(face, "\uffff")
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be drawn (%s); it is left out", font.path, error)
        return {}
    times = Counter(image.tobytes() for image in images.values())
    box = b"" if missing is None else missing.tobytes()
    return {c: i for c, i in images.items() if times[i.tobytes()] < _BOXES and i.tobytes() != box}


def _distinct(chosen: list[str], drawn: list[dict[str, Array]]) -> list[str]:
    """Characters with enough images that do not look like an earlier one, in the order of `chosen`."""
    near = np.zeros((len(chosen), len(chosen)), np.int32)
    both = np.zeros_like(near)
    places = {c: place for place, c in enumerate(chosen)}
    folded = np.array([c.casefold() for c in chosen])
    bound = np.where(folded[:, None] == folded[None], _NEAR_TWIN, _NEAR)
    for images in drawn:
        if images:
            own = np.array([places[c] for c in images])
            flat = np.stack([i.ravel() for i in images.values()]).astype(np.float32) / 255
            squares = (flat**2).sum(1)
            apart = (squares[:, None] + squares[None] - 2 * flat @ flat.T) / flat.shape[1]
            near[np.ix_(own, own)] += apart < bound[np.ix_(own, own)]
            both[np.ix_(own, own)] += 1
    same, count = 2 * near >= np.maximum(both, 1), np.diag(both)
    kept: list[int] = []
    for place in range(len(chosen)):
        if count[place] >= _IMAGES and not same[place, kept].any():
            kept.append(place)
    return [chosen[place] for place in kept]


def lines(splits: ClassSplits) -> Iterator[str]:
    """What there is, a line for each part."""
    for part, held in (("train", splits.train), ("valid", splits.valid), ("test", splits.test)):
        counts = held.y.bincount()
        yield f"{part}: {len(held)} images in {held.classes} classes, at least {int(counts[counts > 0].min())} each"
