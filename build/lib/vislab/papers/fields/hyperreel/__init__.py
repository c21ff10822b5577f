"""HyperReel: high-fidelity 6-DoF video with ray-conditioned sampling (Attal et al., CVPR 2023).

A small network looks at a ray and says where along it, or beside it, the volume should be asked for density and colour.
A few samples then do the work of hundreds, and a bent path or a corrected colour lets a plain volume show reflections.
For video the volume stores keyframes only, and a predicted flow carries each sample to the nearest one.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__, {"HyperReel": "model", "build": "model", "Config": "card", "PROFILES": "card", "PAPER": "card"}
)
