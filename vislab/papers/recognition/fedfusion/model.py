"""The clients' networks, and how to read, write and recompute what their normalisation layers know of the data."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vislab.papers.recognition.fedfusion.card import Config


def convolutional(config: Config) -> nn.Sequential:
    """Four 3x3 convolutions with batch normalisation, `width` channels and then twice as many, and a linear classifier."""
    layers: list[nn.Module] = []
    inputs = 3
    for number, outputs in enumerate((config.width, config.width, 2 * config.width, 2 * config.width)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] if number < 3 else []
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, config.classes))


def build(config: Config) -> nn.Module:
    """The network that all clients train: (batch, 3, h, w) to (batch, classes) logits.

    `resnet18` is torchvision's with the stem that small pictures need: a 3x3 convolution and no pooling.
    """
    if config.network == "convolutional":
        return convolutional(config)
    from torchvision.models import resnet18

    model = resnet18(num_classes=config.classes)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    return model


def normalised(state: Iterable[str]) -> list[str]:
    """Names of the normalisation layers, in the network's order."""
    return [name.removesuffix(".running_mean") for name in state if name.endswith(".running_mean")]


def statistics(state: Mapping[str, Tensor]) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
    """(mean, variance) of every normalised channel, all layers side by side, in double precision."""
    layers = normalised(state)
    mean, variance = (torch.cat([state[f"{n}.running_{k}"] for n in layers]).double() for k in ("mean", "var"))
    return mean, variance


def with_statistics(
    state: Mapping[str, Tensor], mean: Float[Tensor, " channels"], variance: Float[Tensor, " channels"]
) -> dict[str, Tensor]:
    """The state with other statistics in its normalisation layers; the reverse of `statistics`."""
    found, start = dict(state), 0
    for name in normalised(state):
        end = start + len(state[f"{name}.running_mean"])
        found[f"{name}.running_mean"] = mean[start:end].float()
        found[f"{name}.running_var"] = variance[start:end].clamp(min=0).float()
        start = end
    return found


@torch.no_grad()
def recompute(model: nn.Module, image: Float[Tensor, "items 3 h w"], batch_size: int) -> None:
    """Set running means and variances to averages over `image`, as a moving average over few batches lags behind the weights."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = [m.momentum for m in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over batches
    model.train()
    for part in image.split(batch_size):
        model(part)
    for layer, momentum in zip(norms, kept, strict=True):
        layer.momentum = momentum
