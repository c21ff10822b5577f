"""The convolutional autoencoder of latent diffusion, with a Gaussian in the middle.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class PlainBlock(nn.Module):
    """Two normalised convolutions and a skip."""

    def __init__(self, channels: int, out: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out, eps=1e-6)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class CellAttention(nn.Module):
    """Self-attention of one head over all cells."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.query, self.key, self.value, self.out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = (rearrange(layer(y), "b c h w -> b (h w) c") for layer in (self.query, self.key, self.value))
        mixed = rearrange(F.scaled_dot_product_attention(q, k, v), "b (h w) c -> b c h w", h=x.shape[2])
        return x + self.out(mixed)


class Halve(nn.Module):
    """Half the size; one row and column of zeros are added below and to the right."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Double(nn.Module):
    """Twice the size by nearest neighbours, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _middle(channels: int, groups: int) -> list[nn.Module]:
    return [
        PlainBlock(channels, channels, groups),
        CellAttention(channels, groups),
        PlainBlock(channels, channels, groups),
    ]


class Autoencoder(nn.Module):
    """Images in [-1, 1] to the mean and log variance of a latent, and latents back to images.

    Every level but the last halves the size.
    """

    def __init__(
        self,
        width: int = 128,
        multiples: Sequence[int] = (1, 2, 4, 4),
        blocks: int = 2,
        latent_channels: int = 4,
        groups: int = 32,
    ):
        super().__init__()
        now = width
        encoder: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
        for level, multiple in enumerate(multiples):
            for _ in range(blocks):
                encoder.append(PlainBlock(now, multiple * width, groups))
                now = multiple * width
            if level < len(multiples) - 1:
                encoder.append(Halve(now))
        encoder += _middle(now, groups)
        encoder += [nn.GroupNorm(groups, now, eps=1e-6), nn.SiLU(), nn.Conv2d(now, 2 * latent_channels, 3, padding=1)]
        decoder: list[nn.Module] = [nn.Conv2d(latent_channels, now, 3, padding=1), *_middle(now, groups)]
        for level, multiple in reversed(list(enumerate(multiples))):
            for _ in range(blocks + 1):
                decoder.append(PlainBlock(now, multiple * width, groups))
                now = multiple * width
            if level > 0:
                decoder.append(Double(now))
        decoder += [nn.GroupNorm(groups, now, eps=1e-6), nn.SiLU(), nn.Conv2d(now, 3, 3, padding=1)]
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)
        self.to_moments = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)
        self.from_latent = nn.Conv2d(latent_channels, latent_channels, 1)

    def encode(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch latent h w"], Float[Tensor, "batch latent h w"]]:
        """Mean (which is also the mode) and log variance, the latter held within [-30, 20]."""
        mean, spread = self.to_moments(self.encoder(image)).chunk(2, dim=1)
        return mean, spread.clamp(-30, 20)

    def decode(self, latent: Float[Tensor, "batch latent h w"]) -> Float[Tensor, "batch 3 height width"]:
        """The image, about [-1, 1]."""
        return self.decoder(self.from_latent(latent))


def gaussian_divergence(mean: Float[Tensor, "batch *latent"], spread: Tensor) -> Float[Tensor, ""]:
    """Kullback-Leibler divergence from N(mean, exp(spread)) to the standard normal, summed over the latent, mean over the batch."""
    each = 0.5 * (mean.square() + spread.exp() - 1 - spread)
    return each.flatten(1).sum(dim=1).mean()


def drawn(mean: Tensor, spread: Tensor) -> Tensor:
    """One latent of the Gaussian, from torch's generator."""
    return mean + (0.5 * spread).exp() * torch.randn_like(mean)
