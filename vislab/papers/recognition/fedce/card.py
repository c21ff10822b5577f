"""FedCE's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of FedCE depends on."""

    weighting: Literal["credit", "size", "uniform", "loss", "worst", "alone"] = "credit"
    """What a client's update counts by: its credit, its items, all alike, its loss, the worst case; or clients never merge."""
    credit: Literal["contribution", "alignment", "none"] = "contribution"
    """How a client's contribution is estimated: FedCE's two scores, CGSV's alignment with the whole, or not at all."""
    mode: Literal["plus", "times", "gradient", "data"] = "plus"
    """How the two scores are joined: their sum, their product, or one of them alone."""
    data_score: Literal["error", "gain"] = "error"
    """Data-space score: the minus model's error (the paper), or how much better the global model is than the minus model."""
    minus_split: Literal["validation", "train"] = "validation"
    """Whose items the minus model is tried on: the client's validation or training items."""
    loss_power: float = 1.0
    """q-FedAvg: power of the loss in a client's weight."""
    ascent_rate: float = 1.0
    """Worst case: step of the weights towards clients with high loss."""
    weight_proximal: float = 0.0
    """FedProx: mu of the pull back to the round's global weights."""
    rounds: int = 100
    """Communication rounds."""
    local_epochs: int = 1
    """Epochs of a client in a round."""
    coalition_rounds: int = 6
    """Rounds in which each coalition is trained for the exact Shapley values; 0 leaves them out."""
    coalition_learning_rate: float = 8e-3
    """Learning rate of the coalitions' training, the same for every arm."""
    source: Literal["world", "prostate"] = "prostate"
    """Procedural slices, or prostate MRI from six sites."""
    federation: Literal["domain", "size", "label"] = "domain"
    """World: the last client has another scanner, or all have one; or the last client's masks are wrong."""
    shift: float = 1.0
    """World: how far the last client of "domain" is from the others, 1 is all the way."""
    corruption: float = 0.8
    """World: share of the last client's masks that are wrong in "label"."""
    portions: tuple[int, ...] = (5, 5, 3, 3, 4, 5)
    """World: how the training items are divided among clients."""
    width: int = 32
    """Channels of the U-Net's first level."""
    depth: int = 4
    """Halvings of the U-Net."""
    image_size: int = 256
    """Height and width in pixels."""
    batch_size: int = 8
    """Slices a step."""
    learning_rate: float = 1e-3
    """Of the clients' Adam, whose moments they keep from round to round."""
    train_items: int = 2500
    """World: training items of all clients together."""
    validation_items: int = 1200
    """Validation items that the clients hold together, shared evenly."""
    test_items: int = 1200
    """Test items of all clients together, shared evenly."""
    eval_batch_size: int = 16
    """Slices a batch in evaluation."""


_TUTORIAL = Config(
    source="world", portions=(9, 8, 5, 4), train_items=208, rounds=12, width=8, depth=3, image_size=32, learning_rate=8e-3,
    validation_items=64, test_items=240, eval_batch_size=64,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, train_items=13, rounds=2, coalition_rounds=1, width=4, depth=2, image_size=16, validation_items=8, test_items=12,
        batch_size=4,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, train_items=624, rounds=40, coalition_rounds=15, width=16, image_size=96, validation_items=160,
        test_items=800,
    ),
    "paper": Config(coalition_rounds=0),
}  # fmt: skip

METRICS = (
    metric("dice"),
    metric("dice_worst"),
    metric("dice_spread", better="lower"),
    metric("correlation"),
    metric("correlation_sizes"),
    metric("share_last"),
    metric("share_last_first"),
    metric("bytes"),
    metric("seconds_ratio"),
    metric("seconds_ratio_low"),
    metric("seconds_ratio_high"),
)

