"""The theorem of section 3.3, exact on Gaussian classes with known posteriors."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def class_logits(
    x: Float[Tensor, "batch dim"], means: Float[Tensor, "classes dim"], scale: float = 1.0
) -> Float[Tensor, "batch classes"]:
    """log p(x | y) up to a constant for isotropic Gaussian classes of standard deviation `scale`."""
    return -torch.cdist(x, means).square() / (2 * scale**2)


def bayes_expert(
    x: Float[Tensor, "batch dim"],
    means: Float[Tensor, "classes dim"],
    prior: Float[Tensor, " classes"],
    tau: float,
    temperature: float = 1.0,
) -> Float[Tensor, "batch classes"]:
    """Logits of the Bayes classifier for the prior pi^(1 - tau), which a perfectly trained expert with bias tau reaches.

    The theorem assumes that they are calibrated; a `temperature` other than 1 breaks that for their biased, calibrated form:
    an over-confident expert (temperature below 1) learns (f + tau log pi) / temperature, so its own part is that minus tau log pi.
    """
    calibrated = class_logits(x, means) + prior.log()
    return calibrated / temperature - tau * prior.log()


def product(
    x: Float[Tensor, "batch dim"],
    means: Float[Tensor, "classes dim"],
    prior: Float[Tensor, " classes"],
    taus: Sequence[float],
    temperature: float = 1.0,
) -> Float[Tensor, "batch classes"]:
    """Mean of the experts' logits."""
    return torch.stack([bayes_expert(x, means, prior, tau, temperature) for tau in taus]).mean(dim=0)


def balanced_rule(x: Float[Tensor, "batch dim"], means: Float[Tensor, "classes dim"]) -> Float[Tensor, "batch classes"]:
    """Logits of the Bayes classifier for the uniform prior: argmax over p(x | y)."""
    return class_logits(x, means)
