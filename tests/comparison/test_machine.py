"""What fails for lack of something on the machine is told, and computed another time."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from symloss.comparison import listing, plan, work
from symloss.comparison.cells import Store
from symloss.comparison.plan import Cell
from symloss.errors import LossError, MachineError
from tests.comparison.test_run import BUDGET, METHODS, TRAINING, compare
from tests.evaluation.helpers import make_task


def focal_cell() -> Cell:
    wanted = plan(make_task(double=False), "focal", seeds=2, training_seeds=3, budget=BUDGET, **TRAINING)
    return next(cell for cell in wanted.cells if cell.method.label == "focal")


def wrapped(cause: Exception) -> Exception:
    try:
        try:
            raise cause
        except Exception as error:
            raise LossError("the loss failed on a batch") from error
    except LossError as error:
        return error


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (MemoryError(), "MemoryError"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried 2 GiB"), "memory. Tried 2 GiB"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "can't allocate memory"),
        (wrapped(MemoryError("Unable to allocate 3 TiB")), "Unable to allocate 3 TiB"),
        (MachineError("one of 2 worker processes died"), "one of 2 worker processes died"),
    ],
    ids=["memory", "disk", "cuda", "torch", "wrapped", "worker"],
)
def test_what_the_machine_lacks_is_told_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, said: str
) -> None:
    def fail(*arguments: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(work, "measure", fail)
        with pytest.raises(MachineError, match=rf"^blobs, focal: .*{said}; what is finished is kept$") as caught:
            work.compute({"blobs": make_task(double=False)}, None, focal_cell(), tmp_path)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "cells").exists()
    work.compute({"blobs": make_task(double=False)}, None, focal_cell(), tmp_path)
    found = Store(tmp_path).read(focal_cell())
    assert found is not None
    assert not found.failed


def test_a_defect_is_no_missing_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(work, "measure", fail)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        work.compute({"blobs": make_task(double=False)}, None, focal_cell(), tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a graphics card")
def test_a_search_on_a_device_that_is_not_there_is_not_kept_as_failed(tmp_path: Path) -> None:
    budget = {**BUDGET, "device": "cuda"}
    with pytest.raises(MachineError, match=r"evomal, search seed 0: device 'cuda' cannot be used .*what is finished"):
        compare(out=tmp_path, budget=budget)
    made = plan(make_task(double=False), METHODS, seeds=2, training_seeds=3, budget=budget, **TRAINING)
    assert "6 cells: 4 finished, 2 to do" in listing(made, tmp_path)
