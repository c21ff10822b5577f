"""Logit-adjusted losses, one bias an expert (section 3)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


def spaced_taus(experts: int, low: float = 0.0, high: float = 2.0) -> tuple[float, ...]:
    """`experts` values equally spaced over [low, high]; one expert gets the mean, so that the constraint holds for any number."""
    if experts == 1:
        return ((low + high) / 2,)
    return tuple(low + (high - low) * k / (experts - 1) for k in range(experts))


class BalancedExpertLoss(nn.Module):
    r"""Mean over experts of the logit-adjusted cross-entropy (eq. 5).

    Expert e is trained on :math:`f_e + \tau_e \log \pi`, so that :math:`f_e` alone targets :math:`\pi^{1 - \tau_e}`.

    Source: Sanchez Aimar et al., "Balanced Product of Calibrated Experts for Long-Tailed Recognition", CVPR 2023;
    with one expert and tau 1 it is balanced softmax (Ren et al. 2020), with tau 0 cross-entropy.

    Attributes:
        bias: (expert, class) log prior times each expert's tau.

    Raises:
        ValueError: if a class has no training item, since its prior would be zero.

    Example:
        >>> loss = BalancedExpertLoss(torch.tensor([90, 10]), taus=(0.0, 1.0, 2.0))
        >>> loss(torch.zeros(4, 3, 2), torch.tensor([0, 0, 1, 1])).shape
        torch.Size([])
    """

    bias: Tensor

    def __init__(
        self, counts: Int[Tensor, " classes"], taus: Sequence[float], kind: str = "balpoe", smoothing: float = 0.0
    ):
        super().__init__()
        if (counts < 1).any():
            raise ValueError("every class needs at least one training item")
        prior = counts.float() / counts.sum()
        taus_column = torch.tensor(list(taus), dtype=torch.float32)[:, None]
        bias = taus_column * prior.log()
        if kind == "sade":
            # SADE's third expert: log prior - tau log(reversed prior), the prior mirrored over the classes by rank
            reversed_prior = torch.empty_like(prior)
            order = prior.argsort(stable=True)
            reversed_prior[order] = prior[order.flip(0)]
            bias[-1] = prior.log() - taus_column[-1] * reversed_prior.log()
        self.register_buffer("bias", bias)
        self.smoothing = smoothing

    def forward(
        self, logits: Float[Tensor, "batch expert classes"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        biased = logits + self.bias
        experts = biased.shape[1]
        return F.cross_entropy(biased.flatten(0, 1), labels.repeat_interleave(experts), label_smoothing=self.smoothing)

    def mixed(
        self,
        logits: Float[Tensor, "batch expert classes"],
        first: Int[Tensor, " batch"],
        second: Int[Tensor, " batch"],
        share: float,
    ) -> Float[Tensor, ""]:
        """Mixup's loss for each expert: share L(first) + (1 - share) L(second), the same bias in both (section 3.5)."""
        return share * self(logits, first) + (1 - share) * self(logits, second)
