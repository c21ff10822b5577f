"""The authors' checkpoints: a saved CLIPEncoder whose names have the prefix `model.`; OpenAI's own files have none."""

from collections.abc import Mapping

from torch import Tensor


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' names to those of `vislab.papers.language.flyp.model.Classifier`.

    Raises ValueError for a state that is not CLIP's.
    """
    left_out = ("input_resolution", "context_length", "vocab_size")
    plain = {name.removeprefix("model."): value for name, value in state.items()}
    if "text_projection" not in plain:
        raise ValueError("not a CLIP state: text_projection is missing")
    return {f"clip.{name}": value.float() for name, value in plain.items() if name not in left_out}
