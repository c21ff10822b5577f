"""SHIKE: experts of different depth that teach each other, for long-tailed recognition (Jin et al., CVPR 2023).

Each expert multiplies its own deep feature with a shallow one of the shared trunk, since some rare classes are told by shallow cues.
The experts distil into each other, and from a teacher that leaves out the right class and holds down the strongest wrong one.
Balanced classifiers are trained last, on frozen features.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "PAPER": "card", "PROFILES": "card", "Config": "card", "DepthExperts": "model", "build": "model", "grand_teacher": "losses",
        "knowledge_loss": "losses", "mutual_loss": "losses", "from_official": "official", "train": "train",
    },
)  # fmt: skip
