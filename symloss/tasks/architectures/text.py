"""Networks on tokens: a convolutional and a recurrent one. Token 0 is padding behind the end of a text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from symloss.errors import TaskError
from symloss.tasks.architectures.sizes import rate, whole


def charcnn(
    shape: Sequence[int],
    outputs: int,
    vocabulary: int,
    embedding: int = 16,
    filters: int = 32,
    widths: int | Sequence[int] = (2, 3, 4),
    dropout: float = 0.0,
) -> nn.Sequential:
    """Convolutions of several widths over embedded tokens, the maximum of each filter over the text, one linear layer.

    Args:
        shape: Shape of one sample **[L]**.
        outputs: Number of outputs C.
        vocabulary: Number of tokens, 0 for padding included.
        embedding: Size of a token's vector.
        filters: Filters of each width.
        widths: How many tokens filters see at once.
        dropout: Rate of dropout before the linear layer.

    Returns:
        A model from tokens **[B, L]** to **[B, C]**.

    Raises:
        TaskError: If the inputs are not such texts, or a size is not usable.

    Source: Kim, Convolutional neural networks for sentence classification, 2014 (300, 100, (3, 4, 5), 0.5, on words).
    """
    _check_text("charcnn", shape)
    (embedding,), (filters,) = whole("embedding", embedding, count=1), whole("filters", filters, count=1)
    found = whole("widths", widths)
    if max(found) > shape[0]:
        raise TaskError(f"widths of a charcnn are at most the {shape[0]} tokens of a text; received {widths!r:.80}")
    return nn.Sequential(
        _embedding(vocabulary, embedding), _Convolutions(embedding, filters, found),
        nn.Dropout(rate("dropout", dropout)), nn.Linear(filters * len(found), outputs),
    )  # fmt: skip


def gru(shape: Sequence[int], outputs: int, vocabulary: int, embedding: int = 16, hidden: int = 64) -> nn.Sequential:
    """A gated recurrent unit over embedded tokens, its last state to one linear layer.

    r = σ(Wᵣx + Uᵣh + bᵣ + cᵣ), z = σ(W_z x + U_z h + b_z + c_z), n = tanh(Wₙx + bₙ + r ⊙ (Uₙh + cₙ)),
    h ← (1 − z) ⊙ n + z ⊙ h, as `torch.nn.GRU` has it; h stays as it is at padding.

    Args:
        shape: Shape of one sample **[L]**.
        outputs: Number of outputs C.
        vocabulary: Number of tokens, 0 for padding included.
        embedding: Size of a token's vector.
        hidden: Size of the state h.

    Returns:
        A model from tokens **[B, L]** to **[B, C]**.

    Raises:
        TaskError: If the inputs are not such texts, or a size is not usable.

    Source: Cho et al., Learning phrase representations using RNN encoder-decoder, 2014.
    """
    _check_text("gru", shape)
    (embedding,), (hidden,) = whole("embedding", embedding, count=1), whole("hidden", hidden, count=1)
    return nn.Sequential(Gru(vocabulary, embedding, hidden), nn.Linear(hidden, outputs))


class Gru(nn.Module):
    """The last state of a gated recurrent unit, in plain operations, which can be batched over many models.

    Args:
        vocabulary: Number of tokens.
        embedding: Size E of a token's vector.
        hidden: Size H of the state.
    """

    def __init__(self, vocabulary: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embedding = _embedding(vocabulary, embedding)
        bound = 1 / math.sqrt(hidden)

        def uniform(*size: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(size).uniform_(-bound, bound))

        self.input_weight, self.state_weight = uniform(3 * hidden, embedding), uniform(3 * hidden, hidden)
        self.input_bias, self.state_bias = uniform(3 * hidden), uniform(3 * hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [B, L] -> states [B, H]."""
        inputs = self.embedding(tokens) @ self.input_weight.t() + self.input_bias
        state: Tensor = inputs.new_zeros(len(tokens), self.state_weight.shape[1])
        for x, there in zip(inputs.unbind(1), (tokens != 0).unbind(1), strict=True):
            from_input = x.chunk(3, 1)
            from_state = (state @ self.state_weight.t() + self.state_bias).chunk(3, 1)
            reset, keep = (torch.sigmoid(from_input[i] + from_state[i]) for i in (0, 1))
            new = torch.tanh(from_input[2] + reset * from_state[2])
            state = state + there[:, None] * (1 - keep) * (new - state)
        return state


class _Convolutions(nn.Module):
    """The largest value of each filter over the text, rectified: [B, L, E] -> [B, filters · widths]."""

    def __init__(self, embedding: int, filters: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(embedding, filters, width) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        """Embedded tokens [B, L, E] -> [B, filters · widths]."""
        x = x.transpose(1, 2)
        return torch.cat([layer(x).amax(2) for layer in self.layers], 1).relu()


def _embedding(vocabulary: int, size: int) -> nn.Embedding:
    return nn.Embedding(whole("vocabulary", vocabulary, count=1)[0], size)


def _check_text(model: str, shape: Sequence[int]) -> None:
    if len(shape) != 1:
        raise TaskError(f"{model} takes texts, a row of tokens for each; received inputs of shape {list(shape)}")
