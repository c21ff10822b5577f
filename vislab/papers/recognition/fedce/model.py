"""The clients' network: a U-Net with batch normalisation."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vislab.papers.recognition.fedce.card import Config


def normalised_pair(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for a in (inputs, outputs):
        layers += [nn.Conv2d(a, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class NormalisedUNet(nn.Module):
    """`depth` halvings by max-pooling, widths doubling from `width`, transposed 2x2 convolutions back up.

    The sides of the input must be multiples of 2 ** depth.
    """

    def __init__(self, width: int, depth: int, inputs: int = 1, outputs: int = 1):
        super().__init__()
        widths = [width * 2**k for k in range(depth + 1)]
        self.encoders = nn.ModuleList(
            normalised_pair(a, b) for a, b in zip([inputs, *widths[:-1]], widths, strict=True)
        )
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.decoders = nn.ModuleList(normalised_pair(2 * w, w) for w in widths[:-1])
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch outputs h w"]:
        """Logits."""
        skips = []
        for encode in self.encoders[:-1]:
            x = encode(x)
            skips.append(x)
            x = self.pool(x)
        x = self.encoders[-1](x)
        for up, decode, skip in reversed(list(zip(self.ups, self.decoders, skips, strict=True))):
            x = decode(torch.cat([up(x), skip], dim=1))
        return self.head(x)


def build(config: Config) -> NormalisedUNet:
    """The network that all clients train: (batch, 1, h, w) to logits of the same shape."""
    return NormalisedUNet(config.width, config.depth)


def soft_dice_loss(
    logits: Float[Tensor, "batch 1 h w"], mask: Float[Tensor, "batch 1 h w"], smooth: float = 1e-5
) -> Tensor:
    """1 minus the Dice overlap of probabilities and mask, mean over the batch."""
    probability = logits.sigmoid()
    overlap, total = (probability * mask).sum(dim=(1, 2, 3)), (probability + mask).sum(dim=(1, 2, 3))
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def dice(logits: Float[Tensor, "batch 1 h w"], mask: Float[Tensor, "batch 1 h w"]) -> Float[Tensor, " batch"]:
    """Dice overlap of each predicted mask (probability above one half); 1 where both are empty."""
    found = (logits > 0).double()
    overlap, total = (found * mask).sum(dim=(1, 2, 3)), (found + mask).sum(dim=(1, 2, 3))
    return torch.where(total > 0, 2 * overlap / total.clamp(min=1), torch.ones_like(total))
