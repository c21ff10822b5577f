"""The network: a backbone shared by all scenes and a head that is the map of one."""

from jaxtyping import Float
from torch import Tensor, nn

from vislab.nn.scene_coordinates import Backbone, Head, kaiming
from vislab.papers.geometry.ace.card import Config


class Regressor(nn.Module):
    """Grey pictures to scene coordinates, one for every cell of `stride` pixels."""

    def __init__(self, backbone: Backbone, head: Head):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, grey: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 3 h w"]:
        return self.head(self.backbone(grey))


def build(config: Config) -> Regressor:
    """The untrained network at the config's sizes, He-initialised, which end-to-end training from nothing needs."""
    backbone = Backbone(config.stem_widths, config.features, config.strides)
    head = Head(config.features, config.width, config.depth, config.homogeneous, config.head_kernel)
    return kaiming(Regressor(backbone, head))
