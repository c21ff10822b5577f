"""Others' checkpoints: names of `model.FewShotNetwork` for the authors' ResNet, of `model.ViT` for timm's (DINO)."""

import re
from collections.abc import Mapping

from torch import Tensor

_RULES = (
    (r"feature\.trunk\.([01])\.", r"backbone.stem.\1."),
    (r"fc\.0\.", "head.project."),
    (r"fc\.1\.", "head.norm."),
    (r"gnn\.layer_l(\d)\.fc\.", r"head.layers.\1.linear."),
    (r"gnn\.layer_l(\d)\.bn\.", r"head.layers.\1.norm."),
    (r"gnn\.layer_last\.fc\.", "head.last.linear."),
    (r"classifier\.", "classifier."),
)
_BLOCK = re.compile(r"feature\.trunk\.([4-7])\.(C1|BN1|C2|BN2|shortcut|BNshortcut)\.")
_PARTS = {
    "C1": "conv1",
    "BN1": "bn1",
    "C2": "conv2",
    "BN2": "bn2",
    "shortcut": "shortcut.0",
    "BNshortcut": "shortcut.1",
}
_EDGES = re.compile(r"gnn\.(?:layer_w(\d)|w_comp_last)\.(?:conv2d_last|conv2d_(\d)|bn_(\d))\.")
_LAST = "2"
"""The place of the last edges, after those of two layers."""


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our names, 1x1 convolutions of the graph as matrices; raises KeyError for a name not the authors'."""
    found = {}
    for name, value in state.items():
        ours = _name(name.removeprefix("module."))
        found[ours] = value.flatten(1) if ours.startswith("head.edges.") and value.ndim == 4 else value
    return found


def _name(official: str) -> str:
    if match := _BLOCK.match(official):
        return f"backbone.blocks.{int(match[1]) - 4}.{_PARTS[match[2]]}.{official[match.end() :]}"
    if match := _EDGES.match(official):
        part = f"linears.{int(match[2]) - 1}" if match[2] else f"norms.{int(match[3]) - 1}" if match[3] else "last"
        return f"head.edges.{match[1] or _LAST}.{part}.{official[match.end() :]}"
    for pattern, replacement in _RULES:
        name, hits = re.subn("^" + pattern, replacement, official)
        if hits:
            return name
    raise KeyError(f"{official} is not a tensor of the authors' network")


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of timm's ViT without a classifier, as its DINO weights have them, under the names of `model.ViT`."""
    return {name.replace("patch_embed.proj.", "patch_embed."): value for name, value in state.items()}
