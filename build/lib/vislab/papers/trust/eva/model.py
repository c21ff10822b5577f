"""The classifiers that are explained: plain sequences of layers, so that bounds can be propagated through them."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vislab.papers.trust.eva.card import Config

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CHANNELS = {"world": 3, "mnist": 1, "cifar10": 3, "imagenet": 3}


class Standardise(nn.Module):
    """ImageNet's mean and deviation, inside the network, so that boxes are boxes of pixels in [0, 1]."""

    def forward(self, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 h w"]:
        mean, deviation = (torch.tensor(v, device=image.device)[:, None, None] for v in (MEAN, DEVIATION))
        return (image - mean) / deviation


def small(channels: int, size: int, width: int, hidden: int, classes: int) -> nn.Sequential:
    """Two convolutions with stride 2 and two linear layers; `size` is a multiple of four."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * (size // 4) ** 2, hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )


def vgg16(classes: int) -> nn.Sequential:
    """torchvision's VGG-16 for pictures of 224 pixels as one sequence; weights are not loaded here."""
    from torchvision.models import vgg16 as released

    whole = released(weights=None, num_classes=classes)
    return nn.Sequential(Standardise(), whole.features, nn.Flatten(), whole.classifier)


def build(config: Config) -> nn.Sequential:
    """The small convolutional network, or VGG-16."""
    if config.network == "vgg16":
        return vgg16(config.classes)
    return small(CHANNELS[config.source], config.image_size, config.width, config.hidden, config.classes)


def last_convolution(model: nn.Module) -> nn.Module:
    """The layer whose output Grad-CAM weighs."""
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)][-1]
