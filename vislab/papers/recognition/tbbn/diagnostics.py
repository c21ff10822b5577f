"""How far a layer's statistics and its affine gradients lean to the current task."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.papers.recognition.tbbn.card import Config
from vislab.papers.recognition.tbbn.model import norm_modules, stage_span, twin
from vislab.papers.recognition.tbbn.norms import ContinualNorm, set_task

ALIKE = ("bn", "cn", "tbbn")
"""Normalisations whose state has the same names, so that one network's weights fit the others."""


@contextmanager
def watched(modules: list[nn.BatchNorm2d], kept: list[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Keep (input, output) of every layer, in the order of `modules`, during one forward pass."""
    kept.extend([(torch.empty(0), torch.empty(0))] * len(modules))

    def keep(place: int):
        def hook(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            kept[place] = given[0], out

        return hook

    handles = [m.register_forward_hook(keep(k)) for k, m in enumerate(modules)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def affine_shares(
    network: nn.Module, image: Float[Tensor, "batch 3 h w"], label: Int[Tensor, " batch"], config: Config, task: int
) -> Float[Tensor, "layer task"]:
    """Norm of what each task's images add to the gradient of (gamma, beta), of every layer; NaN for a task without images.

    The loss is the cross-entropy over all classes seen, of a training batch [current, memory].
    An image's part is read off the output y = gamma x + beta and its gradient, so the parts of all images add up to the gradient.
    """
    network.train()
    set_task(network, task)
    modules, kept = norm_modules(network), []
    with torch.enable_grad(), watched(modules, kept):
        loss = F.cross_entropy(network(image)["logits"][:, : stage_span(config, task)[1]], label)
        slopes = torch.autograd.grad(loss, [out for _, out in kept])
    of = label // (config.classes // config.tasks)
    rows = []
    for module, (_, out), slope in zip(modules, kept, slopes, strict=True):
        plain = (out.detach() - module.bias[:, None, None]) / module.weight[:, None, None]
        part = torch.cat([(slope * plain).sum(dim=(2, 3)), slope.sum(dim=(2, 3))], dim=1).detach()
        norms = [
            part[of == k].sum(dim=0).norm() if (of == k).any() else part.new_tensor(torch.nan) for k in range(task + 1)
        ]
        rows.append(torch.stack(norms))
    return torch.stack(rows)


def gradient_gap(shares: Float[Tensor, "layer task"]) -> float:
    """How far the current task, the last, is from an average old one: |log of their ratio|, mean over layers; 0 is balanced."""
    old = shares[:, :-1].nanmean(dim=1)
    return float((shares[:, -1] / old).log().abs().mean())


def gradient_gaps(
    network: nn.Module, image: Float[Tensor, "batch 3 h w"], label: Int[Tensor, " batch"], config: Config, task: int
) -> dict[str, float]:
    """`gradient_gap` of batch, continual and task-balanced normalisation, on the same weights and the same batch."""
    plain = dataclasses.replace(config, groups=0, statistics="balanced", balanced_gradients=False)
    gaps = {}
    for norm in ALIKE:
        copy = twin(network, dataclasses.replace(plain, norm=norm))
        gaps[f"gap_gradients_{norm}"] = gradient_gap(affine_shares(copy, image, label, config, task))
    return gaps


@torch.no_grad()
def layer_means(
    network: nn.Module, image: Float[Tensor, "batch 3 h w"]
) -> list[tuple[Float[Tensor, " channel"], Float[Tensor, " channel"]]]:
    """(mean, standard deviation) of what each layer normalises over the batch, in evaluation."""
    network.eval()
    modules, kept = norm_modules(network), []
    with watched(modules, kept):
        network(image)
    inputs = [m.grouped(x) if isinstance(m, ContinualNorm) else x for m, (x, _) in zip(modules, kept, strict=True)]
    return [(x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3))) for x in inputs]


@torch.no_grad()
def statistics_distances(
    network: nn.Module, image: Float[Tensor, "batch 3 h w"], task: Int[Tensor, " batch"]
) -> Float[Tensor, " task"]:
    """Distance of the running mean to each task's own mean, in standard deviations, root mean square over channels, mean over layers."""
    rows = []
    for k in range(int(task.max()) + 1):
        found = layer_means(network, image[task == k])
        layers = zip(norm_modules(network), found, strict=True)
        rows.append(
            torch.stack(
                [((m.running_mean - mean) / std.clamp(min=1e-6)).square().mean().sqrt() for m, (mean, std) in layers]
            ).mean()
        )
    return torch.stack(rows)
