"""What is predicted, and how far off it is."""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from vislab.nn.vit import taken


def target_features(
    tokens: Float[Tensor, "batch token width"], targets: Int[Tensor, "batch block place"]
) -> Float[Tensor, "batch block place width"]:
    """Features of the target blocks, each token normalised over its channels without learnt scale (released code)."""
    chosen = taken(F.layer_norm(tokens, tokens.shape[-1:]), targets.flatten(1))
    return chosen.unflatten(1, targets.shape[1:])


def target_pixels(
    image: Float[Tensor, "batch 3 height width"], targets: Int[Tensor, "batch block place"], patch: int
) -> Float[Tensor, "batch block place pixels"]:
    """Pixels of the target patches, each patch with its own mean and standard deviation taken off, as in MAE."""
    patches = rearrange(image, "b c (y p) (x q) -> b (y x) (p q c)", p=patch, q=patch)
    patches = (patches - patches.mean(dim=-1, keepdim=True)) / (patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()
    return taken(patches, targets.flatten(1)).unflatten(1, targets.shape[1:])


def prediction_loss(prediction: Tensor, target: Tensor, follow: Literal["paper", "code"]) -> Float[Tensor, ""]:
    """Mean squared error (paper, section 3) or smooth L1 (released code), over blocks, places and images."""
    return F.mse_loss(prediction, target) if follow == "paper" else F.smooth_l1_loss(prediction, target)


def view_loss(
    student: Float[Tensor, "view batch prototypes"],
    teacher: Float[Tensor, "view batch prototypes"],
    centre: Float[Tensor, " prototypes"],
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Float[Tensor, ""]:
    """DINO's cross-entropy: each view's student matches the centred and sharpened teacher of the other view."""
    wanted = ((teacher - centre) / teacher_temperature).softmax(dim=-1).flip(0)
    return -(wanted * (student / student_temperature).log_softmax(dim=-1)).sum(dim=-1).mean()


def spread(features: Float[Tensor, "items width"]) -> float:
    """Mean standard deviation of a feature over items: zero when the encoder has collapsed."""
    return float(features.std(dim=0).mean()) if len(features) > 1 else float(torch.zeros(()))
