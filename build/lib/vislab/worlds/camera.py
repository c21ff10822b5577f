"""A RAW camera: a linear scene becomes a noisy mosaic of digital numbers and its rendered picture, every stage known exactly.

scene (linear sRGB) -> camera colour (inverse colour matrix, inverse white balance) -> mosaic -> electrons at the short exposure
-> shot, row and read noise -> gain, black level, quantisation -> packed, black level removed, multiplied by the exposure ratio.
The reference picture is the same scene through white balance, colour matrix, tone curve and the sRGB curve.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.ops import counter
from vislab.ops.bayer import BLOCK, Pattern, demosaic, mosaic, pack
from vislab.ops.colour import mix_channels, srgb_from_linear
from vislab.worlds.base import WorldDataset
from vislab.worlds.photos import PhotosConfig, PhotosWorld

# Linear sRGB from white-balanced camera colour; rows sum to one, so that grey stays grey.
COLOUR_MATRIX = {
    "bayer": ((1.60, -0.52, -0.08), (-0.22, 1.48, -0.26), (0.04, -0.48, 1.44)),
    "xtrans": ((1.55, -0.42, -0.13), (-0.19, 1.49, -0.30), (0.06, -0.48, 1.42)),
}
# White-balance gains of red, green and blue under the reference light.
GAINS = {"bayer": (1.7, 1.0, 1.4), "xtrans": (1.6, 1.0, 1.5)}


@dataclass(frozen=True)
class CameraConfig:
    """The sensor, its exposure and its noise."""

    photos: PhotosConfig = PhotosConfig()
    """The scene in front of the camera."""
    pattern: Pattern = "bayer"
    """The colour filter array: a 2x2 Bayer tile or a 6x6 X-Trans one; each has its own colour matrix."""
    full_well: float = 6000.0
    """Electrons that the brightest photosite collects at the long exposure."""
    read_noise: float = 1.0
    """Standard deviation of the Gaussian read noise, electrons."""
    row_noise: float = 0.3
    """Standard deviation of the offset that a row shares, electrons."""
    bits: int = 14
    """Bits of the converter."""
    black_level: float = 512.0
    """Digital number of zero electrons."""
    ratios: tuple[float, ...] = (100.0, 250.0, 300.0)
    """Exposure ratios long / short; each shot has one of them."""
    white_balance_jitter: float = 0.1
    """Half-width of the log-uniform change of the red and blue gains from shot to shot."""
    noise: Literal["full", "none"] = "full"
    """With "none" the short exposure is exact: no noise and no quantisation."""


@dataclass(frozen=True)
class Shot:
    """A batch of shots with the truth at every stage."""

    noisy: Float[Tensor, "batch channel ph pw"]
    """The network's input: packed mosaic, black level removed, times the ratio, clipped to at most 1 (negatives stay)."""
    clean: Float[Tensor, "batch channel ph pw"]
    """The packed mosaic of the long exposure without noise, in [0, 1]."""
    numbers: Float[Tensor, "batch height width"]
    """Digital numbers of the short exposure."""
    linear: Float[Tensor, "batch 3 height width"]
    """The scene in linear sRGB."""
    srgb: Float[Tensor, "batch 3 height width"]
    """The rendered reference picture."""
    ratio: Float[Tensor, " batch"]
    """Exposure ratio long / short."""
    gains: Float[Tensor, "batch 3"]
    """White-balance gains of the shot."""


