"""The style of a feature map: mean and standard deviation of each channel over its positions."""

from jaxtyping import Float, Int
from torch import Tensor

EPS = 1e-5


def style(
    x: Float[Tensor, "batch channel *space"], eps: float = EPS
) -> tuple[Float[Tensor, "batch channel"], Float[Tensor, "batch channel"]]:
    """(mean, standard deviation) of every item's channels; `eps` is added to the variance."""
    flat = x.flatten(2)
    return flat.mean(dim=2), (flat.var(dim=2, unbiased=flat.shape[2] > 1) + eps).sqrt()


def plain(x: Float[Tensor, "batch channel *space"], eps: float = EPS) -> Float[Tensor, "batch channel *space"]:
    """The map with its own style taken off."""
    mean, std = (_spread(v, x) for v in style(x, eps))
    return (x - mean) / std


def restyled(
    x: Float[Tensor, "batch channel *space"],
    mean: Float[Tensor, "batch channel"],
    std: Float[Tensor, "batch channel"],
    eps: float = EPS,
) -> Float[Tensor, "batch channel *space"]:
    """The map in another style (AdaIN, Huang and Belongie 2017): std (x - mean(x)) / std(x) + mean."""
    return plain(x, eps) * _spread(std, x) + _spread(mean, x)


def swapped(x: Float[Tensor, "batch channel *space"], order: Int[Tensor, " batch"]) -> Tensor:
    """Every item in the style of item `order[i]`."""
    mean, std = style(x)
    return restyled(x, mean[order], std[order])


def mixed(
    x: Float[Tensor, "batch channel *space"], order: Int[Tensor, " batch"], share: Float[Tensor, " batch"]
) -> Tensor:
    """MixStyle (Zhou et al. 2021): statistics interpolated between an item's own (weight `share`) and those of item `order[i]`."""
    mean, std = style(x)
    weight = share[:, None]
    return restyled(x, weight * mean + (1 - weight) * mean[order], weight * std + (1 - weight) * std[order])


def _spread(value: Tensor, x: Tensor) -> Tensor:
    return value.reshape(*value.shape, *[1] * (x.ndim - 2))
