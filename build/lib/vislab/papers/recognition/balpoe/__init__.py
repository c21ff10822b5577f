"""BalPoE: balanced product of calibrated experts for long-tailed recognition (Sanchez Aimar et al., CVPR 2023).

Each expert is trained for its own label distribution by adding a multiple of the log prior to its logits in the loss.
When the multiples average to one, the product of the experts is an unbiased classifier for the uniform distribution,
provided that the experts are calibrated, which mixup achieves.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__, {"build": "model", "BalancedExpertLoss": "losses", "Config": "card", "PROFILES": "card", "PAPER": "card"}
)
