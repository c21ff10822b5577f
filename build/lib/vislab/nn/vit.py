"""Vision transformers without a class token that work on any subset of the patches, and a narrow one that fills in the rest."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn


def sincos_positions(width: int, side: int) -> Float[Tensor, "token width"]:
    """Fixed positions of a `side` x `side` grid, row by row: the first half of the channels encodes the column, the second the row.

    Within each half come all sines, then all cosines, of position / 10000^(4 k / width).
    Raises ValueError when `width` is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"the width must be a multiple of 4, got {width}")
    rate = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) * 4 / width)
    angle = torch.arange(side, dtype=torch.float64)[:, None] * rate
    line = torch.cat([angle.sin(), angle.cos()], dim=1).float()
    column = repeat(line, "x c -> (y x) c", y=side)
    row = repeat(line, "y c -> (y x) c", x=side)
    return torch.cat([column, row], dim=1)


def taken(
    tokens: Float[Tensor, "batch token width"], index: Int[Tensor, "batch kept"]
) -> Float[Tensor, "batch kept width"]:
    """The tokens at `index` of each row."""
    return torch.gather(tokens, 1, repeat(index, "b k -> b k w", w=tokens.shape[-1]))


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        q, k, v = rearrange(self.qkv(x), "b t (three h c) -> three b h t c", three=3, h=self.heads)
        return self.proj(rearrange(F.scaled_dot_product_attention(q, k, v), "b h t c -> b t (h c)"))


class Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        hidden = int(width * mlp_ratio)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


def initialise_blocks(module: nn.Module, blocks: nn.ModuleList) -> None:
    """Truncated normal of 0.02 for linear and convolutional weights; residual outputs divided by sqrt(2 k) in block k."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Conv2d)):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    with torch.no_grad():
        for depth, block in enumerate(blocks, start=1):
            block.attn.proj.weight.div_(math.sqrt(2 * depth))
            block.mlp["fc2"].weight.div_(math.sqrt(2 * depth))


class PatchEncoder(nn.Module):
    """ViT on the patches named by an index: hidden patches cost nothing and cannot be seen."""

    def __init__(self, image_size: int, patch: int, width: int, depth: int, heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.side = image_size // patch
        self.patch_embed = nn.Conv2d(3, width, patch, patch)
        self.register_buffer("positions", sincos_positions(width, self.side), persistent=False)
        self.blocks = nn.ModuleList([Block(width, heads, mlp_ratio) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        initialise_blocks(self, self.blocks)
        # as MAE: with 0.02 the content of a small patch would drown in its position
        nn.init.xavier_uniform_(self.patch_embed.weight.view(width, -1))

    def embed(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch token width"]:
        """Patch embeddings with their positions."""
        return rearrange(self.patch_embed(image), "b c h w -> b (h w) c") + self.positions

    def encode(self, tokens: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        """All blocks and the last norm."""
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def forward(
        self, image: Float[Tensor, "batch 3 height width"], visible: Int[Tensor, "batch kept"] | None = None
    ) -> Float[Tensor, "batch token width"]:
        """Features of the visible patches, of all when `visible` is None."""
        tokens = self.embed(image)
        return self.encode(tokens if visible is None else taken(tokens, visible))


class PatchPredictor(nn.Module):
    """A narrow ViT that sees context features and, for every place asked for, one shared mask token with its position."""

    def __init__(self, inputs: int, outputs: int, side: int, width: int, depth: int, heads: int):
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("positions", sincos_positions(width, side), persistent=False)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.proj = nn.Linear(width, outputs)
        initialise_blocks(self, self.blocks)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(
        self,
        context: Float[Tensor, "batch kept inputs"],
        visible: Int[Tensor, "batch kept"],
        targets: Int[Tensor, "batch block place"],
    ) -> Float[Tensor, "batch block place outputs"]:
        """Predictions at the places of every block; the blocks do not see each other."""
        blocks, places = targets.shape[1:]
        known = self.embed(context) + self.positions[visible]
        asked = self.mask_token + self.positions[targets]
        known = repeat(known, "b k w -> (b m) k w", m=blocks)
        x = torch.cat([known, rearrange(asked, "b m p w -> (b m) p w")], dim=1)
        for block in self.blocks:
            x = block(x)
        return rearrange(self.proj(self.norm(x[:, -places:])), "(b m) p w -> b m p w", m=blocks)