FEDAVG = {"weighting": "size", "credit": "none"}
CGSV = {"credit": "alignment"}
SLOW = {"learning_rate": 4e-3}
"""What tuning chose for FedCE, q-FedAvg and CGSV with a shifted client; averaging by size keeps 8e-3."""
SIZE = {"federation": "size", "portions": (14, 7, 3, 2)}
LABEL = {"federation": "label", "portions": (7, 7, 7, 5)}
ARMS = (
    Arm("fedce", "weights and credits by estimated contribution: the paper's method", "method", tuned=SLOW),
    Arm("fedavg", "updates averaged by the number of items", "baseline", FEDAVG),
    Arm("qfedavg", "clients with a higher loss count more (q-FedAvg)", "baseline", {"weighting": "loss", "credit": "none"},
        tuned=SLOW | {"loss_power": 4.0}),
    Arm("cgsv", "weights and credits by alignment with the global update (CGSV)", "baseline", CGSV, tuned=SLOW),
    Arm("fedce_size", "FedCE among clients that differ in size alone", "ablation", SIZE, tuned={"learning_rate": 3.2e-2}),
    Arm("cgsv_size", "CGSV among clients that differ in size alone", "ablation", SIZE | CGSV, tuned={"learning_rate": 1.6e-2}),
    Arm("fedce_label", "FedCE with one client whose masks are wrong", "ablation", LABEL, tuned={"learning_rate": 6.4e-2}),
    Arm("cgsv_label", "CGSV with one client whose masks are wrong", "ablation", LABEL | CGSV, tuned={"learning_rate": 1.6e-2}),
    Arm("uniform", "all clients count alike", "ablation", {"weighting": "uniform", "credit": "none"}, tuned=SLOW),
    Arm("fedprox", "by the number of items, clients pulled back to the global weights", "ablation", FEDAVG | {"weight_proximal": 0.01}),
    Arm("worst_case", "weights ascend to the worst client (AFL)", "ablation", {"weighting": "worst", "credit": "none"}, tuned=SLOW),
    Arm("alone", "every client trains for itself", "ablation", {"weighting": "alone", "credit": "none"}),
    Arm("gradient", "the gradient-space score alone", "ablation", {"mode": "gradient"}, tuned=SLOW),
    Arm("data", "the data-space score alone", "ablation", {"mode": "data"}, tuned=SLOW),
    Arm("product", "the product of the two scores", "ablation", {"mode": "times"}, tuned=SLOW),
    Arm("credit_only", "FedCE's credits, weights by the number of items", "ablation", {"weighting": "size"}),
    Arm("minus_train", "the minus model tried on training items", "ablation", {"minus_split": "train"}, tuned=SLOW),
    Arm("shift_0", "the last client's scanner is like the others'", "ablation", {"shift": 0.0, "coalition_rounds": 0}, tuned=SLOW),
    Arm("shift_50", "half the shift of the last client", "ablation", {"shift": 0.5, "coalition_rounds": 0}, tuned=SLOW),
    Arm("shift_75", "three quarters of the shift", "ablation", {"shift": 0.75, "coalition_rounds": 0}, tuned=SLOW),
    Arm("fedavg_label", "by the number of items, with one client whose masks are wrong", "ablation", LABEL | FEDAVG,
        tuned={"learning_rate": 1.6e-2}),
    Arm("gain_label", "a defence: the data score is what the global model gains over the minus model", "ablation",
        LABEL | {"data_score": "gain", "mode": "data"}, tuned={"learning_rate": 6.4e-2}),
)  # fmt: skip


def _lead(arm: str):
    """Correlation with the exact Shapley values, minus that of the sample counts."""
    return lambda seed: seed[arm]["correlation"] - seed[arm]["correlation_sizes"]