class CameraWorld:
    """`CameraConfig` and a seed give an infinite list of shots."""

    def __init__(self, config: CameraConfig, seed: int = 0):
        self.config, self.seed = config, seed
        self.photos = PhotosWorld(config.photos, seed)
        if config.photos.image_size % BLOCK[config.pattern]:
            raise ValueError(f"image_size {config.photos.image_size} is no multiple of {BLOCK[config.pattern]}")

    def sample(self, indices: Int[Tensor, " batch"], device: torch.device | str = "cpu") -> Shot:
        """The shots at `indices`."""
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        return self.expose(self.photos.sample(indices, device).linear, indices)

    def expose(
        self,
        linear: Float[Tensor, "batch 3 height width"],
        indices: Int[Tensor, " batch"],
        ratio: Float[Tensor, " batch"] | None = None,
    ) -> Shot:
        """Photograph given scenes with the noise of shots `indices`; `ratio` replaces the shots' own."""
        config, seed = self.config, self.seed
        if ratio is None:
            which = counter.integers(seed, "world", indices, "ratio", len(config.ratios))
            ratio = torch.tensor(config.ratios, device=indices.device)[which]
        gains = self.gains(indices)
        colour = camera_from_linear(linear, gains, config.pattern)
        signal = mosaic(colour, config.pattern).clamp(0, 1)
        electrons = signal * config.full_well / ratio[:, None, None]
        numbers = self.read_out(electrons, indices)
        white = 2.0**config.bits - 1
        exposed = (numbers - config.black_level) / (white - config.black_level)
        amplified = (exposed * ratio[:, None, None]).clamp(max=1)
        return Shot(
            noisy=pack(amplified, config.pattern),
            clean=pack(signal, config.pattern),
            numbers=numbers,
            linear=linear,
            srgb=render(linear),
            ratio=ratio,
            gains=gains,
        )

    def gains(self, indices: Int[Tensor, " batch"]) -> Float[Tensor, "batch 3"]:
        """White-balance gains of each shot: the camera's, red and blue changed from shot to shot."""
        width = self.config.white_balance_jitter
        change = counter.uniform(self.seed, "world", indices, "white balance", (2,), -width, width).exp()
        one = torch.ones_like(change[:, :1])
        base = torch.tensor(GAINS[self.config.pattern], device=indices.device)
        return base * torch.cat([change[:, :1], one, change[:, 1:]], dim=1)

    def read_out(
        self, electrons: Float[Tensor, "batch height width"], indices: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch height width"]:
        """Digital numbers of expected `electrons`: shot, row and read noise, gain, black level, rounding, clipping."""
        config, seed = self.config, self.seed
        white = 2.0**config.bits - 1
        per_electron = (white - config.black_level) / config.full_well
        if config.noise == "none":
            return electrons * per_electron + config.black_level
        shape = electrons.shape[1:]
        u = counter.uniform(seed, "world", indices, "shot", shape)
        z = counter.normal(seed, "world", indices, "shot tail", shape)
        row = config.row_noise * counter.normal(seed, "world", indices, "row", (shape[0], 1))
        read = config.read_noise * counter.normal(seed, "world", indices, "read", shape)
        collected = poisson(electrons, u, z) + row + read
        return (collected * per_electron + config.black_level).round().clamp(0, white)

    def dataset(self, start: int, count: int) -> WorldDataset:
        """A torch data set over items [start, start + count)."""
        return WorldDataset(self, start, count)


def poisson(rate: Tensor, u: Tensor, z: Tensor, most: int = 48) -> Tensor:
    """Poisson counts of `rate` from uniforms `u` by inversion up to a rate of 20, from normals `z` above it."""
    small = rate.clamp(max=20.0).double()
    term = torch.exp(-small)
    reached = term.clone()
    count = torch.zeros_like(small)
    for k in range(1, most + 1):
        count += u > reached
        term = term * small / k
        reached += term
    large = (rate + rate.clamp(min=0).sqrt() * z).round().clamp(min=0)
    return torch.where(rate > 20.0, large, count.to(rate.dtype))


def matrix(pattern: Pattern, device: torch.device | str = "cpu") -> Float[Tensor, "3 3"]:
    """The camera's colour matrix: linear sRGB from white-balanced camera colour."""
    return torch.tensor(COLOUR_MATRIX[pattern], device=device)


def camera_from_linear(
    linear: Float[Tensor, "batch 3 h w"], gains: Float[Tensor, "batch 3"], pattern: Pattern
) -> Float[Tensor, "batch 3 h w"]:
    """What the sensor's colours see of a scene: inverse colour matrix, then inverse white balance."""
    return mix_channels(linear, torch.linalg.inv(matrix(pattern, linear.device))) / gains[:, :, None, None]


def linear_from_camera(
    colour: Float[Tensor, "batch 3 h w"], gains: Float[Tensor, "batch 3"], pattern: Pattern
) -> Float[Tensor, "batch 3 h w"]:
    """The inverse of `camera_from_linear`."""
    return mix_channels(colour * gains[:, :, None, None], matrix(pattern, colour.device))


def tone(linear: Tensor) -> Tensor:
    """A mild S-shaped curve on [0, 1], monotone, with fixed ends."""
    x = linear.clamp(0, 1)
    return 0.7 * x + 0.3 * x * x * (3 - 2 * x)


def render(linear: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 h w"]:
    """The end of the pipeline: tone curve, then the sRGB curve."""
    return srgb_from_linear(tone(linear))


def develop(
    raw: Float[Tensor, "batch h w"], gains: Float[Tensor, "batch 3"], pattern: Pattern
) -> Float[Tensor, "batch 3 h w"]:
    """A mosaic in [0, 1] through the whole pipeline: demosaicing, white balance, colour matrix, tone curve, sRGB."""
    return render(linear_from_camera(demosaic(raw, pattern), gains, pattern))
