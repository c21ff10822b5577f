"""Loading the authors' head (Cuogeihong/CEASC): their tensor names in ours."""

import re

import torch
from torch import Tensor

_BRANCHES = {"cls": "classify", "reg": "regress"}


def from_official(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' GFL head, with or without the prefix `bbox_head.`, under the names of `SparseHead`.

    Other parts of their detector are skipped when the prefix is there; `integral.project` is a constant.
    Raises KeyError for a tensor that is not theirs.
    """
    if any(name.startswith("bbox_head.") for name in state_dict):
        state_dict = {n[10:]: v for n, v in state_dict.items() if n.startswith("bbox_head.")}
    found: dict[str, Tensor] = {}
    scales: dict[int, Tensor] = {}
    for name, value in state_dict.items():
        if name == "integral.project":
            continue
        if level := re.fullmatch(r"scales\.(\d+)\.scale", name):
            scales[int(level[1])] = value
        else:
            found[_name(name)] = value
    if scales:
        found["scales"] = torch.stack([scales[k] for k in sorted(scales)])
    return found


def _name(name: str) -> str:
    rules = (
        (r"(cls|reg)_convs\.(\d+)\.0\.conv\.(\w+)", r"\1.blocks.\2.conv.\3"),
        (r"(cls|reg)_convs\.(\d+)\.0\.gn\.(\w+)", r"\1.blocks.\2.norm.\3"),
        (r"(cls|reg)_pw_convs\.0\.(\w+)", r"\1.context.\2"),
        (r"gfl_(cls|reg)\.conv\.(\w+)", r"\1.predict.\2"),
        (r"gfl_(cls|reg)_mask\.0\.(\w+)", r"\1.mask.\2"),
    )
    for pattern, ours in rules:
        if match := re.fullmatch(pattern, name):
            branch, _, rest = match.expand(ours).partition(".")
            return f"{_BRANCHES[branch]}.{rest}"
    raise KeyError(f"{name} is not a tensor of the authors' head")
