"""Loading the authors' checkpoints (emasa/BalPoE-CalibratedLT): their tensor names in ours."""

import re

from torch import Tensor

_RULES = (
    (r"conv1\.", "trunk.0.0."),
    (r"bn1\.", "trunk.0.1."),
    (r"layer(\d)\.", lambda m: f"trunk.{m[1]}."),
    (r"linears\.", "classifiers."),
)


def from_official(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' state dictionary under our names, prefixes `module.` and `backbone.` removed.

    Works for the CIFAR network (stages 2 and 3 per expert) and for the ImageNet one (stages 3 and 4 per expert).
    Raises KeyError for a tensor that is not theirs.
    """
    names = {re.sub(r"^(module\.)?(backbone\.)?", "", name): value for name, value in state_dict.items()}
    first = 3 if any(name.startswith("layer4s.") for name in names) else 2
    return {_name(name, first): value for name, value in names.items()}


def _name(official: str, first: int) -> str:
    stage = re.match(r"layer(\d)s\.(\d+)\.", official)
    if stage:
        return f"branches.{stage[2]}.{int(stage[1]) - first}.{official[stage.end() :]}"
    for pattern, replacement in _RULES:
        name, hits = re.subn("^" + pattern, replacement, official)
        if hits:
            return name
    raise KeyError(f"{official} is not a tensor of the authors' network")
