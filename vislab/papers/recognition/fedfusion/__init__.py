"""FedFusion: the server infers how the clients' data are distributed from normalisation statistics (Duan et al., CVPR 2023).

Clients send the means and variances of their feature maps with their weights.
A variational autoencoder explains them as mixtures of a few virtual components, and the models are merged by that mixture.
The paper's body and its code are not public: what stands here is a reconstruction from the abstract and the introduction.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "PAPER": "card", "PROFILES": "card", "Config": "card", "FusionVAE": "fusion", "build": "model", "fit_mixture": "fusion",
        "merge": "fusion", "pooled": "fusion", "train": "train",
    },
)  # fmt: skip
