"""TBBN's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of TBBN depends on."""

    norm: Literal["tbbn", "bn", "cn", "gn", "brn", "sn", "in", "ln"] = "tbbn"
    """Normalisation: task-balanced, batch, continual, group, batch renormalisation, switchable, instance, layer."""
    approach: Literal["finetune", "eeil", "ssil", "lucir"] = "finetune"
    """Class-incremental method: fine-tuning with exemplars, EEIL, SS-IL, or LUCIR."""
    follow: Literal["paper", "code"] = "paper"
    """SS-IL distils every old task and EEIL's last stage draws balanced batches; or the last old task alone, and mixed batches."""
    groups: int = 0
    """Groups of a task-balanced layer; 0 is the paper's rule."""
    statistics: Literal["balanced", "raw", "repeated"] = "balanced"
    """Of a task-balanced layer: the paper's, those of the batch as it comes, or with the memory repeated and nothing folded."""
    balanced_gradients: bool = False
    """Whether a task-balanced layer weighs images by task in the gradients of gamma and beta, which the paper's layer does not."""
    norm_groups: int = 8
    """Groups of channels of continual and group normalisation."""
    reweighted: bool = False
    """Whether the loss weighs images so that every task counts equally."""
    joint: bool = False
    """Whether all tasks are trained at once: the upper bound."""
    weight_distil: float = 1.0
    """Weight of the distillation from the network before the task, in EEIL and SS-IL."""
    temperature: float = 2.0
    """Temperature of the distillation."""
    balanced_share: float = 0.2
    """EEIL: share of a task's steps at its end in which every class is seen equally often."""
    balanced_factor: float = 0.1
    """EEIL: learning rate of that stage over the first one's."""
    weight_forget: float = 5.0
    """LUCIR: weight of the feature's distance to the old network's, times the root of old over new classes."""
    weight_margin: float = 1.0
    """LUCIR: weight of the margin between the right old class and the nearest new ones."""
    margin: float = 0.5
    """LUCIR: that margin, a difference of cosines."""
    cosine_scale: float = 1.0
    """LUCIR: what the learned scale of the cosine head starts from."""
    tasks: int = 10
    """Number of tasks."""
    classes: int = 100
    """Number of classes, all tasks together."""
    memory: int = 2000
    """Exemplars in all, shared evenly by the classes seen."""
    ratio: int = 3
    """Images of the current task for each one of the memory in a batch."""
    probes: int = 0
    """How often in a task the bias of gradients is measured, for layers with a state like batch normalisation's."""
    depth: int = 32
    """Layers of the CIFAR ResNet, 6 n + 2."""
    width: int = 16
    """Channels of its first stage."""
    source: Literal["world", "cifar100"] = "cifar100"
    """Procedural classes, or CIFAR-100."""
    gap: float = 0.5
    """World: how far look-alike classes are apart."""
    noise: float = 0.06
    """World: standard deviation of the pixel noise."""
    pose_jitter: float = 0.4
    """World: freedom of place, size and rotation; 1 is full."""
    dissimilarity: float = 1.0
    """World: how much palette, contrast and grain differ between tasks; 0 is not at all."""
    image_size: int = 32
    """Height and width in pixels."""
    crop_padding: int = 4
    """Augmentation: random crops from an image padded by this, and flips."""
    steps: int = 166400
    """Optimisation steps of all tasks, in equal parts (160 epochs of a task's images)."""
    milestones: tuple[float, ...] = (0.25, 0.5)
    """Shares of a task's steps after which the learning rate falls to a tenth (epochs 40 and 80 of 160)."""
    batch_size: int = 64
    """Images a step."""
    learning_rate: float = 0.1
    """Learning rate of SGD with momentum 0.9 at the start of every task."""
    weight_decay: float = 1e-4
    """Weight decay."""
    train_items: int = 50000
    """Training items of all tasks."""
    validation_items: int = 1000
    """Balanced validation items."""
    test_items: int = 10000
    """Balanced test items."""
    eval_batch_size: int = 500
    """Images a batch in evaluation."""


