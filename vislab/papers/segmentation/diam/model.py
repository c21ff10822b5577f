"""The base network: PSPNet for background and base classes."""

from vislab.nn.segmentation import PSPNet
from vislab.papers.segmentation.diam.card import Config


def build(config: Config) -> PSPNet:
    """PSPNet whose classifier knows background and the base classes; novel classes are unknown to it."""
    return PSPNet(
        1 + config.classes - config.novel, config.depth, config.width, config.feature_width, dropout=config.dropout
    )
