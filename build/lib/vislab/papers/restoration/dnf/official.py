"""Loading the authors' checkpoints (Srameo/DNF): their tensor names in ours."""

import re

from torch import Tensor

_RULES = (
    (r"feature_conv_([01])\.", lambda m: f"stem.{2 * int(m[1])}."),
    (r"(aux_)?conv_fuse_([01])\.", lambda m: f"{'raw' if m[1] else 'colour'}_head.{2 * int(m[2])}."),
    (r"downsamples\.(\d)\.body\.", r"downs.\1."),
    (r"upsamples\.(\d)\.body\.", r"colour_decoder.ups.\1."),
    (r"aux_upsamples\.(\d)\.body\.", r"raw_decoder.ups.\1."),
    (r"color_decoder_fuses\.", "colour_decoder.fusions."),
    (r"denoising_decoder_fuses\.", "raw_decoder.fusions."),
    (r"aux_denoising_blocks\.", "raw_decoder.blocks."),
    (r"denoising_blocks\.", "encoder."),
    (r"color_correction_blocks\.", "colour_decoder.blocks."),
    (r"feedback_fuses\.", "feedback."),
)
_INSIDE = (
    ("channel_independent.dconv", "depthwise"),
    ("channel_dependent.pwconv1", "expand"),
    ("channel_dependent.pwconv2", "reduce"),
    ("feedforward", "feed"),
)
_LEAVES = {
    "colour_decoder.blocks": {"pwconv": "qkv.0", "dwconv": "qkv.1", "project_out": "project"},
    "colour_decoder.fusions": {"pwconv": "mix", "dwconv": "smooth"},
    "raw_decoder.fusions": {"pwconv": "mix", "dwconv": "smooth"},
    "feedback": {"pwconv": "expand", "dwconv": "depthwise", "project_out": "reduce", "mlp": "project"},
}


def _name(official: str) -> str:
    for pattern, replacement in _RULES:
        name, hits = re.subn("^" + pattern, replacement, official)
        if hits:
            break
    else:
        raise KeyError(f"{official} is not a tensor of the authors' network")
    for old, new in _INSIDE:
        name = name.replace(old, new)
    for prefix, leaves in _LEAVES.items():
        if name.startswith(prefix + "."):
            for old, new in leaves.items():
                name = re.sub(rf"\.{old}\.", f".{new}.", name)
    return name


def from_official(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' state dictionary under our names; raises KeyError for a tensor that is not theirs."""
    return {_name(name): value for name, value in state_dict.items()}
