"""The multi-expert networks of section 4: a shared trunk, then stages and a cosine classifier per expert."""

import torch
from jaxtyping import Float
from torch import Tensor

from vislab.nn.resnet_small import Experts, large_resnet, small_resnet
from vislab.papers.recognition.balpoe.card import Config


def build(config: Config) -> Experts:
    """ResNet-8/20/32 for small images, or ResNet-50 / ResNeXt-50, with as many experts as `config.taus` has entries."""
    experts = len(config.taus)
    if config.network == "small":
        return small_resnet(config.depth, config.width, config.classes, experts, scale=config.cosine_scale)
    return large_resnet(config.classes, experts, config.network, scale=config.cosine_scale)


def product_of_experts(
    logits: Float[Tensor, "batch expert classes"],
    test_prior: Float[Tensor, " classes"] | None = None,
    temperature: float = 1.0,
) -> Float[Tensor, "batch classes"]:
    """Probabilities of the product of experts (eq. 7): softmax of the mean of the raw logits, without any bias.

    A known `test_prior` is added as log prior - log uniform (section 3.4); the logits are divided by `temperature` first.
    """
    mean = logits.mean(dim=1) / temperature
    if test_prior is not None:
        mean = mean + torch.log(test_prior) + torch.log(torch.tensor(float(len(test_prior))))
    return mean.softmax(dim=-1)
