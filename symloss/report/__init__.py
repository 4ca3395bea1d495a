"""Reports of a run or of a loss, to print and to send to others; called as a function: `symloss.report(run, path)`."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Report(ModuleType):
    """The room itself, so that `symloss.report` is both this package and the function."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from symloss.report.page import report

        return report(*arguments, **options)


sys.modules[__name__].__class__ = _Report
