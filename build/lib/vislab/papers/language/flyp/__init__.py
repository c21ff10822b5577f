"""FLYP: fine-tune a contrastive vision-language model with the contrastive loss of its pre-training.

Every label becomes a sentence, both encoders and the scale go on learning to match pictures with sentences, and a picture is
classified by the fine-tuned text encoder's prompts; in place of cross-entropy on a head, which wears the robustness away.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "PAPER": "card", "PROFILES": "card", "Config": "card", "batch": "data", "build": "model",
        "flyp_loss": "losses", "from_official": "official", "interpolated": "experiment", "run": "experiment", "train": "train",
    },
)  # fmt: skip
