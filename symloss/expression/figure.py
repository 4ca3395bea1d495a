"""A matplotlib figure that a notebook shows. This module loads matplotlib: import it inside functions."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A figure that a notebook shows as a picture, whether or not its matplotlib backend is set up."""

    def _repr_png_(self) -> bytes:
        picture = BytesIO()
        self.savefig(picture, format="png", dpi=100)
        return picture.getvalue()
