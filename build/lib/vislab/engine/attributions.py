"""Which parts of a picture matter to a classifier: the usual attributions (captum), and measures of an attribution's fidelity.

Attributions are scores of a square grid of patches, (batch, grid, grid), higher for more important ones.
`model` maps pictures in [0, 1] to logits.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.ops import counter

Pooling = Literal["absolute", "signed", "largest"]
Model = Callable[[Tensor], Tensor]


# -- patches ----------------------------------------------------------------------------------------------------------


def spread(patches: Float[Tensor, "*batch grid grid"], size: int) -> Float[Tensor, "*batch 1 size size"]:
    """Each pixel gets its patch's value."""
    flat = patches.reshape(-1, 1, *patches.shape[-2:]).float()
    return F.interpolate(flat, size=(size, size), mode="nearest-exact").reshape(*patches.shape[:-2], 1, size, size)


def pooled(
    pixels: Float[Tensor, "batch channel h w"], grid: int, how: Pooling = "absolute"
) -> Float[Tensor, "batch grid grid"]:
    """Scores of patches from those of pixels: mean size, size of the mean, or largest size."""
    if how == "signed":
        return F.adaptive_avg_pool2d(pixels.sum(dim=1, keepdim=True), grid)[:, 0].abs()
    size = pixels.abs().sum(dim=1, keepdim=True)
    return (F.adaptive_avg_pool2d if how == "absolute" else F.adaptive_max_pool2d)(size, grid)[:, 0]


def ranked(scores: Float[Tensor, "batch grid grid"], seed: int = 0) -> Int[Tensor, "batch patch"]:
    """Patches from the most to the least important; ties fall at random, so that a flat map ranks them at random."""
    flat = scores.flatten(1)
    shuffled = counter.permutation(seed, "evaluate", torch.arange(len(flat)), "ties", flat.shape[1]).to(flat.device)
    order = flat.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    return shuffled.gather(1, order)


def top_masks(
    order: Int[Tensor, "batch patch"], counts: Sequence[int], size: int
) -> Float[Tensor, "batch count 1 size size"]:
    """1 on the pixels of the first `count` patches of each order."""
    grid = round(order.shape[1] ** 0.5)
    place = order.argsort(dim=1)
    masks = place[:, None] < torch.tensor(list(counts), device=order.device)[None, :, None]
    return spread(masks.float().unflatten(-1, (grid, grid)), size)


