"""The authors' checkpoints: names of `model.PreActResNet` for theirs."""

import re
from collections.abc import Mapping

from torch import Tensor

_RULES = (
    (r"conv1\.", "stem.0."),
    (r"bn1\.", "stem.1."),
    (r"linear1\.", "feature."),
    (r"linear2\.", "classifier."),
)
_BLOCK = re.compile(r"layer([1-4])\.(\d+)\.(bn1|bn2|conv1|conv2|shortcut)\.(0\.)?")


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our names; raises KeyError for a name that is not the authors'."""
    return {_name(name.removeprefix("module.")): value for name, value in state.items()}


def _name(official: str) -> str:
    if match := _BLOCK.match(official):
        return f"stages.{int(match[1]) - 1}.{match[2]}.{match[3]}.{official[match.end() :]}"
    for pattern, replacement in _RULES:
        name, hits = re.subn("^" + pattern, replacement, official)
        if hits:
            return name
    raise KeyError(f"{official} is not a tensor of the authors' network")
