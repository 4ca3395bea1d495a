"""Every error that symloss raises on purpose: one line that says what was wrong, what was received, what to do."""

from __future__ import annotations

import unicodedata


class SymlossError(Exception):
    """Parent of every error that symloss raises on purpose."""


class ExpressionError(SymlossError, ValueError):
    """An expression cannot be read, built or converted."""


class ParseError(ExpressionError):
    """A text is not an expression; `text` and `position` point at the character."""

    def __init__(self, message: str, text: str = "", position: int | None = None) -> None:
        super().__init__(message)
        self.text = text
        self.position = position

    def pointer(self, width: int = 72) -> str:
        """Two lines: the text around the position, at most `width` characters of it, and a caret under the character.

        Empty if the position is not known.
        """
        if self.position is None:
            return ""
        start = max(0, min(self.position - width // 2, len(self.text) + 1 - width))
        before, after = self.text[start : self.position], self.text[self.position : start + width]
        before = ("…" if start else "") + _printable(before)
        after = _printable(after) + ("…" if start + width < len(self.text) else "")
        return f"{before}{after}\n{' ' * sum(map(_columns, before))}^"


class LossError(SymlossError, ValueError):
    """A loss was given inputs, targets or a file that it cannot use."""


class TaskError(SymlossError, ValueError):
    """A task, data set or model is unknown, absent or unusable."""


class RunError(SymlossError):
    """A run directory exists already, is missing, damaged or from another version."""


class RunWarning(UserWarning):
    """A run goes on, but not as it would have."""


class SearchError(SymlossError):
    """A search cannot start or cannot go on."""


class MachineError(SearchError):
    """The machine lacks what a computation needs: a device, memory, room on a disk. It may succeed another time."""


class EvaluationError(SymlossError, ValueError):
    """An evaluation of losses was asked for with options that it cannot have."""


class OutputError(SymlossError):
    """A file cannot be written."""


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def _columns(character: str) -> int:
    """Columns that a character takes in a terminal."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