@contextmanager
def counted(model: nn.Module) -> Iterator[list[int]]:
    """Counts the pictures that pass through `model` inside the block."""
    seen = [0]

    def add(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        seen[0] += len(output)

    hook = model.register_forward_hook(add)
    try:
        yield seen
    finally:
        hook.remove()


# -- attacks ----------------------------------------------------------------------------------------------------------


def margin(logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Best logit of another class minus that of the label: positive where the label has lost."""
    own = F.one_hot(labels, logits.shape[1]).bool()
    return logits.masked_fill(own, -torch.inf).amax(dim=1) - logits[own]


def attack(
    model: Model,
    images: Float[Tensor, "batch channel h w"],
    labels: Int[Tensor, " batch"],
    mask: Float[Tensor, "batch 1 h w"],
    eps: Float[Tensor, " batch"],
    steps: int,
    restarts: int = 1,
    seed: int = 0,
) -> Float[Tensor, " batch"]:
    """Largest margin that projected gradient ascent finds within eps of each picture, on the masked pixels alone.

    The first start is the picture itself, the others are random points and random corners of the box in turn.
    Steps begin with half the box and shrink to nothing, whatever their number.
    """
    radius = eps[:, None, None, None] * mask
    lower, upper = (images - radius).clamp(0, 1), (images + radius).clamp(0, 1)
    best = torch.full_like(eps, -torch.inf)
    for restart in range(restarts):
        x = images.clone()
        if restart:
            share = counter.uniform(seed, "evaluate", torch.arange(len(x)), f"start {restart}", tuple(x.shape[1:])).to(
                x
            )
            x = torch.lerp(lower, upper, share if restart % 2 else share.round())
        for step in range(steps + 1):
            x = x.detach().requires_grad_(True)
            value = margin(model(x), labels)
            best = torch.maximum(best, value.detach())
            if step < steps:
                (slope,) = torch.autograd.grad(value.sum(), x)
                size = 0.5 * (1 - step / steps)
                x = torch.minimum(torch.maximum(x.detach() + size * radius * slope.sign(), lower), upper)
    return best


@dataclass(frozen=True)
class Strength:
    """How hard the search for the smallest adversarial epsilon tries."""

    steps: int = 20
    """Ascent steps a start."""
    restarts: int = 2
    """Starts."""
    search: int = 7
    """Halvings of the interval of epsilon."""
    largest: float = 1.0
    """Where the search begins; what withstands it counts as this."""


def smallest_eps(
    model: Model,
    images: Float[Tensor, "batch channel h w"],
    labels: Int[Tensor, " batch"],
    masks: Float[Tensor, "batch count 1 h w"],
    strength: Strength,
) -> Float[Tensor, "batch count"]:
    """Smallest epsilon at which an attack on the masked pixels succeeds, by halving."""
    count = masks.shape[1]
    many, whose = images.repeat_interleave(count, dim=0), labels.repeat_interleave(count)
    allowed = masks.flatten(0, 1)
    low = torch.zeros(len(many), device=images.device)
    high = torch.full_like(low, strength.largest)
    for _ in range(strength.search):
        middle = (low + high) / 2
        won = attack(model, many, whose, allowed, middle, strength.steps, strength.restarts) > 0
        high, low = torch.where(won, middle, high), torch.where(won, low, middle)
    return high.reshape(-1, count)


# -- fidelity ---------------------------------------------------------------------------------------------------------


def robustness(
    model: Model,
    images: Float[Tensor, "batch channel h w"],
    labels: Int[Tensor, " batch"],
    order: Int[Tensor, "batch patch"],
    shares: Sequence[float],
    attacked: Literal["top", "rest"],
    strength: Strength,
) -> Float[Tensor, "batch share"]:
    """Robustness-S_r (Hsieh et al., ICLR 2021): smallest epsilon of an attack on the most important patches, or on all but these.

    Low is good for `top`: little change of what matters suffices; high is good for `rest`.
    """
    counts = [max(1, round(share * order.shape[1])) for share in shares]
    masks = top_masks(order, counts, images.shape[-1])
    return smallest_eps(model, images, labels, masks if attacked == "top" else 1 - masks, strength)


@torch.no_grad()
def removal(
    model: Model,
    images: Float[Tensor, "batch channel h w"],
    labels: Int[Tensor, " batch"],
    order: Int[Tensor, "batch patch"],
    fill: float,
    steps: int = 12,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Deletion and insertion: area under the label's probability as patches vanish into `fill`, and as they come out of it."""
    patches = order.shape[1]
    counts = [round(patches * k / steps) for k in range(steps + 1)]
    masks = top_masks(order, counts, images.shape[-1])
    areas = []
    for kept in (1 - masks, masks):
        mixed = images[:, None] * kept + fill * (1 - kept)
        probability = model(mixed.flatten(0, 1)).softmax(dim=1).unflatten(0, (len(images), -1))
        own = probability.gather(2, labels[:, None, None].expand(-1, len(counts), 1))[..., 0]
        areas.append(torch.trapezoid(own, dx=1 / steps, dim=1))
    return areas[0], areas[1]


@torch.no_grad()
def mu_fidelity(
    model: Model,
    images: Float[Tensor, "batch channel h w"],
    labels: Int[Tensor, " batch"],
    scores: Float[Tensor, "batch grid grid"],
    fill: float,
    subsets: int = 64,
    share: float = 0.2,
) -> Float[Tensor, " batch"]:
    """Correlation between a random subset's summed score and the drop of the label's logit without it (Bhatt et al., 2020).

    A map whose sums do not vary has correlation zero.
    """
    grid, size = scores.shape[-1], images.shape[-1]
    chosen = counter.permutation(0, "evaluate", torch.arange(subsets), "subsets", grid * grid).to(images.device)
    masks = (chosen < round(share * grid * grid)).float()
    gone = spread(masks.unflatten(-1, (grid, grid)), size)
    mixed = images[:, None] * (1 - gone) + fill * gone
    logits = model(mixed.flatten(0, 1)).unflatten(0, (len(images), subsets))
    own = labels[:, None, None].expand(-1, subsets, 1)
    drop = model(images).gather(1, labels[:, None]) - logits.gather(2, own)[..., 0]
    total = scores.flatten(1) @ masks.T
    a, b = total - total.mean(dim=1, keepdim=True), drop - drop.mean(dim=1, keepdim=True)
    norm = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(norm > 1e-9, (a * b).sum(dim=1) / norm.clamp(min=1e-9), 0.0)


def share_inside(scores: Float[Tensor, "batch grid grid"], mask: Bool[Tensor, "batch h w"]) -> Float[Tensor, " batch"]:
    """Share of the attribution on a region, each patch by the part of it that lies inside; an even map gets the region's own share."""
    grid = scores.shape[-1]
    inside = F.adaptive_avg_pool2d(mask.float()[:, None], grid)[:, 0]
    weight = scores.clamp(min=0)
    weight = torch.where(weight.sum(dim=(1, 2), keepdim=True) > 0, weight, torch.ones_like(weight))
    return (weight * inside).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))


