"""The authors' checkpoints: one file for the backbone, one for each scene's head."""

import re
from collections.abc import Mapping

from torch import Tensor

_STAGES = (
    (r"encoder\.conv(\d)\.", lambda m: f"backbone.stem.{int(m[1]) - 1}."),
    (r"encoder\.res1_conv(\d)\.", lambda m: f"backbone.first.{int(m[1]) - 1}."),
    (r"encoder\.res2_conv(\d)\.", lambda m: f"backbone.second.{int(m[1]) - 1}."),
    (r"encoder\.res2_skip\.", lambda m: "backbone.skip."),
    (r"heads\.res3_conv(\d)\.", lambda m: f"head.blocks.0.{int(m[1]) - 1}."),
    (r"heads\.(\d)c(\d)\.", lambda m: f"head.blocks.{int(m[1]) + 1}.{m[2]}."),
    (r"heads\.head_skip\.", lambda m: "head.skip."),
    (r"heads\.fc([12])\.", lambda m: f"head.last.{int(m[1]) - 1}."),
    (r"heads\.fc3\.", lambda m: "head.out."),
    (r"heads\.mean$", lambda m: "head.mean"),
)
_CONSTANTS = {"heads.max_scale", "heads.min_scale", "heads.max_inv_scale", "heads.h_beta", "heads.min_inv_scale"}


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of `model.Regressor` for the authors' names, which begin with `encoder.` or `heads.`; the read-out's constants fall away.

    Raises ValueError for a name of neither.
    """
    found = {}
    for name, value in state.items():
        if name in _CONSTANTS:
            continue
        for pattern, ours in _STAGES:
            if match := re.match(pattern, name):
                found[ours(match) + name[match.end() :]] = value.float()
                break
        else:
            raise ValueError(f"{name!r} is neither of the backbone nor of the head")
    return found


def joined(backbone: Mapping[str, Tensor], head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The two released files, whose names lack their prefixes, as one state."""
    return {f"encoder.{n}": v for n, v in backbone.items()} | {f"heads.{n}": v for n, v in head.items()}
