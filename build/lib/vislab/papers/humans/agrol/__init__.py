"""AGRoL: whole-body motion from a headset and two hand trackers by diffusion (Du et al., CVPR 2023).

A plain MLP alternates mixing over frames and over features, and predicts the clean motion from a noisy one and the trackers' signal.
The diffusion time enters every block, without which the MLP forgets it; five DDIM steps give a smooth motion.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__, {"build": "model", "MotionMLP": "model", "Config": "card", "PROFILES": "card", "PAPER": "card"}
)
