"""Layers that several networks share."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of an image, at every pixel by itself."""

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def pad_to_multiple(
    x: Float[Tensor, "batch channel h w"], multiple: int
) -> tuple[Float[Tensor, "batch channel ph pw"], tuple[int, int]]:
    """Reflect-pad both sides to a multiple, the smaller half first; also the (top, left) offset of the picture."""
    down, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    top, left = down // 2, right // 2
    if not (down or right):
        return x, (0, 0)
    return torch.nn.functional.pad(x, (left, right - left, top, down - top), mode="reflect"), (top, left)
