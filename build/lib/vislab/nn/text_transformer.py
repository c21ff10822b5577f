"""CLIP's text tower alone, as latent diffusion uses it: one vector a token, frozen."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vislab.nn.clip import Transformer

_OURS = ("transformer.", "token_embedding.", "positional_embedding", "ln_final.")


class TextEncoder(nn.Module):
    """Token and place embeddings, a causal transformer, a last layer norm; tensor names as in `vislab.nn.clip.CLIP`."""

    def __init__(self, vocabulary: int = 49408, length: int = 77, width: int = 768, layers: int = 12, heads: int = 12):
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(length, width))
        self.transformer = Transformer(width, layers, heads, causal=True)
        self.ln_final = nn.LayerNorm(width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(self, text: Int[Tensor, "batch length"]) -> Float[Tensor, "batch length width"]:
        """The normalised last layer: one vector a token."""
        x = self.token_embedding(text) + self.positional_embedding[: text.shape[1]]
        return self.ln_final(self.transformer(x))


def text_part(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a CLIP's state that belong to its text tower."""
    return {name: value for name, value in state.items() if name.startswith(_OURS)}
