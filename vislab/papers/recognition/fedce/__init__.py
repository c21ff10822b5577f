"""FedCE: federated segmentation in which a client's estimated contribution is also its weight (Jiang et al., CVPR 2023).

A client contributes what the others lack: its update points elsewhere than theirs, and a model without it errs on its data.
Both are read off quantities that are sent anyway, and their sum weighs the client's update in the next global model.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "PAPER": "card", "PROFILES": "card", "Config": "card", "NormalisedUNet": "model", "build": "model", "contributions": "fairness",
        "from_official": "official", "other_directions": "fairness", "train": "train",
    },
)  # fmt: skip
