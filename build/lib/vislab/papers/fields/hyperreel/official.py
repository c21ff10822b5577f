"""Loading the authors' checkpoints (facebookresearch/hyperreel): their tensor names in ours."""

import re

from torch import Tensor

_RULES = (
    (r"embedding_model\.embeddings\.0\.net\.layers\.(\d)\.(?:0\.)?", r"network.mlp.layers.\1."),
    (r"color_model\.net\.density_plane(?:_space)?\.", "volume.density_space."),
    (r"color_model\.net\.density_(?:plane_time|line)\.", "volume.density_time."),
    (r"color_model\.net\.app_plane(?:_space)?\.", "volume.colour_space."),
    (r"color_model\.net\.app_(?:plane_time|line)\.", "volume.colour_time."),
    (r"color_model\.net\.basis_mat\.", "volume.basis."),
)
_UNUSED = r"dummy_layer|\.aabb$|gridSize$|basis_mat_density"


def from_official(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' state dictionary under our names, without the tensors that have no effect.

    A factor without components has no place in ours either and keeps its empty shape.
    Raises KeyError for a tensor that is not theirs.
    """
    found = {}
    for name, value in state_dict.items():
        name = name.removeprefix("render_fn.model.")
        if re.search(_UNUSED, name):
            continue
        for pattern, replacement in _RULES:
            new, hits = re.subn("^" + pattern, replacement, name)
            if hits:
                found[new] = value
                break
        else:
            raise KeyError(f"{name} is not a tensor of the authors' network")
    return found
