"""glyphs-62: digits and Latin letters drawn from 465 fonts of the Debian package fonts-aenigma."""

from __future__ import annotations

import logging
import string
from pathlib import Path
from typing import Any

import numpy as np

from symloss.errors import TaskError
from symloss.tasks import cache
from symloss.tasks.registry import register
from symloss.tasks.splits import Array, Samples

logger = logging.getLogger("symloss")

CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
"""The 62 classes, in their order."""
SIZE, _GLYPH, DRAWN = 28, 20, 64
_VERSION = 1  # of how they are drawn


def load(root: Path) -> Samples:
    """Glyphs **[N, 1, 28, 28]** in 62 classes; those of one font are never in two parts.

    Each is drawn at 64 pixels, cut out, and fitted into 20 × 20 pixels in the middle of the image.

    Args:
        root: Directory of .ttf files.

    Raises:
        TaskError: If there are no fonts, or one cannot be read.
    """
    import PIL

    fonts = sorted(path for path in root.iterdir() if path.suffix.lower() == ".ttf")
    if len(fonts) < 3:
        raise TaskError(f"{str(root)!r:.200} holds {len(fonts)} fonts (.ttf); give a directory with three or more")
    origin = (_VERSION, PIL.__version__, [(path.name, path.stat().st_size) for path in fonts])
    arrays = cache.kept("glyphs-62", origin, lambda: _draw_all(fonts))
    return Samples(arrays["x"], arrays["y"].astype(np.int64), groups=arrays["font"].astype(np.int64))


def _draw_all(fonts: list[Path]) -> dict[str, Array]:
    """Images, labels and font numbers of all glyphs that are there."""
    logger.info("drawing the glyphs of %d fonts, once on this machine", len(fonts))
    drawn = [(image, label, number) for number, path in enumerate(fonts) for image, label in _draw_font(path)]
    if not drawn:
        raise TaskError(f"the fonts in {str(fonts[0].parent)!r:.200} have no digits or Latin letters")
    images, labels, numbers = zip(*drawn, strict=True)
    return {"x": np.stack(images)[:, None], "y": np.array(labels, np.uint8), "font": np.array(numbers, np.uint16)}


def _draw_font(path: Path) -> list[tuple[Array, int]]:
    """The glyphs of one font with their labels; none for characters that it lacks."""
    from PIL import ImageFont

    try:
        font = ImageFont.truetype(str(path), DRAWN)
        placeholder = draw(font, "\uffff")
        glyphs = [draw(font, character) for character in CHARACTERS]
    except OSError as error:
        raise TaskError(f"{path} cannot be read as a font ({error}); repair or remove it") from None
    return [
        (glyph, label)
        for label, glyph in enumerate(glyphs)
        if glyph is not None and (placeholder is None or not np.array_equal(glyph, placeholder))
    ]


def draw(font: Any, character: str) -> Array | None:
    """One glyph [28, 28] in bytes; None if nothing is drawn."""
    from PIL import Image

    mask = font.getmask(character, mode="L")
    box = mask.getbbox()
    if box is None:
        return None
    drawn = Image.frombytes("L", mask.size, bytes(mask)).crop(box)
    factor = _GLYPH / max(drawn.size)
    width, height = (max(1, round(factor * n)) for n in drawn.size)
    image = Image.new("L", (SIZE, SIZE))
    image.paste(drawn.resize((width, height), Image.Resampling.LANCZOS), ((SIZE - width) // 2, (SIZE - height) // 2))
    return np.asarray(image, dtype=np.uint8)


register(
    "glyphs-62", load, kind="multiclass", samples=28742, shape=(1, SIZE, SIZE), classes=62, source="Debian",
    install="sudo apt-get install fonts-aenigma", folder="/usr/share/fonts/truetype/aenigma",
)  # fmt: skip
