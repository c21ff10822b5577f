"""EVA's score (section 3): how far the certified adversarial overlap falls when a patch is frozen; and its attack-based rivals."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vislab.engine.attributions import attack, margin, spread
from vislab.nn.bounds import Method, differences, flatten_layers, folded, upper_bounds
from vislab.ops import counter

Box = tuple[Tensor, Tensor]


def frozen_masks(grid: int, size: int, device: torch.device | str = "cpu") -> Float[Tensor, "box 1 size size"]:
    """What may move in each box: everything in the first, all but one patch in the others."""
    eye = torch.eye(grid * grid, device=device).unflatten(1, (grid, grid))
    return torch.cat([torch.ones(1, 1, size, size, device=device), 1 - spread(eye, size)])


def boxes(
    images: Float[Tensor, "batch channel h w"], eps: float, masks: Float[Tensor, "box 1 h w"]
) -> tuple[Float[Tensor, "batch box channel h w"], Float[Tensor, "batch box channel h w"]]:
    """All points within eps of each picture that differ from it on the mask alone, and are pictures (eq. 4)."""
    radius = eps * masks
    return (images[:, None] - radius).clamp(0, 1), (images[:, None] + radius).clamp(0, 1)


def certified_overlap(
    model: nn.Sequential,
    images: Float[Tensor, "batch channel h w"],
    labels: Int[Tensor, " batch"],
    eps: float,
    masks: Float[Tensor, "box 1 h w"],
    method: Method = "crown",
    cut: int = 0,
    samples: int = 0,
    chunk: int = 32,
    against: int | None = None,
    seed: int = 0,
) -> Float[Tensor, "batch box"]:
    """Upper bound of the adversarial overlap, max over x in the box and c' of f_c'(x) - f_c(x), for each box of each picture (eq. 5).

    With `cut` the first layers get the smallest and largest of their outputs over `samples` points of the box in place of bounds:
    the result is then an estimate and no longer certified (section 3.3).
    With `against` only that class counts as c'.
    """
    layers = flatten_layers(model)
    early, late = nn.Sequential(*layers[:cut]), folded(nn.Sequential(*layers[cut:]))
    rows = differences(labels, late[-1].out_features)
    if against is not None:
        rows = rows[:, [0]] * 0
        rows[:, 0, against] += 1
        rows[torch.arange(len(rows)), 0, labels] -= 1
    lower, upper = boxes(images, eps, masks)
    many = rows.repeat_interleave(len(masks), dim=0)
    found = []
    with torch.no_grad():
        for low, high, matrix in zip(
            *(v.split(chunk) for v in (lower.flatten(0, 1), upper.flatten(0, 1), many)), strict=True
        ):
            box = (low, high) if cut == 0 else empirical(early, (low, high), samples, seed)
            found.append(upper_bounds(late, box, matrix, method).amax(dim=1))
    overlap = torch.cat(found).reshape(len(images), len(masks))
    # a frozen box lies within the free one, whose bound therefore holds for it too
    return torch.minimum(overlap, overlap[:, :1])


@torch.no_grad()
def empirical(early: nn.Sequential, box: Box, samples: int, seed: int) -> Box:
    """Smallest and largest output of `early` over random points and corners of each box: from within, so no bound."""
    lower, upper = box
    low = high = early((lower + upper) / 2)
    for k in range(samples):
        share = counter.uniform(seed, "evaluate", torch.tensor([k]), "empirical", tuple(lower.shape[1:])).to(lower)
        value = early(torch.lerp(lower, upper, share.round() if k % 2 else share))
        low, high = torch.minimum(low, value), torch.maximum(high, value)
    return low, high


def sampled_overlap(
    model: nn.Module,
    images: Tensor,
    labels: Int[Tensor, " batch"],
    eps: float,
    masks: Float[Tensor, "box 1 h w"],
    points: int,
    steps: int = 0,
    seed: int = 0,
) -> Float[Tensor, "batch box"]:
    """The largest overlap that is found in each box: among `points` random points, or by `steps` steps of an attack."""
    if steps:
        count = len(masks)
        many, whose = images.repeat_interleave(count, dim=0), labels.repeat_interleave(count)
        allowed = masks.repeat(len(images), 1, 1, 1)
        strength = torch.full((len(many),), eps, device=images.device)
        return attack(model, many, whose, allowed, strength, steps, max(1, points), seed).reshape(-1, count)
    best = torch.full((len(images), len(masks)), -torch.inf, device=images.device)
    with torch.no_grad():
        for k, mask in enumerate(masks):
            index = k * points + torch.arange(points)
            share = counter.uniform(seed, "evaluate", index, "random", tuple(images.shape[1:])).to(images.device)
            share[1::2] = share[1::2].round()  # every other point is a corner
            for row, image in enumerate(images):
                lower, upper = (v[0, 0] for v in boxes(image[None], eps, mask[None]))
                logits = model(torch.lerp(lower, upper, share))
                best[row, k] = margin(logits, labels[row].expand(points)).amax()
    return best


def verified_map(overlap: Float[Tensor, "batch box"], grid: int) -> Float[Tensor, "batch grid grid"]:
    """EVA (eq. 6): overlap of the free box minus that with the patch frozen; never negative."""
    return (overlap[:, :1] - overlap[:, 1:]).unflatten(1, (grid, grid))


def greedy_map(
    model: nn.Module,
    images: Float[Tensor, "batch channel h w"],
    labels: Int[Tensor, " batch"],
    eps: float,
    grid: int,
    steps: int,
    step_patches: int,
) -> Float[Tensor, "batch grid grid"]:
    """Greedy-AS (Hsieh et al., ICLR 2021) at a fixed eps: patches join the attacked set where an attack on the set then gains most.

    `step_patches` join at a time; an earlier one has a higher score.
    """
    count, size = grid * grid, images.shape[-1]
    eye = spread(torch.eye(count, device=images.device).unflatten(1, (grid, grid)), size)
    chosen = torch.zeros(len(images), count, device=images.device)
    scores = torch.zeros_like(chosen)
    while float(chosen[0].sum()) < count:
        tried = torch.maximum(spread(chosen.unflatten(1, (grid, grid)), size)[:, None], eye[None])
        many, whose = images.repeat_interleave(count, dim=0), labels.repeat_interleave(count)
        strength = torch.full((len(many),), eps, device=images.device)
        # members of the set are attacked once more and ignored: all pictures then have equally many candidates
        gain = attack(model, many, whose, tried.flatten(0, 1), strength, steps).reshape(-1, count)
        gain = gain.masked_fill(chosen > 0, -torch.inf)
        best = gain.topk(min(step_patches, count - int(chosen[0].sum())), dim=1).indices
        scores.scatter_(1, best, (count - chosen.sum(dim=1, keepdim=True)).expand_as(best))
        chosen.scatter_(1, best, 1.0)
    return scores.unflatten(1, (grid, grid))
