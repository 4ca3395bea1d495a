"""What all results have in common when they are shown: aligned text, plain values, a table of pandas, a figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from symloss.errors import SymlossError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def aligned(rows: Iterable[Sequence[str]], sides: str = "<") -> list[str]:
    """Lines of columns two spaces apart.

    Args:
        rows: Rows of equally many cells.
        sides: `"<"` or `">"` for each column; the last one goes for all that follow.
    """
    cells = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    to = sides.ljust(len(widths), sides[-1])
    lines = ("  ".join(f"{c:{s}{w}}" for c, s, w in zip(row, to, widths, strict=False)) for row in cells)
    return [line.rstrip() for line in lines]


def plain(value: Any) -> Any:
    """Dictionaries, lists and numbers ready for `json.dumps`; what is infinite or NaN is None."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def data_frame(
    rows: Iterable[Mapping[str, Any]], error: type[SymlossError], columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """The rows as a table of pandas.

    Raises:
        SymlossError: Of type `error`, if pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise error("to_dataframe needs pandas, which is absent; run: pip install pandas") from None
    return pd.DataFrame(list(rows), columns=columns)


def drawn(name: str, *given: Any, **options: Any) -> Figure:
    """What a function of `symloss.plotting` draws: the one look upwards, at the moment of drawing.

    The room of figures knows the results that it draws; they know it by the name of a function.
    """
    figure: Figure = getattr(import_module("symloss.plotting"), name)(*given, **options)
    return figure
