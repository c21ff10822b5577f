"""CLIP: an image tower and a text tower that meet in one normalised space, with the released networks' tensor names.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision".
"""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of the released networks."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """Pre-norm attention and MLP of ratio 4; `causal` hides later tokens."""

    def __init__(self, width: int, heads: int, causal: bool = False):
        super().__init__()
        self.causal = causal
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=QuickGELU(), c_proj=nn.Linear(4 * width, width))
        )
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        y = self.ln_1(x)
        mask = None
        if self.causal:
            mask = torch.full((x.shape[1], x.shape[1]), -math.inf, device=x.device).triu(1)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask, is_causal=self.causal)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """A stack of blocks."""

    def __init__(self, width: int, layers: int, heads: int, causal: bool = False):
        super().__init__()
        self.resblocks = nn.Sequential(*[Block(width, heads, causal) for _ in range(layers)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resblocks(x)


class VisionTower(nn.Module):
    """ViT with a class token; `forward` gives the projected class token, `tokens` every projected token."""

    def __init__(self, image_size: int, patch: int, width: int, layers: int, heads: int, embed_dim: int):
        super().__init__()
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn((image_size // patch) ** 2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, heads)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, embed_dim))

    def tokens(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch token embed"]:
        patches = rearrange(self.conv1(image), "b c h w -> b (h w) c")
        first = self.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        x = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding.to(patches.dtype))
        return self.ln_post(self.transformer(x)) @ self.proj

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed"]:
        return self.tokens(image)[:, 0]


class CLIP(nn.Module):
    """Both towers and the logit scale (its logarithm is the parameter, log(1/0.07) at the start).

    Images are normalised with `image_mean` and `image_std` by whoever makes them; the defaults of `normalise` are the released ones.
    """

    def __init__(
        self,
        embed_dim: int = 512,
        image_resolution: int = 224,
        vision_layers: int = 12,
        vision_width: int = 768,
        vision_patch_size: int = 16,
        context_length: int = 77,
        vocab_size: int = 49408,
        transformer_width: int = 512,
        transformer_heads: int = 8,
        transformer_layers: int = 12,
        vision_heads: int | None = None,
    ):
        super().__init__()
        self.visual = VisionTower(
            image_resolution,
            vision_patch_size,
            vision_width,
            vision_layers,
            vision_heads or vision_width // 64,
            embed_dim,
        )
        self.transformer = Transformer(transformer_width, transformer_layers, transformer_heads, causal=True)
        self.token_embedding = nn.Embedding(vocab_size, transformer_width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(context_length, transformer_width))
        self.ln_final = nn.LayerNorm(transformer_width)
        self.text_projection = nn.Parameter(transformer_width**-0.5 * torch.randn(transformer_width, embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def text_tokens(self, text: Int[Tensor, "batch length"]) -> Float[Tensor, "batch length width"]:
        """The text tower's last layer, normalised, before projection: one vector a token."""
        length = text.shape[1]
        return self.ln_final(self.transformer(self.token_embedding(text) + self.positional_embedding[:length]))

    def encode_image(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed"]:
        """Image features of unit length."""
        return F.normalize(self.visual(image), dim=-1)

    def encode_text(self, text: Int[Tensor, "batch length"]) -> Float[Tensor, "batch embed"]:
        """Text features of unit length, read at the token with the highest index, which is <end>."""
        x = self.text_tokens(text)
        last = x[torch.arange(len(text), device=text.device), text.argmax(dim=-1)]
        return F.normalize(last @ self.text_projection, dim=-1)

    def forward(
        self, image: Float[Tensor, "batch 3 height width"], text: Int[Tensor, "batch length"]
    ) -> tuple[Float[Tensor, "batch embed"], Float[Tensor, "batch embed"], Float[Tensor, ""]]:
        """Both features and the logit scale."""
        return self.encode_image(image), self.encode_text(text), self.logit_scale.exp()


def normalise(image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """sRGB in [0, 1] to the released networks' input."""
    mean = image.new_tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = image.new_tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    return (image - mean) / std


def contrastive(
    image: Float[Tensor, "batch embed"], text: Float[Tensor, "batch embed"], scale: Tensor | float
) -> Float[Tensor, ""]:
    """Symmetric InfoNCE: each image's own text is the one positive among the batch's, and the other way round."""
    logits = scale * image @ text.T
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
