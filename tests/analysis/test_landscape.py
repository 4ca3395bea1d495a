"""Landscapes against closed forms, against setting parameters point by point, and as files."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import symloss as sl
from symloss.analysis import landscape, load_landscape
from symloss.analysis.points import Plane, Points
from symloss.errors import EvaluationError, LossError, TaskError
from tests.analysis.quadratic import DATA, Quadratic, mean, symmetric

EIGENVALUES = [5.0, 3.0, 1.0, 0.5, 0.1, -0.2]


class Noisy(nn.Module):
    """Draws at random in evaluation mode too, and counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(F.dropout(x, 0.5, training=True))


class Branching(nn.Module):
    """Looks at values, which vmap cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if float(self.inner.weight.sum()) > 0 else 2 * self.inner(x)


class Tied(nn.Module):
    """One matrix used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Linear(4, 4, bias=False)
        self.up = nn.Linear(4, 4)
        self.up.weight = self.down.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.up(torch.tanh(self.down(x)))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 2), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(2, 3),
    )  # fmt: skip


def normalised() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))
    model(torch.randn(50, 4) * 3 + 1)  # statistics of its own
    return model


MODELS: dict[str, Any] = {
    "mlp": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), (4,)),
    "one layer": (lambda: nn.Linear(4, 3), (4,)),
    "convolutions": (convolutional, (1, 7, 7)),
    "batch norm": (normalised, (4,)),
    "random": (Noisy, (4,)),
    "branches": (Branching, (4,)),
    "tied": (Tied, (4,)),
    "recurrent": (lambda: nn.Sequential(nn.Linear(4, 4), Last()), (5, 4)),
    "attention": (lambda: nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), Mean()), (3, 4)),
}


