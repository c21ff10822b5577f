"""TBBN: task-balanced batch normalisation for class-incremental learning with exemplars (Cha et al., CVPR 2023).

A batch holds many images of the current task and few of a small memory, so batch statistics lean to the current task.
The layer folds the current images into groups along the channels, repeats the memory once a group, and normalises the groups.
In evaluation it is ordinary batch normalisation.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "PAPER": "card", "PROFILES": "card", "Config": "card", "IncrementalResNet": "model", "TaskBalancedNorm": "norms",
        "ContinualNorm": "norms", "build": "model", "convert_bn": "norms", "feasible_groups": "norms", "from_official": "official",
        "set_task": "norms", "train": "train",
    },
)  # fmt: skip