# -- the usual attributions -------------------------------------------------------------------------------------------

GRADIENTS = ("saliency", "margin_gradient", "grad_input", "smoothgrad", "vargrad", "integrated_gradients")
SAMPLERS = ("occlusion", "rise", "sobol", "lime")
MAPS = ("grad_cam", "grad_cam_pp")


def gradient_map(
    name: str,
    model: nn.Module,
    images: Float[Tensor, "batch channel h w"],
    labels: Int[Tensor, " batch"],
    grid: int,
    pooling: Pooling = "absolute",
    noise: float = 0.1,
    fill: float = 0.0,
    samples: int = 16,
    seed: int = 0,
) -> Float[Tensor, "batch grid grid"]:
    """A gradient attribution of captum's, or the gradient of the margin to the best other class, pooled to patches.

    `noise` is the standard deviation of SmoothGrad's and VarGrad's pictures, `fill` the start of the integrated gradients.
    Raises ValueError for an unknown name.
    """
    from captum import attr

    images = images.detach().clone().requires_grad_(True)
    with counter.scope(seed, "evaluate", name):
        if name == "saliency":
            pixels = attr.Saliency(model).attribute(images, target=labels, abs=False)
        elif name == "margin_gradient":
            (pixels,) = torch.autograd.grad(margin(model(images), labels).sum(), images)
        elif name == "grad_input":
            pixels = attr.InputXGradient(model).attribute(images, target=labels)
        elif name == "integrated_gradients":
            start = torch.full_like(images, fill)
            pixels = attr.IntegratedGradients(model).attribute(images, start, target=labels, n_steps=samples)
        elif name in ("smoothgrad", "vargrad"):
            tunnel = attr.NoiseTunnel(attr.Saliency(model))
            pixels = tunnel.attribute(images, nt_type=name, nt_samples=samples, stdevs=noise, target=labels, abs=False)
        else:
            raise ValueError(f"unknown attribution {name!r}; known are {', '.join(GRADIENTS)}")
    return pooled(pixels.detach(), grid, pooling)


