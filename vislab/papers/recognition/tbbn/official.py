"""The authors' checkpoints: names of `model.IncrementalResNet` for theirs."""

import re
from collections.abc import Mapping

from torch import Tensor

_RULES = (
    (r"conv1\.", "stem.0."),
    (r"bn1\.", "stem.1."),
    (r"layer([123])\.(\d+)\.downsample\.", r"stage\1.\2.shortcut."),
    (r"layer([123])\.", r"stage\1."),
    (r"fc\.", "head."),
)


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our names; raises KeyError for a name that is not the authors'."""
    return {_name(name.removeprefix("module.")): value for name, value in state.items()}


def _name(official: str) -> str:
    for pattern, replacement in _RULES:
        name, hits = re.subn("^" + pattern, replacement, official)
        if hits:
            return name
    raise KeyError(f"{official} is not a tensor of the authors' network")
