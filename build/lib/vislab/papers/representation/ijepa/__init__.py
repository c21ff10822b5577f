"""I-JEPA: learn pictures by predicting, from one visible block, the features of several hidden blocks (Assran et al., CVPR 2023).

The targets are features of a slowly moving copy of the encoder that sees the whole picture, so detail that cannot be predicted may be
left out; no augmentation by hand is needed, and only visible patches go through the encoder.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "PAPER": "card", "PROFILES": "card", "Config": "card", "JEPA": "model", "build": "model", "from_official": "official",
        "prediction_loss": "losses", "run": "experiment", "train": "train",
    },
)  # fmt: skip
