"""CEASC: adaptive sparse convolutional heads with global context for detection on drone images (Du et al., CVPR 2023).

Most of a drone image is background, and most of a one-stage detector's cost lies in its head.
A learned mask for each level says where the head computes; a cheap dense 1 x 1 branch lends the sparse features its
normalisation statistics and its content, and a loss ties the mask's share to the share of positive positions.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__, {"build": "model", "SparseHead": "model", "Config": "card", "PROFILES": "card", "PAPER": "card"}
)
