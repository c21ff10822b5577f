"""The authors' checkpoints: dictionaries of `encoder`, `predictor` and `target_encoder`, their names behind `module.`."""

from collections.abc import Mapping

from torch import Tensor

PREDICTOR = {
    "predictor_embed": "embed", "predictor_blocks": "blocks", "predictor_norm": "norm", "predictor_proj": "proj",
}  # fmt: skip
PARTS = {"encoder": "encoder", "predictor": "predictor", "target_encoder": "target"}


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of `model.JEPA` for a flat state whose names begin with `encoder.`, `predictor.` or `target_encoder.`.

    Position tables are computed here and left out.
    Raises ValueError for a name of none of the three parts.
    """
    found = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        if part not in PARTS:
            raise ValueError(f"{name!r} belongs to none of {', '.join(PARTS)}")
        rest = rest.removeprefix("module.")
        if rest.endswith("pos_embed"):
            continue
        first, _, last = rest.partition(".")
        if part == "predictor":
            rest = ".".join(filter(None, (PREDICTOR.get(first, first), last)))
        found[f"{PARTS[part]}.{rest.replace('patch_embed.proj', 'patch_embed')}"] = value
    return found


def flattened(checkpoint: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """A released checkpoint's three states as one flat state."""
    return {f"{part}.{name}": value for part in PARTS for name, value in checkpoint.get(part, {}).items()}
