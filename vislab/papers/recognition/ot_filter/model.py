"""The network: a pre-activation ResNet whose pooled feature is mapped linearly to the space in which the filter works."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.papers.recognition.ot_filter.card import Config

STAGES = 4


class PreActBlock(nn.Module):
    """Norm and ReLU before each of two 3x3 convolutions; a 1x1 convolution where shapes differ takes the activated input.

    Elsewhere the input itself is added; with `activated` it is the activated input there too, as in the released code.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, activated: bool = False):
        super().__init__()
        self.activated = activated
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        if self.shortcut is not None:
            return out + self.shortcut(active)
        return out + (active if self.activated else x)


class PreActResNet(nn.Module):
    """Stem, four stages of pre-activation blocks, average pool, a linear map to the filter's feature, a linear classifier.

    `forward` gives (logits (batch, class), feature (batch, feature)); no non-linearity stands between the two linear maps.
    """

    def __init__(self, width: int, depth: int, features: int, classes: int, activated: bool = False):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        widths = [width, *(width * 2**k for k in range(STAGES))]
        self.stages = nn.ModuleList(
            nn.Sequential(
                PreActBlock(a, b, 1 if k == 0 else 2, activated), *(PreActBlock(b, b, 1, activated) for _ in range(depth - 1))
            )
            for k, (a, b) in enumerate(zip(widths[:-1], widths[1:], strict=True))
        )  # fmt: skip
        self.feature = nn.Linear(widths[-1], features)
        self.classifier = nn.Linear(features, classes)

    def forward(self, images: Float[Tensor, "batch 3 h w"]) -> tuple[Tensor, Tensor]:
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        feature = self.feature(x.mean(dim=(2, 3)))
        return self.classifier(feature), feature


def build(config: Config) -> PreActResNet:
    """The untrained network at the config's sizes; ResNet-18 with width 64 and two blocks a stage."""
    return PreActResNet(config.width, config.depth, config.features, config.classes, config.follow == "code")
