"""Reading one picture file of a data set."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require


def centre_crop(dataset: DataSet, file: Path, size: int, border: int = 0) -> Float[Tensor, "3 size size"]:
    """sRGB in [0, 1]: `border` pixels cut off, the shorter side resized to `size` (bicubic), the middle cropped.

    Raises UserError for a missing or damaged file.
    """
    try:
        with Image.open(require(dataset, file)) as image:
            image = image.convert("RGB")
            if border:
                image = image.crop((border, border, image.width - border, image.height - border))
            scale = size / min(image.size)
            image = image.resize([max(size, round(s * scale)) for s in image.size], Image.Resampling.BICUBIC)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise damaged(dataset, file, error) from error
    left, top = (image.width - size) // 2, (image.height - size) // 2
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255
