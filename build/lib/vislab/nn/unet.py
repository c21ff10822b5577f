"""Plain U-Nets."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def conv_pair(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions, each followed by a leaky ReLU with slope 0.2."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.LeakyReLU(0.2),
    )


class UNet(nn.Module):
    """A U-Net without normalisation: `levels` resolutions, widths doubling, max-pooling down, transposed 2x2 up.

    Input sides must be multiples of 2 ** (levels - 1).
    """

    def __init__(self, inputs: int, outputs: int, width: int = 32, levels: int = 5):
        super().__init__()
        widths = [width * 2**k for k in range(levels)]
        self.encoders = nn.ModuleList(conv_pair(a, b) for a, b in zip([inputs, *widths], widths, strict=False))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.decoders = nn.ModuleList(conv_pair(2 * w, w) for w in widths[:-1])
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch outputs h w"]:
        skips = []
        for encode in self.encoders[:-1]:
            x = encode(x)
            skips.append(x)
            x = self.pool(x)
        x = self.encoders[-1](x)
        for up, decode, skip in reversed(list(zip(self.ups, self.decoders, skips, strict=True))):
            x = decode(torch.cat([up(x), skip], dim=1))
        return self.head(x)