class Opaque(nn.Module):
    """A model whose layers cannot be seen from outside."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x)[0][:, -1]


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def made(name: str) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    build, shape = MODELS[name]
    torch.manual_seed(1)
    model = build().train()
    return model, (torch.randn(20, *shape), torch.randint(3, (20,)))


def point_by_point(
    model: nn.Module, data: Any, metric: Any, directions: list[dict[str, Tensor]], found: Any
) -> np.ndarray:
    """The plain way: set the parameters, evaluate, for every point."""
    values = np.zeros(tuple(len(axis) for axis in found.coordinates))
    state = torch.get_rng_state()
    for index in np.ndindex(values.shape):
        twin = copy.deepcopy(model).eval()
        with torch.no_grad():
            for name, p in twin.named_parameters():
                for axis, k, direction in zip(found.coordinates, index, directions, strict=True):
                    p += axis[k] * direction.get(name, torch.zeros(()))
            torch.set_rng_state(state)
            values[index] = float(metric(twin(data[0]), data[1]))
    torch.set_rng_state(state)
    return values


def everything(model: nn.Module) -> list[Any]:
    state = [t.detach().clone() for t in (*model.parameters(), *model.buffers())]
    return [
        state,
        [(m.training, list(vars(m))) for m in model.modules()],
        torch.get_rng_state(),
        [p.grad for p in model.parameters()],
    ]


def assert_same(before: list[Any], after: list[Any]) -> None:
    for a, b in zip(before[0], after[0], strict=True):
        assert torch.equal(a, b)
    assert before[1] == after[1]
    assert torch.equal(before[2], after[2])
    assert before[3] == after[3]


class TestValues:
    def test_of_a_quadratic(self) -> None:
        """½ Σ λ c² + gᵀ Σ c d + 1, on a grid that is not square."""
        hessian, rows = symmetric(EIGENVALUES)
        slope = torch.arange(6.0, dtype=torch.float64)
        model = Quadratic(hessian, torch.ones(6, dtype=torch.float64), slope)
        directions = [{"first": r[:3].reshape(-1, 1), "second": r[3:]} for r in rows[:2]]
        found = landscape(model, DATA, mean, grid=(5, 9), span=(2.0, (-1.0, 3.0)), directions=directions)
        a, b = found.coordinates
        assert found.values.shape == (5, 9)
        np.testing.assert_array_equal(a, np.linspace(-2, 2, 5))
        np.testing.assert_array_equal(b, np.linspace(-1, 3, 9))
        along = (rows[:2] @ slope).numpy()
        expected = 1 + 2.5 * a[:, None] ** 2 + 1.5 * b**2 + along[0] * a[:, None] + along[1] * b
        np.testing.assert_allclose(found.values, expected, rtol=1e-12)

    def test_along_eigenvectors(self) -> None:
        hessian, _ = symmetric(EIGENVALUES)
        model = Quadratic(hessian, torch.ones(6, dtype=torch.float64))
        found = landscape(model, DATA, mean, grid=(3, 5), directions="hessian", span=2.0)
        a, b = found.coordinates
        np.testing.assert_allclose(found.values, 1 + 2.5 * a[:, None] ** 2 + 1.5 * b**2, rtol=1e-9)

    @pytest.mark.parametrize("name", MODELS)
    def test_of_any_module(self, name: str) -> None:
        """What setting parameters point by point gives; at the centre what the model gives, bit for bit; no trace."""
        model, data = made(name)
        before = everything(model)
        generator = torch.Generator().manual_seed(5)
        directions = [{n: torch.randn(p.shape, generator=generator) for n, p in model.named_parameters()} for _ in "ab"]
        found = landscape(model, data, F.cross_entropy, grid=(3, 5), directions=directions, chunk=4)
        assert_same(before, everything(model))
        np.testing.assert_allclose(
            found.values, point_by_point(model, data, F.cross_entropy, directions, found), rtol=2e-4
        )
        twin = copy.deepcopy(model).eval()
        fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        state = torch.get_rng_state()
        with torch.no_grad():
            assert found.values[1, 2] == float(F.cross_entropy(twin(data[0]), data[1]))
        torch.set_rng_state(state)
        torch.backends.mha.set_fastpath_enabled(fused)

    @pytest.mark.parametrize(("name", "together"), [("mlp", True), ("attention", True), ("branches", False)])
    def test_points_are_computed_together(self, name: str, together: bool) -> None:
        model, data = made(name)
        points = Points(model, data, {"loss": F.cross_entropy})
        direction = {n: torch.ones_like(p) for n, p in points.parameters.items()}
        Plane(points, [direction]).measure(torch.tensor([[0.5], [1.0]]))
        assert points.together is together

    @pytest.mark.parametrize("name", ["mlp", "convolutions", "random", "batch norm"])
    def test_chunks_and_batches_change_nothing(self, name: str) -> None:
        model, data = made(name)
        whole = landscape(model, data, F.cross_entropy, grid=5)
        for options in ({"chunk": 1}, {"chunk": 3}, {"chunk": 7, "batch_size": 20}):
            other = landscape(model, data, F.cross_entropy, grid=5, **options)
            np.testing.assert_allclose(other.values, whole.values, rtol=0 if name == "mlp" else 1e-5)
        if name != "random":  # whose masks depend on the batches
            np.testing.assert_allclose(
                landscape(model, data, F.cross_entropy, grid=5, batch_size=7).values, whole.values, rtol=1e-5
            )

    def test_batch_statistics(self) -> None:
        """Each point normalised by its own data: a model in training mode without dropout."""
        model, data = made("batch norm")
        model[3] = nn.Identity()
        found = landscape(
            model, data, F.cross_entropy, grid=3, directions=[{"0.weight": torch.ones(6, 4)}], batch_statistics=True
        )
        twin = copy.deepcopy(model)
        with torch.no_grad():
            twin[0].weight += 1.0
            expected = float(F.cross_entropy(twin.train()(data[0]), data[1]))
        assert found.values[2] == pytest.approx(expected, rel=1e-5)

    def test_metrics_that_vmap_cannot_take(self) -> None:
        model, data = made("mlp")
        metrics = {
            "task": F.cross_entropy,
            "formula": sl.SymbolicLoss("abs(log(1.2*y*f))"),
            "number": lambda o, y: float(o.sum()),
        }
        found = landscape(model, data, metrics, grid=(3, 3))
        assert found.values.shape == (3, 3, 3)
        alone = landscape(model, data, F.cross_entropy, grid=(3, 3))
        np.testing.assert_allclose(found.values[0], alone.values, rtol=1e-6)

    def test_memory_is_bounded_by_the_chunk(self) -> None:
        """No tensor has more rows than a chunk has points."""
        seen: list[int] = []

        class Watching(torch.overrides.TorchFunctionMode):
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                result = func(*args, **(kwargs or {}))
                if isinstance(result, Tensor) and result.dim() >= 2:
                    seen.append(result.numel())
                return result

        model, data = (
            nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)),
            (torch.randn(20, 4), torch.randint(3, (20,))),
        )
        with Watching():
            landscape(model, data, F.cross_entropy, grid=(11, 11), chunk=5)
        assert max(seen) <= 5 * 20 * 6

    @pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_compiled_loops_give_what_vmap_gives(self, activation: type[nn.Module], dtype: torch.dtype) -> None:
        """Three layers, more samples than one strip, lines and planes; biases that move and that do not."""
        model = nn.Sequential(
            nn.Linear(4, 7), activation(), nn.Linear(7, 5, bias=False), activation(), nn.Linear(5, 3)
        ).to(dtype)  # fmt: skip
        data = (torch.randn(700, 4, dtype=dtype), torch.randint(3, (700,)))
        for options in ({"grid": (3, 5)}, {"grid": 7, "biases": True}, {"grid": (3, 3), "batch_size": 300}):
            fast = landscape(model, data, {"a": F.cross_entropy, "b": nn.CrossEntropyLoss()}, **options)
            slow = landscape(Opaque(model), data, lambda o, y: -o.log_softmax(1)[range(700), y].mean(), **options)
            np.testing.assert_allclose(fast.all[:, 0], slow.all[:, 0], rtol=1e-5 if dtype == torch.float32 else 1e-12)
            np.testing.assert_array_equal(fast.all[:, 0], fast.all[:, 1])
            both = landscape(model, data, {"a": F.cross_entropy, "number": lambda o, y: float(o.sum())}, **options)
            np.testing.assert_allclose(both.all[:, 0], fast.all[:, 0], rtol=1e-6)

    def test_cross_entropy_that_is_not_plain(self) -> None:
        """Weights, smoothing, targets that are left out, soft targets: what torch makes of them."""
        model, (x, y) = made("mlp")
        soft = torch.rand(20, 3).softmax(1)
        left_out = torch.where(torch.arange(20) < 5, -100, y)
        for target, metric in (
            (y, nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))),
            (y, nn.CrossEntropyLoss(label_smoothing=0.2)),
            (left_out, F.cross_entropy), (soft, F.cross_entropy), (y, nn.CrossEntropyLoss(ignore_index=1)),
        ):  # fmt: skip
            found = landscape(model, (x, target), metric, grid=3)
            alone = landscape(model, (x, target), lambda o, t, m=metric: float(m(o, t)), grid=3)
            np.testing.assert_allclose(found.values, alone.values, rtol=1e-5)

    def test_diverged_points(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2))
        found = landscape(
            model,
            (torch.ones(3, 2), torch.zeros(3)),
            lambda o, y: o.square().sum().log() * o.new_tensor(torch.nan),
            grid=3,
        )
        assert np.isnan(found.values).all()
        assert found.done.all()


class TestDirections:
    def test_have_the_norms_of_the_filters(self) -> None:
        from symloss.analysis.directions import random_directions

        model, _ = made("convolutions")
        model.append(nn.ConvTranspose1d(2, 3, 2))
        points = Points.__new__(Points)
        points.model, points.parameters = model, {n: p.detach() for n, p in model.named_parameters()}
        (first, second) = random_directions(points, 0, 2)
        assert set(first) == {"0.weight", "3.weight", "6.weight", "7.weight"}
        for name, d in first.items():
            w = points.parameters[name]
            if name == "7.weight":  # outputs come second
                w, d = w.transpose(0, 1), d.transpose(0, 1)
            torch.testing.assert_close(d.flatten(1).norm(dim=1), w.flatten(1).norm(dim=1))
        assert not torch.equal(first["6.weight"], second["6.weight"])
        (wide,) = random_directions(points, 0, 1, biases=True)
        torch.testing.assert_close(wide["0.bias"].norm(), points.parameters["0.bias"].norm())

    def test_repeat_with_their_seed(self) -> None:
        model, data = made("mlp")
        one, two = (landscape(model, data, F.cross_entropy, grid=(3, 5), seed=3) for _ in range(2))
        np.testing.assert_array_equal(one.values, two.values)
        torch.manual_seed(77)
        np.testing.assert_array_equal(landscape(model, data, F.cross_entropy, grid=(3, 5), seed=3).values, one.values)
        other = landscape(model, data, F.cross_entropy, grid=(3, 5), seed=4)
        assert not np.allclose(one.values, other.values)
        both = landscape(model, data, F.cross_entropy, grid=(3, 5), seed=3, seeds=2)
        np.testing.assert_array_equal(both.values, [one.values, other.values])
        np.testing.assert_allclose(both.spread(), both.values.std(0, ddof=1))
        np.testing.assert_allclose(both.rises(), both.values.mean((1, 2)) - one.values[1, 2])

    def test_scale_with_the_model(self) -> None:
        """One layer of a network of rectifiers ×10 and the next ÷10: the same function, the same landscape."""
        model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False))
        twin = copy.deepcopy(model)
        with torch.no_grad():
            twin[0].weight *= 10
            twin[2].weight /= 10
        data = (torch.randn(20, 4), torch.randint(3, (20,)))
        found = landscape({"a": model, "b": twin}, data, F.cross_entropy, grid=(5, 5))
        assert found.values.shape == (2, 5, 5)
        np.testing.assert_allclose(found.values[0], found.values[1], rtol=1e-5)

    def test_principal_components(self) -> None:
        """A trajectory in a known plane about w."""
        hessian, rows = symmetric(EIGENVALUES)
        model = Quadratic(hessian, torch.ones(6, dtype=torch.float64))
        steps = torch.tensor([[3.0, 0.5], [2.0, -1.0], [1.0, 0.3], [-0.5, 0.0], [0.0, 0.0]], dtype=torch.float64)
        states = []
        for step in steps:
            w = torch.ones(6, dtype=torch.float64) + step @ rows[:2]
            states.append({"first": w[:3].reshape(-1, 1), "second": w[3:]})
        found = landscape(model, DATA, mean, grid=(3, 3), directions="pca", trajectory=states)
        singular = torch.linalg.svdvals(steps).square()
        np.testing.assert_allclose(found.settings["explained"], (singular / singular.sum()).numpy())
        assert found.path is not None
        distances = np.linalg.norm(found.path, axis=1)
        np.testing.assert_allclose(distances, steps.norm(dim=1).numpy(), atol=1e-12)
        assert (np.abs(found.path).max(0) <= [axis[-1] for axis in found.coordinates]).all()
        with pytest.raises(EvaluationError, match="spans 1 dimensions"):
            landscape(model, DATA, mean, grid=(3, 3), directions="pca", trajectory=states[:1])

    def test_between_two_models(self) -> None:
        """Each end is its model, the statistics of batch normalisation included."""
        model, data = made("batch norm")
        other = copy.deepcopy(model)
        with torch.no_grad():
            for p in other.parameters():
                p += torch.randn(p.shape)
        other(torch.randn(99, 4) - 2)
        found = landscape(model, data, F.cross_entropy, grid=9, directions="between", other=other)
        (at,) = found.coordinates
        np.testing.assert_allclose(at, np.linspace(-0.5, 1.5, 9))
        for value, m in ((found.values[2], model), (found.values[6], other)):
            assert value == pytest.approx(F.cross_entropy(copy.deepcopy(m).eval()(data[0]), data[1]).item(), rel=1e-5)
        assert found.values[2] == F.cross_entropy(copy.deepcopy(model).eval()(data[0]), data[1]).item()


class TestFiles:
    def test_round_trip(self, tmp_path: Path) -> None:
        model, data = made("mlp")
        found = landscape({"a": model, "b": model}, data, F.cross_entropy, grid=(3, 5), seeds=2, out=tmp_path / "l.npz")
        back = load_landscape(tmp_path / "l.npz")
        np.testing.assert_array_equal(back.all, found.all)
        np.testing.assert_array_equal(back.centre, found.centre)
        assert back.settings == found.settings
        assert str(back) == str(found)
        assert [p.name for p in tmp_path.iterdir()] == ["l.npz"]

    def test_goes_on(self, tmp_path: Path) -> None:
        """What was cut off, by an error here, ends as if it had not been; what is done is not computed again."""
        model, data = made("mlp")
        limit, calls = 0, list[int]()

        def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
            calls.append(1)
            if limit and len(calls) > limit:
                raise KeyboardInterrupt
            return F.cross_entropy(output, target)

        whole = landscape(model, data, cross_entropy, grid=(5, 5), chunk=4)
        limit, out = len(calls) + 4, tmp_path / "l.npz"
        before = everything(model)
        with pytest.raises(KeyboardInterrupt):
            landscape(model, data, cross_entropy, grid=(5, 5), chunk=4, out=out)
        assert_same(before, everything(model))
        half = load_landscape(out)
        assert 0 < half.done.sum() < 25
        assert "points not computed" in str(half)
        limit, done = 0, len(calls)
        found = landscape(model, data, cross_entropy, grid=(5, 5), chunk=4, out=out)
        assert found.done.all()
        np.testing.assert_array_equal(found.values, whole.values)
        assert len(calls) - done < 7
        with pytest.raises(EvaluationError, match="another landscape"):
            landscape(model, data, cross_entropy, grid=(5, 5), seed=1, out=out)

    def test_nothing_is_executed(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "l.npz", settings=np.array([object()], dtype=object))
        with pytest.raises(EvaluationError, match="holds no landscape"):
            load_landscape(tmp_path / "l.npz")
        np.savez(tmp_path / "l.npz", settings=np.array(json.dumps({"format": 1, "grid": [3]})), axis0=np.zeros(3))
        with pytest.raises(EvaluationError, match="holds no landscape"):
            load_landscape(tmp_path / "l.npz")
        with pytest.raises(EvaluationError, match="holds no landscape"):
            load_landscape(tmp_path / "nothing.npz")


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"grid": (4, 5)}, "odd numbers"),
            ({"grid": (3, 3, 3)}, "odd numbers"),
            ({"grid": "big"}, "odd numbers"),
            ({"span": -1.0}, "span is"),
            ({"span": (1.0,)}, "span is"),
            ({"span": [(None, 1.0), 1.0]}, "span is"),
            ({"span": [("a", "b"), 1.0]}, "span is"),
            ({"grid": (10**6 + 1, 10**6 + 1)}, "no room in memory"),
            ({"grid": 10**12 + 1}, "no room in memory"),
            ({"directions": 5}, "your own"),
            ({"directions": [5], "grid": 3}, "your own"),
            ({"seeds": 0}, "seeds is a whole number"),
            ({"chunk": 0}, "chunk is a whole number"),
            ({"directions": "radnom"}, "directions are one of"),
            ({"directions": "hessian", "seeds": 2}, "only random"),
            ({"directions": "pca"}, "needs trajectory"),
            ({"directions": "between", "grid": 3}, "needs other"),
            ({"directions": "between", "grid": 3, "other": nn.Linear(2, 2)}, "one structure"),
            ({"directions": [{"nothing": torch.ones(1)}], "grid": 3}, "does not fit"),
            ({"directions": [{"weight": torch.ones(3, 4)}]}, "as many directions"),
            ({"out": "nowhere/l.npz"}, "directory that exists"),
            ({"out": "l.txt"}, "directory that exists"),
            ({"out": "/proc/l.npz"}, "cannot write"),
        ],
    )  # fmt: skip
    def test_options(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(EvaluationError, match=said):
            landscape(nn.Linear(4, 3), (torch.randn(5, 4), torch.zeros(5).long()), F.cross_entropy, **options)

    def test_a_place_that_cannot_be_written_is_told_before_the_work(self) -> None:
        calls = []

        def metric(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return output.sum()

        with pytest.raises(EvaluationError, match="cannot write"):
            landscape(nn.Linear(4, 3), (torch.randn(5, 4), torch.zeros(5)), metric, grid=3, out="/proc/l.npz")
        assert len(calls) == 1  # at the centre

    def test_models_data_and_metrics(self) -> None:
        x, y = torch.randn(5, 4), torch.zeros(5).long()
        for model, data, metric, error, said in (
            (nn.Linear(3, 3), (x, y), F.cross_entropy, TaskError, "the model failed on inputs of shape"),
            (nn.ReLU(), (x, y), F.cross_entropy, TaskError, "no parameter that is trained"),
            (lambda x: x, (x, y), F.cross_entropy, TaskError, "nn.Module"),
            (nn.GRU(4, 3), (x, y), F.cross_entropy, TaskError, "must return a tensor"),
            (nn.Linear(4, 3), x, F.cross_entropy, TaskError, "data are"),
            (nn.Linear(4, 3), (x, y[:4]), F.cross_entropy, TaskError, "as many samples"),
            (nn.Linear(4, 3), (x, y.float()), F.cross_entropy, LossError, "metric 'cross entropy' failed"),
            (nn.Linear(4, 3), (x, y), lambda o, t: o, LossError, "must return one number"),
        ):  # fmt: skip
            before = torch.get_rng_state()
            with pytest.raises(error, match=said):
                landscape(model, data, metric, grid=3)
            assert torch.equal(before, torch.get_rng_state())
        with pytest.raises(EvaluationError, match="biases=True"):
            landscape(nn.PReLU(), (x, y), mean, grid=3)
