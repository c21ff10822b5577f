"""The authors' checkpoints: names of `model.NormalisedUNet` for theirs."""

import re
from collections.abc import Mapping

from torch import Tensor

DEPTH = 4
"""Halvings of the authors' network."""
_PAIR = re.compile(r"(?:(encoder|decoder)(\d)|bottleneck)\.[a-z]+\d?_(conv|bn)([12])\.(\w+)$")
_UP = re.compile(r"upconv(\d)\.(\w+)$")
_HEAD = re.compile(r"conv\.(\w+)$")


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our names; raises KeyError for a name that is not the authors'."""
    return {_name(name): value for name, value in state.items()}


def _name(official: str) -> str:
    if match := _PAIR.match(official):
        kind, level, layer, number, rest = match.groups()
        group, place = ("encoders", DEPTH) if kind is None else (f"{kind}s", int(level) - 1)
        # a convolution, its normalisation and its ReLU count as three layers
        return f"{group}.{place}.{3 * (int(number) - 1) + (layer == 'bn')}.{rest}"
    if match := _UP.match(official):
        return f"ups.{int(match[1]) - 1}.{match[2]}"
    if match := _HEAD.match(official):
        return f"head.{match[1]}"
    raise KeyError(f"{official} is not a tensor of the authors' network")
