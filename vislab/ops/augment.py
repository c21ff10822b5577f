"""Augmentations of small labelled pictures: crops, flips, AutoAugment with Cutout; each picture by itself, inside the step's scope."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def crop_and_flip(image: Float[Tensor, "batch 3 h w"], padding: int) -> Float[Tensor, "batch 3 h w"]:
    """A random crop of the zero-padded picture, flipped with probability one half."""
    count, _, height, width = image.shape
    padded = F.pad(image, (padding,) * 4)
    top, left = torch.randint(0, 2 * padding + 1, (2, count), device=image.device)
    flip = torch.rand(count, device=image.device) < 0.5
    rows = top[:, None] + torch.arange(height, device=image.device)
    columns = torch.arange(width, device=image.device).expand(count, -1)
    columns = left[:, None] + torch.where(flip[:, None], columns.flip(-1), columns)
    item = torch.arange(count, device=image.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[item, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def auto_augment(
    image: Float[Tensor, "batch 3 h w"], mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "batch 3 h w"]:
    """AutoAugment's CIFAR policy on standardised pictures, then a square hole of half the side at a random place."""
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    shift, scale = (torch.tensor(v, device=image.device)[:, None, None] for v in (mean, std))
    policy = AutoAugment(AutoAugmentPolicy.CIFAR10)
    whole = ((image * scale + shift).clamp(0, 1) * 255).byte()
    changed = torch.stack([policy(one) for one in whole]).float() / 255
    side = image.shape[-1]
    centre = torch.randint(0, side, (2, len(image), 1), device=image.device)
    near = (torch.arange(side, device=image.device) - centre).abs() < side // 4
    hole = near[0][:, None, :, None] & near[1][:, None, None, :]
    return ((changed - shift) / scale).masked_fill(hole, 0.0)
