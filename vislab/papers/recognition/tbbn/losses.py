"""Losses of the class-incremental methods that the layer is put into."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from vislab.papers.recognition.tbbn.norms import task_weights


def reweighted(
    logits: Float[Tensor, "batch seen"], label: Int[Tensor, " batch"], current: int, task: int
) -> Float[Tensor, ""]:
    """Cross-entropy of a batch [current, memory] in which every task counts equally."""
    each = F.cross_entropy(logits, label, reduction="none")
    memory = len(label) - current
    weight = torch.tensor(task_weights(current, memory, task), device=logits.device)
    return (each * weight.repeat_interleave(torch.tensor([current, memory], device=logits.device))).mean()


def separated(
    logits: Float[Tensor, "batch seen"], label: Int[Tensor, " batch"], first: int, current: int
) -> Float[Tensor, ""]:
    """SS-IL's separated softmax (Ahn et al. 2021): current images among the new classes, from `first` on, memory among the old."""
    new = F.cross_entropy(logits[:current, first:], label[:current] - first, reduction="sum")
    old = F.cross_entropy(logits[current:, :first], label[current:], reduction="sum")
    return (new + old) / len(label)


def less_forget(feat: Float[Tensor, "batch feature"], old: Float[Tensor, "batch feature"]) -> Float[Tensor, ""]:
    """LUCIR's distance of directions (Hou et al. 2019, eq. 6): 1 - cos(feature, the old network's), mean over the batch."""
    return (1 - F.cosine_similarity(feat, old)).mean()


def margin_ranking(
    cosine: Float[Tensor, "batch seen"], label: Int[Tensor, " batch"], first: int, margin: float, rivals: int = 2
) -> Float[Tensor, ""]:
    """LUCIR's inter-class separation (eq. 8): an exemplar's class beats the nearest new classes by `margin`; mean over exemplars."""
    kept = label < first
    right = cosine[kept].gather(1, label[kept, None])
    nearest = cosine[kept, first:].topk(rivals, dim=1).values
    return (margin - right + nearest).clamp(min=0).sum(dim=1).mean()


def task_distillation(
    logits: Float[Tensor, "batch seen"],
    old: Float[Tensor, "batch known"],
    spans: Sequence[tuple[int, int]],
    temperature: float,
) -> Float[Tensor, ""]:
    """Divergence of the new network from the old one in the softmax of each task's own classes, summed over tasks."""
    terms = []
    for begin, end in spans:
        target, said = (z[:, begin:end] / temperature for z in (old, logits))
        terms.append(F.kl_div(said.log_softmax(dim=1), target.softmax(dim=1), reduction="batchmean"))
    return torch.stack(terms).sum()
