"""EVA: explanations by verified perturbation analysis (Fel et al., CVPR 2023).

A patch matters as much as a certified bound on the best adversarial point in a box falls when the patch may not move.
The bound covers every point of the box, where attributions by sampling see a few.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__, {"build": "model", "verified_map": "explain", "Config": "card", "PROFILES": "card", "PAPER": "card"}
)
