"""A result made by hand, as the figures' tests have it, and a compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.plotting.conftest import result

__all__ = ["result"]


def compile_latex(source: Path) -> str:
    """The log of pdflatex, with commands of the shell allowed; fails unless there is a document, skips without TeX."""
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex; Debian has it in texlive-latex-recommended")
    words = ["pdflatex", "-shell-escape", "-halt-on-error", "-interaction=nonstopmode", source.name]
    done = subprocess.run(words, cwd=source.parent, capture_output=True, timeout=120)
    log = source.with_suffix(".log").read_text(errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert source.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    return log
