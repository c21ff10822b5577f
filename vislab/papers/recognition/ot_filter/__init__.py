"""OT-Filter: optimal transport decides which labels are clean, for learning with noisy labels (Feng et al., CVPR 2023).

One entropic plan moves all training features onto the barycentres of the classes, each of which must receive its share.
A label is trusted where it agrees with the class to which its item's mass goes, first with barycentres of all labels, then of clean ones.
The rejected items are used without their labels (MixMatch).
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "PAPER": "card", "PROFILES": "card", "Config": "card", "PreActResNet": "model", "assigned": "filters", "barycentre": "filters",
        "build": "model", "from_official": "official", "grouped_plan": "filters", "selected": "filters", "train": "train",
    },
)  # fmt: skip
