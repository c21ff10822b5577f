"""CLIP as a classifier: by its text encoder, or by a linear head that starts from the text encoder's weights."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vislab.nn.clip import CLIP
from vislab.papers.language.flyp.card import Config


class Classifier(nn.Module):
    """Both towers; `head` (classes, embed) stands where the config classifies with a head."""

    def __init__(self, clip: CLIP, classes: int, with_head: bool):
        super().__init__()
        self.clip = clip
        self.head = nn.Parameter(torch.zeros(classes, clip.text_projection.shape[1])) if with_head else None

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.clip(image, text)

    def class_weights(self, prompts: Int[Tensor, "classes template length"]) -> Float[Tensor, "classes embed"]:
        """Mean of the normalised text features over templates, normalised again; from the text encoder as it is now."""
        text = self.clip.encode_text(prompts.flatten(0, 1)).unflatten(0, prompts.shape[:2])
        return F.normalize(text.mean(dim=1), dim=-1)

    def logits(
        self, image: Float[Tensor, "batch 3 h w"], weights: Float[Tensor, "classes embed"] | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Scaled cosines with class weights; the head's where there is one."""
        weights = self.head if self.head is not None else weights
        return self.clip.logit_scale.exp() * self.clip.encode_image(image) @ weights.T


def build(config: Config) -> Classifier:
    """The untrained network at the config's sizes."""
    clip = CLIP(
        embed_dim=config.embed_dim, image_resolution=config.image_size, vision_layers=config.depth, vision_width=config.width,
        vision_patch_size=config.patch, vision_heads=config.heads, context_length=config.context,
        vocab_size=config.vocabulary, transformer_width=config.text_width, transformer_heads=config.text_heads,
        transformer_layers=config.text_depth,
    )  # fmt: skip
    return Classifier(clip, config.classes, config.loss == "head")
