"""The shape of a learned loss and its step sizes, against what they are made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from symloss.errors import LossError, TaskError
from symloss.fewshot import MLP, NPBML, VARIANTS, loss_shape, step_sizes
from symloss.fewshot.loss import summary
from tests.fewshot.helpers import learner, tasks


def test_at_the_start_the_loss_is_cross_entropy() -> None:
    own, _ = learner("mlp")
    shape = loss_shape(own, tasks("mlp"))
    wanted = F.cross_entropy(
        torch.from_numpy(shape.at)[:, None] * torch.tensor([1.0, 0, 0]), torch.zeros(121).long(), reduction="none"
    )
    for values in (shape.base, shape.plain, shape.learned):
        assert np.allclose(values, wanted.numpy())
    assert np.allclose(shape.modulation["0"], 1)
    assert shape.modulation["1"].shape == (2, 4)
    for places, values in shape.samples:
        assert places.shape == values.shape == (2 * 6,)  # two steps, six samples
        assert np.allclose(places[:6], 0)  # all logits of a sample are equal before the first step


@pytest.mark.parametrize("encoder", ["conv4", "mlp"])
@pytest.mark.parametrize("fixed_width", [False, True])
def test_after_learning_it_is_what_the_inner_loop_minimises(encoder: str, fixed_width: bool) -> None:
    own, model = learner(encoder, moved=0.2, fixed_width=fixed_width)
    drawn = tasks(encoder)
    shape = loss_shape(own, drawn)
    assert not np.allclose(shape.learned, shape.plain)
    batch = model.batch(drawn.support_x, drawn.support_y, None)
    theta = model.initial(2)
    whole = model._inner_loss(batch, theta)
    regulariser = model.loss.regulariser
    assert regulariser is not None
    rest = regulariser(torch.cat([summary(t) for t in theta.values()], -1))
    first = np.stack([values[:6].mean() for _, values in shape.samples])
    assert np.allclose(first, (whole - rest).detach().numpy())
    assert shape.modulation["0"].shape == (2, 3 if encoder == "conv4" else 5)


def test_step_sizes_of_warp_layers_are_the_eigenvalues_of_their_gram_matrix() -> None:
    own, model = learner("mlp", moved=0.2)
    found = step_sizes(own)
    for name, values in found.items():
        warp = model.encoder.omega[name].detach().numpy()
        assert np.allclose(np.sort(values), 0.1 * np.linalg.eigvalsh(warp @ warp.T))


def test_learned_rates() -> None:
    own, _ = learner("mlp", optimiser=False, learn_rates=True)
    found = step_sizes(own)
    assert set(found) == {"0_weight", "0_bias", "1_weight", "1_bias", "head_weight"}
    assert all(np.allclose(values, 0.1) for values in found.values())


def test_mistakes() -> None:
    own, _ = learner("mlp", **VARIANTS["maml"])
    with pytest.raises(LossError, match="this learner has no learned loss"):
        loss_shape(own, tasks("mlp"))
    for one in (own, NPBML(MLP())):
        with pytest.raises(TaskError, match="step sizes are learned by learn_rates=True or optimiser=True"):
            step_sizes(one)
