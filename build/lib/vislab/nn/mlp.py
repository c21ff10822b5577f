"""Multi-layer perceptrons."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class SkipMLP(nn.Module):
    """`depth` linear layers with leaky ReLUs (slope 0.01) between them; the input enters again before layer `skip` (counted from 0)."""

    def __init__(self, inputs: int, outputs: int, width: int = 256, depth: int = 6, skip: int | None = 3):
        super().__init__()
        self.skip = skip
        sizes = [inputs, *[width] * (depth - 1)]
        if skip is not None and 0 < skip < depth:
            sizes[skip] += inputs
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(sizes, [*[width] * (depth - 1), outputs], strict=True)
        )

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        start = x
        for k, layer in enumerate(self.layers):
            if k and k == self.skip:
                x = torch.cat([start, x], dim=-1)
            x = layer(x)
            if k < len(self.layers) - 1:
                x = F.leaky_relu(x, 0.01)
        return x
