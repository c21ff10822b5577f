"""M3-Net: an attribute-specific and several class-specific vectors of a garment, for fine-grained retrieval (Jiao et al., CVPR 2023).

A sub-network attends to what an attribute is about and says which of its classes are likely.
A second one, shared by all classes, refines the attended features for those classes alone.
The paper's body and its code are not public: what stands here is a reconstruction from the abstract, the introduction and kindred work.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "PAPER": "card", "PROFILES": "card", "Config": "card", "Duet": "model", "build": "model", "class_triplet": "losses",
        "set_triplet": "losses", "similarity": "experiment", "train": "train",
    },
)  # fmt: skip
