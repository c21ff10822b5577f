"""Pictures with the statistics of photographs: dead leaves, 1/f textures, and crops of bundled real photographs."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.cards import SPLIT_SIZE, SPLITS
from vislab.ops import counter
from vislab.ops.colour import linear_from_srgb
from vislab.worlds.base import WorldDataset

# Real photographs are split by file, so that no test crop shares a scene with training.
REAL = {
    "train": ("skimage/astronaut.png", "skimage/chelsea.png", "skimage/rocket.jpg", "skimage/motorcycle_left.png"),
    "validation": ("sklearn/flower.jpg",),
    "test": ("skimage/coffee.png", "sklearn/china.jpg", "matplotlib/grace_hopper.jpg"),
}


@dataclass(frozen=True)
class PhotosConfig:
    """What a picture looks like."""

    image_size: int = 64
    """Height and width in pixels."""
    kind: Literal["leaves", "texture", "real"] = "leaves"
    """Dead leaves with texture on them, texture alone, or crops of real photographs."""
    leaves: int = 40
    """Number of overlapping discs."""
    smallest: float = 0.06
    """Smallest radius as a share of the image size; radii follow a power law with exponent 3."""
    largest: float = 0.5
    """Largest radius as a share of the image size."""
    texture: float = 0.15
    """Standard deviation of the logarithm of the texture's gain."""
    slope: float = 1.0
    """The texture's amplitude falls as 1 / frequency ** slope."""
    saturation: float = 0.5
    """How far leaves' colours are from grey: 0 is grey, 1 is uniform in the colour cube."""
    darkest: float = 0.02
    """Lower end of a leaf's reflectance; the upper end is 1."""


@dataclass(frozen=True)
class Photos:
    """A batch of pictures."""

    linear: Float[Tensor, "batch 3 height width"]
    """Linear sRGB in [0, 1]."""
    labels: Int[Tensor, "batch height width"]
    """The leaf that is seen at each pixel (0 is the background; for real photographs the file's number)."""


class PhotosWorld:
    """`PhotosConfig` and a seed give an infinite list of pictures."""

    def __init__(self, config: PhotosConfig, seed: int = 0):
        self.config, self.seed = config, seed

    def sample(self, indices: Int[Tensor, " batch"], device: torch.device | str = "cpu") -> Photos:
        """The pictures at `indices`."""
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        if self.config.kind == "real":
            return _real(self.config, self.seed, indices)
        if self.config.kind == "texture":
            gain = _texture(self.config, self.seed, indices)
            tint = counter.uniform(self.seed, "world", indices, "tint", (3, 1, 1), 0.2, 0.8)
            labels = torch.zeros(gain.shape[:1] + gain.shape[-2:], dtype=torch.int64, device=indices.device)
            return Photos((tint * gain).clamp(0, 1), labels)
        return _leaves(self.config, self.seed, indices)

    def dataset(self, start: int, count: int) -> WorldDataset:
        """A torch data set over items [start, start + count)."""
        return WorldDataset(self, start, count)


def _texture(config: PhotosConfig, seed: int, indices: Int[Tensor, " batch"]) -> Float[Tensor, "batch 1 h w"]:
    """A positive gain whose logarithm is 1/f noise."""
    n = config.image_size
    noise = counter.normal(seed, "world", indices, "texture", (n, n))
    rows, columns = torch.fft.fftfreq(n, device=indices.device), torch.fft.rfftfreq(n, device=indices.device)
    frequency = torch.hypot(rows[:, None], columns[None, :])
    frequency[0, 0] = 1.0
    amplitude = frequency**-config.slope
    amplitude[0, 0] = 0.0
    field = torch.fft.irfft2(torch.fft.rfft2(noise) * amplitude, s=(n, n))
    field = field / field.std(dim=(-2, -1), keepdim=True, correction=0)
    return torch.exp(config.texture * field)[:, None]


def _leaves(config: PhotosConfig, seed: int, indices: Int[Tensor, " batch"]) -> Photos:
    """Discs painted from back to front, each with its own colour, edges one pixel soft, under a texture."""
    n, count = config.image_size, config.leaves
    centres = counter.uniform(seed, "world", indices, "centres", (count, 2), -0.1 * n, 1.1 * n)
    u = counter.uniform(seed, "world", indices, "radii", (count,))
    low, high = config.smallest**-2, config.largest**-2
    radii = n * (low + u * (high - low)).rsqrt()
    colours = counter.uniform(seed, "world", indices, "colours", (count + 1, 3), config.darkest, 1.0)
    luminance = counter.uniform(seed, "world", indices, "luminance", (count + 1, 1), 0.15, 1.0)
    colours = torch.lerp(colours.mean(dim=-1, keepdim=True), colours, config.saturation) * luminance
    pixel = torch.arange(n, device=indices.device) + 0.5
    image = colours[:, 0, :, None, None].expand(-1, 3, n, n).clone()
    labels = torch.zeros(len(indices), n, n, dtype=torch.int64, device=indices.device)
    for k in range(count):
        dy = pixel[None, :, None] - centres[:, k, 0, None, None]
        dx = pixel[None, None, :] - centres[:, k, 1, None, None]
        cover = (radii[:, k, None, None] - torch.hypot(dy, dx) + 0.5).clamp(0, 1)
        image = torch.lerp(image, colours[:, k + 1, :, None, None].expand_as(image), cover[:, None].expand_as(image))
        labels = torch.where(cover > 0.5, k + 1, labels)
    return Photos((image * _texture(config, seed, indices)).clamp(0, 1), labels)


@cache
def photograph(name: str) -> Float[Tensor, "3 height width"]:
    """A bundled photograph in linear sRGB, by its name in `REAL`.

    Raises FileNotFoundError when the package that ships it does not.
    """
    import numpy as np
    from PIL import Image

    package, file = name.split("/")
    with Image.open(_folder(package) / file) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return linear_from_srgb(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())


def _folder(package: str) -> Path:
    if package == "skimage":
        import skimage

        return Path(skimage.__file__).parent / "data"
    if package == "sklearn":
        import sklearn

        return Path(sklearn.__file__).parent / "datasets" / "images"
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data"


def _real(config: PhotosConfig, seed: int, indices: Int[Tensor, " batch"]) -> Photos:
    """Crops at random places, scales 1/1 to 1/3 and flips; the split of an index decides the files."""
    n = config.image_size
    place = counter.uniform(seed, "world", indices, "crop", (4,))
    starts = sorted(SPLITS.items(), key=lambda item: item[1])
    images, labels = [], []
    # one pass an item: the photographs differ in size, and grid_sample needs one source at a time
    for item, (u, v, scale, flip) in zip(indices.tolist(), place.tolist(), strict=True):
        split = next(s for s, start in reversed(starts) if item >= start)
        files = REAL[split]
        number = int(counter.integers(seed, "world", torch.tensor([item % SPLIT_SIZE]), "file", len(files)))
        source = photograph(files[number])
        zoom = min(1 + 2 * scale, min(source.shape[1:]) / n)
        side = int(n * zoom)
        top, left = int(u * (source.shape[1] - side + 1)), int(v * (source.shape[2] - side + 1))
        crop = source[None, :, top : top + side, left : left + side]
        crop = torch.nn.functional.interpolate(crop, size=(n, n), mode="area")[0]
        images.append(crop.flip(-1) if flip < 0.5 else crop)
        labels.append(torch.full((n, n), number, dtype=torch.int64))
    return Photos(torch.stack(images).to(indices.device), torch.stack(labels).to(indices.device))
