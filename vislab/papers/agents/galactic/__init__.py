"""Galactic: rearrangement learnt from billions of steps, by simulating hundreds of environments in one batch (Berges et al., CVPR 2023).

Kinematic motion, approximate collisions, batched rendering and overlap make a step so cheap that one plain recurrent policy
learns to go, pick, carry and place.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "PAPER": "card", "PROFILES": "card", "Config": "card", "Policy": "model", "build": "model", "Environments": "train",
        "Workers": "rival", "act": "train", "collect": "train", "run": "experiment", "train": "train",
    },
)  # fmt: skip