_TUTORIAL = Config(
    tasks=5, classes=20, memory=60, probes=2, depth=8, width=8, source="world", image_size=20, crop_padding=2, steps=750,
    milestones=(0.6, 0.85), balanced_share=0.3, cosine_scale=5.0, batch_size=32, train_items=2000, validation_items=600, test_items=1000,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, tasks=3, classes=6, memory=12, probes=1, image_size=12, steps=9, batch_size=8, norm_groups=4, train_items=48,
        validation_items=24, test_items=36,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, tasks=10, classes=40, memory=200, depth=20, width=16, image_size=32, pose_jitter=1.0, crop_padding=4, steps=10000,
        batch_size=64, train_items=8000, validation_items=1200, test_items=4000,
    ),
    "paper": Config(),
}  # fmt: skip

METRICS = (
    metric("accuracy"),
    metric("accuracy_average"),
    metric("accuracy_old"),
    metric("accuracy_new"),
    metric("forgetting"),
    metric("gap_statistics"),
    metric("gap_gradients_bn"),
    metric("gap_gradients_cn"),
    metric("gap_gradients_tbbn"),
    metric("gap_output"),
    metric("seconds_ratio"),
    metric("seconds_ratio_training"),
)

_DEAR = ("smoke", "gpu", "paper")
_BUDGET = "the tutorial's budget is spent on the judged arms and the layer's own ablations"
ARMS = (
    Arm("tbbn", "fine-tuning with exemplars, task-balanced batch normalisation: the paper's layer", "method"),
    Arm("bn", "fine-tuning with exemplars, batch normalisation", "baseline", {"norm": "bn"}, tuned={"learning_rate": 0.2}),
    Arm("cn", "fine-tuning with exemplars, continual normalisation", "baseline", {"norm": "cn"}, tuned={"norm_groups": 4}),
    Arm("gn", "fine-tuning with exemplars, group normalisation", "baseline", {"norm": "gn"}, tuned={"norm_groups": 4}),
    Arm("eeil_tbbn", "EEIL with the paper's layer", "method", {"approach": "eeil"}),
    Arm("eeil_bn", "EEIL with batch normalisation", "baseline", {"approach": "eeil", "norm": "bn"},
        tuned={"learning_rate": 0.05}),
    Arm("ssil_tbbn", "SS-IL with the paper's layer", "method", {"approach": "ssil"}),
    Arm("ssil_bn", "SS-IL with batch normalisation", "baseline", {"approach": "ssil", "norm": "bn"},
        tuned={"learning_rate": 0.02}),
    Arm("gradients", "batch statistics as they come, balanced gradients of gamma and beta", "ablation",
        {"statistics": "raw", "balanced_gradients": True}, tuned={"learning_rate": 0.2}),
    Arm("both", "the paper's layer with balanced gradients of gamma and beta as well", "ablation", {"balanced_gradients": True}),
    Arm("repeated", "memory repeated along the batch inside the layer, nothing folded", "ablation", {"statistics": "repeated"}),
    Arm("two_groups", "two groups in every task", "ablation", {"groups": 2}),
    Arm("reweighted", "batch normalisation, and a loss in which every task counts equally", "ablation",
        {"norm": "bn", "reweighted": True}, tuned={"learning_rate": 0.2}),
    Arm("joint", "all tasks trained at once, batch normalisation: the upper bound", "ablation", {"norm": "bn", "joint": True},
        tuned={"learning_rate": 0.2}),
    Arm("brn", "batch renormalisation", "ablation", {"norm": "brn"}),
    Arm("sn", "switchable normalisation", "ablation", {"norm": "sn"}),
    Arm("lucir_tbbn", "LUCIR with the paper's layer", "ablation", {"approach": "lucir"}),
    Arm("lucir_bn", "LUCIR with batch normalisation", "ablation", {"approach": "lucir", "norm": "bn"}),
    Arm("in", "instance normalisation", "ablation", {"norm": "in"}, profiles=_DEAR, why=_BUDGET),
    Arm("ln", "layer normalisation", "ablation", {"norm": "ln"}, profiles=_DEAR, why=_BUDGET),
    Arm("released", "SS-IL as in the authors' code: the last old task alone is distilled", "ablation",
        {"approach": "ssil", "follow": "code"}),
)  # fmt: skip