def activation_map(
    name: str, model: nn.Module, layer: nn.Module, images: Tensor, labels: Int[Tensor, " batch"], grid: int
) -> Float[Tensor, "batch grid grid"]:
    """Grad-CAM, or Grad-CAM++ with its weighted positive gradients, on a layer's output, resized to the patches."""
    from captum import attr

    images = images.detach().clone().requires_grad_(True)
    if name == "grad_cam":
        cam = attr.LayerGradCam(model, layer).attribute(images, target=labels, relu_attributions=True)
    elif name == "grad_cam_pp":
        work = attr.LayerGradientXActivation(model, layer, multiply_by_inputs=False)
        slope = work.attribute(images, target=labels)
        value = attr.LayerActivation(model, layer).attribute(images)
        share = slope**2 / (2 * slope**2 + value.sum(dim=(2, 3), keepdim=True) * slope**3).clamp(min=1e-9)
        cam = ((share * slope.clamp(min=0)).sum(dim=(2, 3), keepdim=True) * value).sum(dim=1, keepdim=True).clamp(min=0)
    else:
        raise ValueError(f"unknown attribution {name!r}; known are {', '.join(MAPS)}")
    return F.interpolate(cam.detach(), size=(grid, grid), mode="bilinear")[:, 0]


@torch.no_grad()
def sampled_map(
    name: str,
    model: Model,
    images: Float[Tensor, "batch channel h w"],
    labels: Int[Tensor, " batch"],
    grid: int,
    fill: float = 0.0,
    samples: int = 256,
    seed: int = 0,
) -> Float[Tensor, "batch grid grid"]:
    """Occlusion, RISE, total Sobol indices or LIME, all by filling patches; scores follow the label's probability (LIME's: its logit).

    Occlusion makes a call a patch, the others about `samples` calls; raises ValueError for an unknown name.
    """
    patches, size = grid * grid, images.shape[-1]

    def outputs(masks: Float[Tensor, "count patch"], logit: bool = False) -> Float[Tensor, "batch count"]:
        kept = spread(masks.unflatten(-1, (grid, grid)), size)
        rows = []
        for image, label in zip(images, labels.tolist(), strict=True):
            found = model(image * kept + fill * (1 - kept))
            rows.append((found if logit else found.softmax(dim=1))[:, label])
        return torch.stack(rows)

    def uniform(draw: str, count: int) -> Tensor:
        return counter.uniform(seed, "evaluate", torch.arange(count), draw, (patches,)).to(images.device)

    if name == "occlusion":
        eye = torch.eye(patches, device=images.device)
        scores = outputs(torch.ones_like(eye[:1])) - outputs(1 - eye)
    elif name == "rise":
        masks = (uniform("rise", samples) < 0.5).float()
        scores = outputs(masks) @ masks / masks.sum(dim=0).clamp(min=1)
    elif name == "sobol":
        count = max(2, samples // (patches + 2))
        first, second = uniform("sobol a", count), uniform("sobol b", count)
        base = outputs(first)
        mixed = first.repeat(patches, 1, 1)
        mixed[torch.arange(patches), :, torch.arange(patches)] = second.T
        changed = outputs(mixed.flatten(0, 1)).unflatten(1, (patches, count))
        variance = torch.cat([base, outputs(second)], dim=1).var(dim=1, keepdim=True).clamp(min=1e-9)
        scores = (base[:, None] - changed).square().mean(dim=2) / (2 * variance)
    elif name == "lime":
        masks = (uniform("lime", samples) < 0.5).float()
        weight = torch.exp(-((1 - masks.mean(dim=1)) ** 2) / 0.25)
        design = torch.cat([masks, torch.ones(samples, 1, device=masks.device)], dim=1)
        normal = design.T @ (weight[:, None] * design) + torch.eye(patches + 1, device=masks.device)
        right = design.T @ (weight[:, None] * outputs(masks, logit=True).T)
        scores = torch.linalg.solve(normal, right)[:-1].T
    else:
        raise ValueError(f"unknown attribution {name!r}; known are {', '.join(SAMPLERS)}")
    return scores.unflatten(1, (grid, grid))
