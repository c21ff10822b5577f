"""StyleAdv: few-shot learners that meet styles attacked by gradient, for domains they have never seen (Fu et al., CVPR 2023).

The style of a feature map, its channels' means and standard deviations, is moved along the sign of the loss's gradient.
Block after block is attacked on features that already carry the styles of the blocks before, with a strength drawn from a pool.
Episodes are learnt in their own style and in the attacked one.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "PAPER": "card", "PROFILES": "card", "Config": "card", "FewShotNetwork": "model", "build": "model",
        "new_styles": "attack", "style_gradient": "attack", "from_official": "official", "train": "train",
    },
)  # fmt: skip
