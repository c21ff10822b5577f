"""ACE: a map of a scene in minutes, learnt from pictures and poses (Brachmann et al., CVPR 2023).

Scene coordinate regression is split into a backbone that knows no scene and a small head without spatial context.
The features of all mapping pictures are computed once and shuffled, so that every step sees thousands of views.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "PAPER": "card", "PROFILES": "card", "Config": "card", "Regressor": "model", "build": "model", "from_official": "official",
        "fill_buffer": "train", "relocalise": "experiment", "run": "experiment", "train": "train",
    },
)  # fmt: skip
