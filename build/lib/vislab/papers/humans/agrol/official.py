"""Loading the authors' checkpoints (facebookresearch/AGRoL): their tensor names in ours."""

import re

from torch import Tensor

_ENDS = {
    "input_process": "pose_in",
    "input_fc": "sparse_in",
    "sparse_process": "sparse_in",
    "output_process": "head",
    "output_fc": "head",
}
_INNER = {
    "conct": "merge",
    "emb_fc": "time",
    "fc0": "frame_mix",
    "fc1": "feature_mix",
    "norm0": "frame_norm",
    "norm1": "feature_norm",
}


def from_official(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' state of the denoiser or of the pure MLP under our names; their table of sinusoids is computed here.

    Raises KeyError for a tensor that is not theirs.
    """
    names = {name.removeprefix("module."): value for name, value in state_dict.items()}
    return {_name(name): value for name, value in names.items() if name != "embed_timestep.pe"}


def _name(official: str) -> str:
    block = re.fullmatch(r"(?:mlp\.)?motion_mlp\.mlps\.(\d+)\.(\w+)\.(weight|bias)", official)
    if block and block[2] in _INNER:
        return f"blocks.{block[1]}.{_INNER[block[2]]}.{block[3]}"
    module, _, leaf = official.partition(".")
    if module in _ENDS and leaf in ("weight", "bias"):
        return f"{_ENDS[module]}.{leaf}"
    raise KeyError(f"{official} is not a tensor of the authors' network")
