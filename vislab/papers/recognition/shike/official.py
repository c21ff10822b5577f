"""The authors' checkpoints: names of `model.DepthExperts` for theirs."""

import re
from collections.abc import Mapping

from torch import Tensor

_RULES = (
    (r"conv1\.", "stem.0."),
    (r"bn1\.", "stem.1."),
    (r"layer([12])\.", r"stage\1."),
    (r"layer3s\.", "branches."),
    (r"rt_classifiers\.", "retrained."),
    (r"classifiers\.", "classifiers."),
)
_ALIGNER = re.compile(r"shallow_exps\.(\d+)\.convs\.StridedConv(\d)\.conv\.([01])\.")


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our names; raises KeyError for a name that is not the authors'."""
    return {_name(name.removeprefix("module.")): value for name, value in state.items()}


def _name(official: str) -> str:
    if match := _ALIGNER.match(official):
        # each convolution, its norm and its ReLU count as three layers
        return f"aligners.{match[1]}.{3 * int(match[2]) + int(match[3])}.{official[match.end() :]}"
    for pattern, replacement in _RULES:
        name, hits = re.subn("^" + pattern, replacement, official)
        if hits:
            return name
    raise KeyError(f"{official} is not a tensor of the authors' network")
