"""Architectures that ask something unusual of whoever trains them: each from inputs [B, 6] to 3 logits."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

INPUTS, HIDDEN, OUTPUTS = 6, 5, 3
ZOO: dict[str, Callable[[], nn.Module]] = {}


def entry(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Put an architecture into the zoo under the name of its class or function."""
    ZOO[build.__name__] = build
    return build


class Perceptron(nn.Module):
    """The body that most of them vary."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, OUTPUTS)

    def hidden(self, x: Tensor) -> Tensor:
        return torch.tanh(self.first(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(x))


# Which parameters there are


@entry
class UnusedParameter(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)


@entry
class SharedSubmodule(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.again = self.middle = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.again(torch.tanh(self.middle(self.hidden(x))))))


@entry
class TiedParameters(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(HIDDEN, INPUTS)
        self.decoder.weight = nn.Parameter(self.first.weight.detach().t().contiguous())
        self.second = nn.Linear(INPUTS, HIDDEN)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.second(torch.tanh(self.decoder(self.hidden(x))))))


@entry
def repeated_in_a_stack() -> nn.Module:
    square = nn.Linear(INPUTS, INPUTS)
    return nn.Sequential(square, nn.Tanh(), square, nn.Tanh(), nn.Linear(INPUTS, OUTPUTS))


@entry
def stack_with_a_parameter_of_its_own() -> nn.Module:
    model = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUTPUTS))
    model.register_parameter("temperature", nn.Parameter(torch.ones(())))
    return model


@entry
class ParametersInContainers(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ParameterList([torch.rand(HIDDEN), torch.rand(())])
        self.shifts = nn.ParameterDict({"hidden": torch.rand(HIDDEN)})

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(x) * self.scales[0] + self.shifts["hidden"]) * self.scales[1]


@entry
class SparseEmbedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, HIDDEN, sparse=True)
        self.last = nn.Linear(INPUTS * HIDDEN, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.table((x * 2).long().clamp(-4, 4) + 4).flatten(1))


@entry
class SparseBag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.EmbeddingBag(9, HIDDEN, sparse=True), nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.table((x * 2).long().clamp(-4, 4) + 4))


# What is drawn at random but not trained


@entry
class FrozenLayer(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.first.requires_grad_(False)


@entry
class RandomFeatures(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("projection", torch.randn(INPUTS, INPUTS))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x @ self.projection)


@entry
class RandomAttribute(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.sign = torch.randn(()).sign().item()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1.5 + self.sign)


# What changes while it runs


@entry
def batch_norm() -> nn.Module:
    layers = [nn.Linear(INPUTS, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.Tanh(), nn.Dropout(0.3)]
    return nn.Sequential(*layers, nn.Linear(HIDDEN, OUTPUTS))


@entry
def batch_norm_at_rest() -> nn.Module:
    model = batch_norm()
    model[1].eval()
    return model


@entry
def spectral_norm() -> nn.Module:
    first = parametrizations.spectral_norm(nn.Linear(INPUTS, HIDDEN))
    return nn.Sequential(first, nn.Tanh(), nn.Linear(HIDDEN, OUTPUTS))


@entry
class CountsItsCalls(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return super().forward(x) * (1 + 0.5 * (self.calls % 3))


@entry
class KeepsItsFeatures(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.features: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        before, self.features = self.features, self.hidden(x)
        shift = 0.0 if before is None else before.detach().mean(0)
        return self.last(self.features + shift)


@entry
class ReplacesItsBuffer(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.scale = self.scale * 0.9
        return super().forward(x) * self.scale


# What runs depends on the data or on chance


@entry
class BranchesOnTheInputs(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return (self.last if x[0, 0] > 0 else self.other)(self.hidden(x))


@entry
class BranchesOnTheHiddenLayer(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden(x)
        return (self.last if hidden[0, 0] > 0 else self.other)(hidden)


@entry
class StochasticDepth(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.middle = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden(x)
        if not self.training or torch.rand(()).item() < 0.5:
            hidden = hidden + torch.tanh(self.middle(hidden))
        return self.last(hidden)


@entry
def dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Dropout(0.5), nn.Linear(HIDDEN, OUTPUTS))


@entry
class NoisyInputs(Perceptron):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.3 * torch.randn_like(x) if self.training else x)


# Who calls whom


@entry
class ItsOwnHook(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_forward_hook(self.hook)

    def hook(self, module: nn.Module, args: object, output: Tensor) -> Tensor:
        return output * self.scale


@entry
class HookOfASubmodule(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(HIDDEN) + 0.5)
        self.first.register_forward_hook(lambda module, args, output: output * self.scale)


@entry
def hook_on_a_parameter() -> nn.Module:
    model = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUTPUTS))
    model[0].weight.register_hook(lambda gradient: 0.1 * gradient)
    return model


@entry
def forward_of_its_own() -> nn.Module:
    model = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUTPUTS))
    model.forward = types.MethodType(lambda self, x: self[2](torch.sin(self[0](x))), model)
    return model


@entry
def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, OUTPUTS)))


@entry
class PartlyScripted(Perceptron):
    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.first = torch.jit.script(self.first)


@entry
def weight_norm() -> nn.Module:
    first = parametrizations.weight_norm(nn.Linear(INPUTS, HIDDEN))
    return nn.Sequential(first, nn.Tanh(), nn.Linear(HIDDEN, OUTPUTS))


@entry
def weight_norm_by_hooks() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        first = nn.utils.weight_norm(nn.Linear(INPUTS, HIDDEN))
    return nn.Sequential(first, nn.Tanh(), nn.Linear(HIDDEN, OUTPUTS))


@entry
def orthogonal() -> nn.Module:
    first = parametrizations.orthogonal(nn.Linear(INPUTS, HIDDEN))
    return nn.Sequential(first, nn.Tanh(), nn.Linear(HIDDEN, OUTPUTS))


# Other layers


class Recurrent(nn.Module):
    """A recurrent network over two steps of three inputs."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.body, self.last = kind(3, HIDDEN, batch_first=True), nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x.view(-1, 2, 3))[0][:, -1])


@entry
def lstm() -> nn.Module:
    return Recurrent(nn.LSTM)


@entry
def gru() -> nn.Module:
    return Recurrent(nn.GRU)


@entry
class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 4)
        self.body = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.last = nn.Linear(12, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(self.embed(x.view(-1, 3, 2))).flatten(1))


@entry
def convolutions() -> nn.Module:
    layers = [nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.GroupNorm(2, 4), nn.ELU(), nn.AvgPool1d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, OUTPUTS))


@entry
class WritesInPlace(Perceptron):
    def forward(self, x: Tensor) -> Tensor:
        output = x.new_zeros(len(x), OUTPUTS)
        output[:, :2] = super().forward(x)[:, :2]
        return output


@entry
class OwnFunction(Perceptron):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: torch.autograd.function.FunctionCtx, bar: Tensor) -> Tensor:
            return 3 * ctx.saved_tensors[0] ** 2 * bar

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.Cube.apply(self.hidden(x)) + self.hidden(x))


@entry
class BilinearWithLayerNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm = nn.Bilinear(INPUTS, INPUTS, HIDDEN), nn.LayerNorm(HIDDEN)
        self.last = nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.silu(self.norm(self.body(x, x.flip(1)))))
