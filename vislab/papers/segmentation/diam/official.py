"""The authors' checkpoints (sinahmr/DIaM), dictionaries with `state_dict`, their names behind `module.`."""

import re
from collections.abc import Mapping

from torch import Tensor

_RULES = (
    (r"layer0\.", "backbone.stem."),
    (r"layer([1-4])\.", lambda m: f"backbone.stages.{int(m[1]) - 1}."),
    (r"ppm\.features\.", "pool.levels."),
    (r"bottleneck\.", "bottleneck."),
    (r"classifier\.", "classifier."),
)


def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' PSPNet under the names of `vislab.nn.segmentation.PSPNet`.

    Raises KeyError for a tensor that is not theirs.
    """
    return {_name(name.removeprefix("module.")): value for name, value in state_dict.items()}


def _name(official: str) -> str:
    for pattern, replacement in _RULES:
        name, hits = re.subn("^" + pattern, replacement, official)
        if hits:
            return name
    raise KeyError(f"{official} is not a tensor of the authors' network")
