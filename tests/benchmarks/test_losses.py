"""What the benchmark of the losses compares is the same loss, and what it measures is what there is."""

from __future__ import annotations

import pytest
import torch

from benchmarks import losses
from symloss.losses import SymbolicLoss


def test_all_label_smoothings_are_one() -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 1, 2, 3, 4, 0])
    expected = losses.torch_smoothing(logits, target)
    for name, loss in losses.losses().items():
        if name in ("one-hot LSR", "LSR", "LSR in place"):
            torch.testing.assert_close(loss(logits, target), expected)
    assert SymbolicLoss(losses.DISCOVERED).form == "target-only"


@pytest.mark.filterwarnings("ignore")  # of torch's profiler
def test_memory_is_counted_in_logits() -> None:
    source, target = torch.randn(64, 5000, requires_grad=True), torch.randint(5000, (64,))
    compared = losses.losses()
    assert losses.memory_of(compared["torch LSR"], source, target) == pytest.approx(3.0, abs=0.1)
    assert losses.memory_of(compared["SparseLSR"], source, target) == pytest.approx(1.0, abs=0.1)
    assert losses.memory_of(compared["SparseLSR in place"], source, target) == pytest.approx(0.0, abs=0.1)