_SETTINGS = (
    ("", "with one shifted client"),
    ("_size", "with skewed sizes"),
    ("_label", "with one client's masks wrong"),
)
CLAIMS = (
    Claim(
        "C1",
        "Weights by contribution make the global model better on all clients together, and on the worst one.",
        "better than recent federated methods on two medical tasks (abstract)",
        (
            Part("difference", "dice", ("fedce", "fedavg"), "mean Dice against averaging by size"),
            Part("difference", "dice_worst", ("fedce", "fedavg"), "the worst client's Dice against averaging by size"),
            Part("difference", "dice", ("fedce", "qfedavg"), "mean Dice against q-FedAvg"),
            Part("difference", "dice_worst", ("fedce", "qfedavg"), "the worst client's Dice against q-FedAvg"),
        ),
    ),
    Claim(
        "C2",
        "Performance is fairer: clients differ less, at no cost in the mean.",
        "better performance fairness (abstract)",
        (
            Part("difference", "dice_spread", ("fedce", "fedavg"), "spread of Dice over clients against averaging by size"),
            Part("noninferior", "dice", ("fedce", "fedavg"), "mean Dice no worse by more than one point", margin=1.0),
        ),
    ),
    Claim(
        "C3",
        "Credits agree with exact Shapley values, whatever it is that clients differ in.",
        "better collaboration fairness; robust under various data distributions (abstract, introduction)",
        tuple(
            part
            for end, says in _SETTINGS
            for part in (
                Part("difference", "correlation", (f"fedce{end}", f"cgsv{end}"), f"correlation against CGSV, {says}"),
                Part("difference", "correlation", (f"fedce{end}",), f"correlation against the sample counts, {says}",
                     reduce=_lead(f"fedce{end}")),
            )
        ),
    ),
    Claim(
        "C4",
        "The estimate is cheap: one more pass over each client's validation items a round, and two numbers.",
        "an auxiliary model is calculated by excluding a client's own parameters (introduction)",
        (
            Part("ratio", "seconds_ratio", ("compare",), "time of a round over averaging's, at most a fifth more", margin=1.2),
            Part("exact", "bytes", ("fedce", "fedavg"), "bytes of a round, at most a hundredth more than averaging's",
                 reduce=lambda seed: 1.01 - seed["fedce"]["bytes"] / seed["fedavg"]["bytes"]),
        ),
    ),
)  # fmt: skip

DATASETS = (
    DataSet(
        "Prostate MRI",
        "prostate",
        "prostate/datalist_2D/client_I2CVB.json, client_MSD.json, client_NCI_ISBI_3T.json, client_NCI_ISBI_Dx.json,\n"
        "  client_Promise12.json, client_PROSTATEx.json\n"
        '  ({"training": [{"image": "...", "label": "..."}, ...], "validation": [...], "testing": [...]})\n'
        "prostate/dataset_2D/ with the axial slices that they name (.nii, .nii.gz or .png, 0 to 255)",
        "https://github.com/NVIDIA/NVFlare/tree/main/examples/advanced/prostate",
        ("dice",),
    ),
)
CLIENTS = ("I2CVB", "MSD", "NCI_ISBI_3T", "NCI_ISBI_Dx", "Promise12", "PROSTATEx")
"""Sites of the prostate data, in the order of the clients."""

_RATES = {"learning_rate": (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2, 1.28e-1)}
TUNING = {
    **dict.fromkeys(("fedce", "fedavg", "cgsv", "fedce_size", "cgsv_size", "fedce_label", "cgsv_label"), _RATES),
    "qfedavg": {"learning_rate": (4e-3, 8e-3), "loss_power": (0.5, 1.0, 2.0, 4.0)},
}
TUNING_METRIC = "dice"

PAPER = Paper(
    slug="fedce",
    part="recognition",
    title="Fair Federated Medical Image Segmentation via Client Contribution Estimation",
    first_author="Jiang",
    year=2023,
    summary=(
        "A hospital is credited, and weighed, by what the others lack: how differently its update points, "
        "and how badly a model without it does on its own data."
    ),
    links={
        "code": "https://github.com/NVIDIA/NVFlare/tree/main/research/fed-ce",
        "paper": "https://arxiv.org/abs/2303.16520",
    },
    reported=(Reported("parameters", 7_762_465, "U-Net of the released prostate job"),),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
    compares=True,
)
