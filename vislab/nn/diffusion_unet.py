"""The text-conditioned U-Net of latent diffusion: residual blocks with a time embedding, transformer blocks that read the text.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn


def time_embedding(time: Int[Tensor, " batch"], width: int) -> Float[Tensor, "batch width"]:
    """Cosines, then sines, of `time` at `width` / 2 frequencies from 1 down to nearly 1/10000."""
    half = width // 2
    rate = torch.exp(-math.log(10_000) * torch.arange(half, device=time.device) / half)
    angle = time[:, None].float() * rate
    return torch.cat([angle.cos(), angle.sin()], dim=1)


class ResidualBlock(nn.Module):
    """Two convolutions with the time embedding added between them."""

    def __init__(self, channels: int, out: int, time_width: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.time = nn.Linear(time_width, out)
        self.norm2 = nn.GroupNorm(groups, out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(time))[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(y)))


class Attention(nn.Module):
    """Multi-head attention from `x` to `context`, or to itself.

    Where `pairs` is set, item i uses the attention maps of item `pairs[i]`; with `words` as well, its token j that of
    token `words[i, j]`, or its own where that is negative (see `shared_attention`).
    """

    def __init__(self, width: int, context_width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(context_width, width, bias=False)
        self.value = nn.Linear(context_width, width, bias=False)
        self.out = nn.Linear(width, width)
        self.pairs: Tensor | None = None
        self.words: Tensor | None = None

    def forward(self, x: Float[Tensor, "batch token width"], context: Tensor) -> Float[Tensor, "batch token width"]:
        q, k, v = (
            rearrange(t, "b n (h d) -> b h n d", h=self.heads)
            for t in (self.query(x), self.key(context), self.value(context))
        )
        if self.pairs is None:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            own = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(dim=-1)
            weights = own[self.pairs]
            if self.words is not None:
                words = self.words[:, None, None].expand_as(weights)
                weights = torch.where(words < 0, own, weights.gather(3, words.clamp(min=0)))
            mixed = weights @ v
        return self.out(rearrange(mixed, "b h n d -> b n (h d)"))


class TransformerBlock(nn.Module):
    """Self-attention over the cells, cross-attention to the text, a gated feed-forward layer."""

    def __init__(self, width: int, context_width: int, heads: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = Attention(width, width, heads)
        self.cross_attention = Attention(width, context_width, heads)
        self.gate = nn.Linear(width, 8 * width)
        self.shrink = nn.Linear(4 * width, width)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        height = x.shape[2]
        y = rearrange(self.proj_in(self.norm(x)), "b c h w -> b (h w) c")
        z = self.norm1(y)
        y = y + self.self_attention(z, z)
        y = y + self.cross_attention(self.norm2(y), context)
        value, gate = self.gate(self.norm3(y)).chunk(2, dim=-1)
        y = y + self.shrink(value * F.gelu(gate))
        return x + self.proj_out(rearrange(y, "b (h w) c -> b c h w", h=height))


class Resample(nn.Module):
    """Half the size by a strided convolution, or twice by nearest neighbours and a convolution."""

    def __init__(self, channels: int, up: bool):
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1)

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest") if self.up else x)


class First(nn.Conv2d):
    """The first convolution, called like every other layer."""

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        return super().forward(x)


class DiffusionUNet(nn.Module):
    """Stable Diffusion's U-Net at any size; `attention` holds, for each level, whether its blocks read the text.

    The blocks of the way up take the outputs of the way down in reverse order, one each.
    """

    def __init__(
        self,
        channels: int = 4,
        out_channels: int = 4,
        width: int = 320,
        multiples: Sequence[int] = (1, 2, 4, 4),
        blocks: int = 2,
        attention: Sequence[bool] = (True, True, True, False),
        heads: int = 8,
        context_width: int = 768,
        groups: int = 32,
    ):
        super().__init__()
        self.width = width
        time_width = 4 * width
        self.time = nn.Sequential(nn.Linear(width, time_width), nn.SiLU(), nn.Linear(time_width, time_width))

        def block(source: int, target: int, level: int) -> list[nn.Module]:
            found: list[nn.Module] = [ResidualBlock(source, target, time_width, groups)]
            return found + ([TransformerBlock(target, context_width, heads, groups)] if attention[level] else [])

        now, skips = width, [width]
        down: list[list[nn.Module]] = [[First(channels, width, 3, padding=1)]]
        for level, multiple in enumerate(multiples):
            for _ in range(blocks):
                down.append(block(now, multiple * width, level))
                now = multiple * width
                skips.append(now)
            if level < len(multiples) - 1:
                down.append([Resample(now, up=False)])
                skips.append(now)
        middle = [
            ResidualBlock(now, now, time_width, groups),
            TransformerBlock(now, context_width, heads, groups),
            ResidualBlock(now, now, time_width, groups),
        ]
        up: list[list[nn.Module]] = []
        for level, multiple in reversed(list(enumerate(multiples))):
            for k in range(blocks + 1):
                up.append(block(now + skips.pop(), multiple * width, level))
                now = multiple * width
                if level > 0 and k == blocks:
                    up[-1].append(Resample(now, up=True))
        self.down = nn.ModuleList(nn.ModuleList(layers) for layers in down)
        self.middle = nn.ModuleList(middle)
        self.up = nn.ModuleList(nn.ModuleList(layers) for layers in up)
        self.norm = nn.GroupNorm(groups, width)
        self.last = nn.Conv2d(width, out_channels, 3, padding=1)

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        time: Int[Tensor, " batch"],
        context: Float[Tensor, "batch token context"],
    ) -> Float[Tensor, "batch out height width"]:
        embedded = self.time(time_embedding(time, self.width).to(x.dtype))
        kept = []
        for layers in self.down:
            for layer in layers:
                x = layer(x, embedded, context)
            kept.append(x)
        for layer in self.middle:
            x = layer(x, embedded, context)
        for layers in self.up:
            x = torch.cat([x, kept.pop()], dim=1)
            for layer in layers:
                x = layer(x, embedded, context)
        return self.last(F.silu(self.norm(x)))


@contextlib.contextmanager
def shared_attention(
    network: nn.Module, source: Int[Tensor, " batch"], words: Int[Tensor, "batch token"] | None = None
) -> Iterator[None]:
    """Inside, item i of a batch uses the self-attention maps of item `source[i]`; the values stay each item's own.

    With `words`, the maps of the text are shared too: token j of item i lies where token `words[i, j]` of its source lies,
    or, where that is negative, where it would.
    Hertz et al., "Prompt-to-Prompt Image Editing with Cross-Attention Control".
    """
    blocks = [m for m in network.modules() if isinstance(m, TransformerBlock)]
    layers = [b.self_attention for b in blocks]
    if words is not None:
        layers += [b.cross_attention for b in blocks]
        for block in blocks:
            block.cross_attention.words = words
    for layer in layers:
        layer.pairs = source
    try:
        yield
    finally:
        for layer in layers:
            layer.pairs = layer.words = None


def widened(state: dict[str, Tensor], channels: int, first: str = "down.0.0.weight") -> dict[str, Tensor]:
    """A U-Net's state for more input channels: the first convolution's new weights are zero, so that its output stays."""
    weight = state[first]
    more = weight.new_zeros(weight.shape[0], channels - weight.shape[1], *weight.shape[2:])
    return state | {first: torch.cat([weight, more], dim=1)}