CLAIMS = (
    Claim(
        "C1",
        "Putting the layer in the place of batch normalisation raises accuracy of exemplar-based methods, mainly on old tasks.",
        "benefits most exemplar-based offline methods (abstract)",
        (
            Part("difference", "accuracy_average", ("tbbn", "bn"), "average incremental accuracy, fine-tuning with exemplars"),
            Part("difference", "accuracy_average", ("eeil_tbbn", "eeil_bn"), "the same with EEIL"),
            Part("difference", "accuracy_average", ("ssil_tbbn", "ssil_bn"), "the same with SS-IL"),
            Part("difference", "accuracy_old", ("tbbn", "bn"), "final accuracy on old tasks, fine-tuning with exemplars"),
        ),
    ),
    Claim(
        "C2",
        "It recognises more than other normalisations.",
        "consistently outperforms other variants (abstract)",
        (
            Part("difference", "accuracy", ("tbbn", "cn"), "final accuracy against continual normalisation"),
            Part("difference", "accuracy", ("tbbn", "gn"), "final accuracy against group normalisation"),
        ),
    ),
    Claim(
        "C3",
        "Continual normalisation leaves the gradients of gamma and beta biased to the current task, this layer does not.",
        "the gradients remain biased with CN (introduction)",
        (
            Part("difference", "gap_gradients_tbbn", ("bn",), "bias of gradients on the same weights and batch, CN's minus TBBN's",
                 reduce=lambda seed: seed["bn"]["gap_gradients_cn"] - seed["bn"]["gap_gradients_tbbn"]),
            Part("difference", "gap_gradients_tbbn", ("bn",), "the same, batch normalisation's minus TBBN's",
                 reduce=lambda seed: seed["bn"]["gap_gradients_bn"] - seed["bn"]["gap_gradients_tbbn"]),
        ),
    ),
    Claim(
        "C4",
        "In evaluation it is batch normalisation.",
        "works exactly the same in the inference time (abstract)",
        (
            Part("exact", "gap_output", ("tbbn",), "largest difference of the logits from those of batch normalisation's twin, below 1e-6",
                 reduce=lambda seed: 1e-6 - seed["tbbn"]["gap_output"]),
            Part("ratio", "seconds_ratio", ("compare",), "time of evaluation over batch normalisation's, below 1.05", margin=1.05),
        ),
    ),
)  # fmt: skip

DATASETS = (
    DataSet(
        "CIFAR-100",
        "cifar100",
        "cifar100/cifar-100-binary/train.bin\ncifar100/cifar-100-binary/test.bin\n"
        "  (records of 3074 bytes: coarse label, fine label, 3072 pixels, planes red, green, blue)",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        ("accuracy", "accuracy_average"),
    ),
)

_RATES = {"learning_rate": (0.02, 0.03, 0.05, 0.1, 0.2, 0.4)}
_GROUPS = {"learning_rate": (0.03, 0.1, 0.3), "norm_groups": (2, 4)}
TUNING = {
    "tbbn": _RATES, "bn": _RATES, "cn": _GROUPS, "gn": _GROUPS, "eeil_tbbn": _RATES, "eeil_bn": _RATES, "ssil_tbbn": _RATES,
    "ssil_bn": _RATES,
}  # fmt: skip
TUNING_METRIC = "accuracy_average"

PAPER = Paper(
    slug="tbbn",
    part="recognition",
    title="Rebalancing Batch Normalization for Exemplar-Based Class-Incremental Learning",
    first_author="Cha",
    year=2023,
    summary=(
        "Batch normalisation for a stream of tasks: the current images are folded into groups of channels and the few remembered ones "
        "repeated in each, so that statistics lean to no task."
    ),
    links={"code": "https://github.com/csm9493/TaskBalancedBN"},
    reported=(Reported("parameters", 472_756, "ResNet-32 of the released code with a head of 100 classes"),),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
    compares=True,
)
