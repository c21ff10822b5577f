"""The multi-granularity loss: triplets of attribute vectors by sets of classes, labels, triplets of class vectors by single classes."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


def any_of(mask: Bool[Tensor, "*batch items"]) -> tuple[Int[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
    """(index, found): one of the items that the mask allows, at random, and whether there is one."""
    draw = torch.rand(mask.shape, device=mask.device)
    return (draw * mask).argmax(dim=-1), mask.any(dim=-1)


def same_set(
    held: Bool[Tensor, "items attribute class"], known: Bool[Tensor, "items attribute"]
) -> tuple[Bool[Tensor, "attribute items items"], Bool[Tensor, "attribute items items"]]:
    """(same, other): pairs of different items whose classes of an attribute are the same set, or are not; both must be known."""
    held, known = held.transpose(0, 1), known.T
    equal = (held[:, :, None] == held[:, None]).all(dim=-1)
    both = known[:, :, None] & known[:, None] & ~torch.eye(held.shape[1], dtype=torch.bool, device=held.device)
    return equal & both, ~equal & both


def hinge(
    anchor: Float[Tensor, "... embedding"],
    positive: Tensor,
    negative: Tensor,
    valid: Bool[Tensor, "..."],
    margin: float,
) -> Tensor:
    """Mean over valid triplets of max(0, margin + cos(anchor, negative) - cos(anchor, positive)); vectors of unit length."""
    loss = (margin + (anchor * negative).sum(-1) - (anchor * positive).sum(-1)).relu()
    return (loss * valid).sum() / valid.sum().clamp(min=1)


def set_triplet(
    vector: Float[Tensor, "items attribute embedding"],
    held: Bool[Tensor, "items attribute class"],
    known: Bool[Tensor, "items attribute"],
    margin: float,
) -> Tensor:
    """Attribute level: for every item and attribute, a positive with the same set of classes and a negative with another."""
    same, other = same_set(held, known)
    positive, has_positive = any_of(same)
    negative, has_negative = any_of(other)
    by_attribute = vector.transpose(0, 1)
    rows = torch.arange(len(by_attribute), device=vector.device)[:, None]
    return hinge(
        by_attribute, by_attribute[rows, positive], by_attribute[rows, negative], has_positive & has_negative, margin
    )


def class_triplet(
    vector: Float[Tensor, "items attribute class embedding"],
    held: Bool[Tensor, "items attribute class"],
    known: Bool[Tensor, "items attribute"],
    margin: float,
) -> Tensor:
    """Class level: for every class that an item holds, a positive that holds it too and a negative that does not."""
    held, known = held.permute(1, 2, 0), known.T[:, None]
    other = ~torch.eye(held.shape[-1], dtype=torch.bool, device=held.device)
    anchor = (held & known)[..., None]
    positive, has_positive = any_of(anchor & held[:, :, None] & known[:, :, None] & other)
    negative, has_negative = any_of(anchor & ~held[:, :, None] & known[:, :, None])
    by_class = vector.permute(1, 2, 0, 3)
    attributes, classes = held.shape[:2]
    a = torch.arange(attributes, device=held.device)[:, None, None]
    c = torch.arange(classes, device=held.device)[:, None]
    return hinge(by_class, by_class[a, c, positive], by_class[a, c, negative], has_positive & has_negative, margin)


def label_loss(
    logits: Float[Tensor, "items attribute class"],
    held: Bool[Tensor, "items attribute class"],
    counted: Bool[Tensor, "items attribute class"],
) -> Tensor:
    """Binary cross-entropy, mean over the classes that count."""
    loss = F.binary_cross_entropy_with_logits(logits.masked_fill(~counted, 0.0), held.float(), reduction="none")
    return (loss * counted).sum() / counted.sum().clamp(min=1)


def with_negatives(
    held: Bool[Tensor, "items attribute class"], exists: Bool[Tensor, "attribute class"], count: int
) -> Bool[Tensor, "items attribute class"]:
    """The classes that are held and, at random, at most `count` others of each attribute."""
    draw = torch.rand(held.shape, device=held.device).masked_fill(held | ~exists, 2.0)
    rank = draw.argsort(dim=-1).argsort(dim=-1)
    return held | ((rank < count) & (draw < 2))
