"""The network: a CIFAR ResNet with one head for all classes, and the normalisation that the config names."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.nn.resnet_small import BasicBlock, basic_stage
from vislab.papers.recognition.tbbn.card import Config
from vislab.papers.recognition.tbbn.norms import convert_bn, norm_layer


class SignedBlock(BasicBlock):
    """A basic block that ends without its ReLU, so that features may point anywhere (LUCIR)."""

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x)


class CosineHead(nn.Module):
    """A learned scale times the cosine of the feature with each class's weight; weight is (classes, features)."""

    def __init__(self, features: int, classes: int, scale: float):
        super().__init__()
        self.weight = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(classes, features), a=5**0.5))
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Float[Tensor, "batch feature"], frozen: int = 0) -> Float[Tensor, "batch class"]:
        """Logits; the first `frozen` classes' weights get no gradient."""
        weight = torch.cat([self.weight[:frozen].detach(), self.weight[frozen:]])
        return self.scale * F.normalize(x, dim=1) @ F.normalize(weight, dim=1).T


class IncrementalResNet(nn.Module):
    """ResNet of `depth` = 6 n + 2 layers, widths (w, 2w, 4w), projected shortcuts, and one head for all classes.

    The head is linear, or with `cosine_scale` LUCIR's cosine one, on features that may be negative.
    Classes stand in it in the order of their tasks; a task not seen yet is left out by whoever reads the logits.
    `forward` gives {"logits": (batch, class), "feat": (batch, feature)}.
    Raises ValueError for a depth that is not of that form.
    """

    def __init__(self, depth: int, width: int, classes: int, cosine_scale: float = 0.0):
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth {depth} is not 6 n + 2")
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.stage1 = basic_stage(width, width, blocks, 1, "B")
        self.stage2 = basic_stage(width, 2 * width, blocks, 2, "B")
        self.stage3 = basic_stage(2 * width, 4 * width, blocks, 2, "B")
        if cosine_scale:
            inputs, stride = (2 * width, 2) if blocks == 1 else (4 * width, 1)
            self.stage3[-1] = SignedBlock(inputs, 4 * width, stride, "B")
        self.head = CosineHead(4 * width, classes, cosine_scale) if cosine_scale else nn.Linear(4 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def features(self, images: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch feature"]:
        """What the head gets; exemplars are herded by it."""
        return self.stage3(self.stage2(self.stage1(self.stem(images)))).mean(dim=(2, 3))

    def forward(self, images: Float[Tensor, "batch 3 h w"], frozen: int = 0) -> dict[str, Tensor]:
        """`frozen` first classes of a cosine head get no gradient."""
        feat = self.features(images)
        return {
            "logits": self.head(feat, frozen) if isinstance(self.head, CosineHead) else self.head(feat),
            "feat": feat,
        }


def build(config: Config) -> IncrementalResNet:
    """The untrained network at the config's sizes."""
    scale = config.cosine_scale if config.approach == "lucir" else 0.0
    network = IncrementalResNet(config.depth, config.width, config.classes, scale)
    return convert_bn(network, norm_layer(config))


def twin(network: IncrementalResNet, config: Config) -> IncrementalResNet:
    """A copy of the network with the config's normalisation, whose layers have the same state."""
    return convert_bn(copy.deepcopy(network), norm_layer(config))


def norm_modules(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Layers with running statistics, in the order of their registration."""
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]


def stage_span(config: Config, task: int) -> tuple[int, int]:
    """(first class of `task`, classes seen with it); joint training has one task with all classes."""
    if config.joint:
        return 0, config.classes
    size = config.classes // config.tasks
    return task * size, (task + 1) * size
