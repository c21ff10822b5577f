"""The detector's losses, and CEASC's two: normalisation (equation 5) and adaptive multi-layer masking (equation 7)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.nn.detection import assign_atss, assign_iou, flatten_levels, gfl_losses, retina_losses
from vislab.papers.perception.ceasc.card import Config
from vislab.papers.perception.ceasc.model import Prediction, anchors


def counts(config: Config, sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Anchors of every level."""
    each = 1 if config.detector == "gfl" else 9
    return [each * height * width for height, width in sizes]


def assign(
    config: Config,
    sizes: Sequence[tuple[int, int]],
    boxes: Float[Tensor, "batch object 4"],
    labels: Int[Tensor, "batch object"],
) -> Int[Tensor, "batch anchor"]:
    """The object of every anchor, -1 for background: ATSS (GFL) or IoU (RetinaNet); label -1 marks an empty place."""
    all_anchors = anchors(config, sizes, boxes.device)
    if config.detector == "gfl":
        return assign_atss(all_anchors, counts(config, sizes), boxes, labels >= 0)
    return assign_iou(all_anchors, boxes, labels >= 0)


def positive_shares(owner: Int[Tensor, "batch anchor"], per_level: Sequence[int]) -> Float[Tensor, " level"]:
    """Share of positive anchors of each level over the batch: what a mask's share ought to be."""
    return torch.stack([(part >= 0).float().mean() for part in owner.split(list(per_level), dim=1)])


def masking_loss(
    masks: Sequence[Float[Tensor, "batch 2 h w"]],
    shares: Float[Tensor, " level"],
    target: str = "levels",
    fixed_share: float = 0.0,
) -> Float[Tensor, ""]:
    """Squared difference between the masks' share and what it ought to be, mean over levels and branches.

    target  levels: each level's share of positives (AMM); global: one share for all levels together; fixed: `fixed_share`.
    The released code averages over convolutions, too; those of a branch share one mask, so the mean is the same.
    """
    if target == "global":
        total = sum(m[:, 0].numel() for m in masks)
        active = sum(m.sum(dim=(0, 2, 3)) for m in masks) / total
        sizes = torch.tensor([m[:, 0].numel() for m in masks], device=shares.device) / total
        return (active - (shares * sizes).sum()).square().mean()
    active = torch.stack([m.mean(dim=(0, 2, 3)) for m in masks])
    wanted = torch.full_like(shares, fixed_share) if target == "fixed" else shares
    return (active - wanted[:, None]).square().mean()


def detection_losses(
    config: Config,
    prediction: Prediction,
    boxes: Float[Tensor, "batch object 4"],
    labels: Int[Tensor, "batch object"],
) -> dict[str, Tensor]:
    """Losses of each level by name ("classes", "boxes", "sides"), and the positives' shares ("shares")."""
    sizes = [tuple(s.shape[-2:]) for s in prediction.scores]
    owner = assign(config, sizes, boxes, labels)
    per_level = counts(config, sizes)
    each = 1 if config.detector == "gfl" else 9
    scores, sides = flatten_levels(prediction.scores, each), flatten_levels(prediction.sides, each)
    all_anchors = anchors(config, sizes, boxes.device)
    if config.detector == "gfl":
        level = torch.repeat_interleave(torch.tensor(per_level, device=boxes.device))
        stride = torch.tensor(config.strides, dtype=torch.float32, device=boxes.device)[level]
        found = gfl_losses(scores, sides, all_anchors, stride, level, owner, boxes, labels, config.reg_max + 1)
    else:
        found = retina_losses(scores, sides, all_anchors, owner, boxes, labels)
    return found | {"shares": positive_shares(owner, per_level)}


def total_loss(
    config: Config,
    prediction: Prediction,
    boxes: Float[Tensor, "batch object 4"],
    labels: Int[Tensor, "batch object"],
) -> dict[str, Tensor]:
    """The weighted sum ("loss") and its parts."""
    parts = detection_losses(config, prediction, boxes, labels)
    losses = {name: value.sum() for name, value in parts.items() if name != "shares"}
    weights = {"classes": 1.0, "boxes": config.weight_boxes, "sides": config.weight_sides}
    total = sum(weights[name] * losses[name] for name in losses if name in weights)
    if config.head == "sparse":
        losses["norm"] = prediction.mismatch.mean()
        losses["mask"] = masking_loss(prediction.masks, parts["shares"], config.target, config.fixed_share)
        total = total + config.weight_norm * losses["norm"] + config.weight_mask * losses["mask"]
    return {"loss": total} | losses
