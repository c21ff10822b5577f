"""SHIKE's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of SHIKE depends on."""

    experts: int = 3
    """Number of experts."""
    levels: tuple[int, ...] = (1, 2)
    """Trunk stages whose features the experts take, in turn; 3 stands for the deep feature itself."""
    fusion: Literal["product", "sum", "concatenation", "none", "shallow"] = "product"
    """What an expert does with the shallow feature: multiply (the paper), add, set beside, leave out, or use it alone."""
    matched: bool = False
    """Whether the network is widened to the parameters of one that multiplies."""
    weight_mutual: float = 1.0
    """Weight of the distillation between all pairs of experts."""
    weight_transfer: float = 10.0
    """Weight of the distillation from the grand teacher over the wrong classes."""
    damped: bool = True
    """Whether the hardest negative has the experts' mean logit in the grand teacher, or the highest one like the others."""
    reduction: Literal["elements", "items"] = "elements"
    """What a divergence is divided by: batch times classes (the weights above belong to it), or the batch."""
    follow: Literal["paper", "code"] = "paper"
    """The right class masked out of the distillation, and no ReLU after an aligner; or both as in the authors' code."""
    loss: Literal["cross_entropy", "balanced"] = "cross_entropy"
    """Of the first stage."""
    retrain_share: float = 0.1
    """Share of the steps at the end in which new classifiers are trained with balanced softmax on frozen features."""
    frozen_statistics: bool = True
    """Whether batch statistics are frozen with the features; the released code goes on updating them."""
    retrain_learning_rate: float = 0.1
    """Highest learning rate of that stage."""
    depth: int = 32
    """Layers of the CIFAR ResNet, 6 n + 2."""
    width: int = 16
    """Channels of its first stage."""
    cosine_scale: float = 30.0
    """Scale of the cosine classifiers."""
    source: Literal["world", "cifar100"] = "cifar100"
    """Procedural classes, or CIFAR-100-LT."""
    classes: int = 100
    """Number of classes."""
    head: int = 500
    """Training items of the most frequent class."""
    imbalance: float = 100.0
    """Items of the most frequent class over those of the rarest."""
    many_above: int = 100
    """Classes with more training items are "many"."""
    few_below: int = 20
    """Classes with fewer training items are "few"."""
    gap: float = 0.35
    """World: how far look-alike classes are apart in the cue that tells them."""
    noise: float = 0.08
    """World: standard deviation of the pixel noise."""
    image_size: int = 32
    """Height and width in pixels."""
    crop_padding: int = 4
    """Augmentation: random crops from an image padded by this, and flips."""
    automatic_augmentation: bool = True
    """AutoAugment with Cutout, for every arm alike."""
    steps: int = 17000
    """Optimisation steps of both stages (200 epochs of CIFAR-100-LT)."""
    warmup_steps: int = 425
    """Steps of linear warm-up (5 epochs)."""
    batch_size: int = 128
    """Images a step."""
    learning_rate: float = 0.15
    """Highest learning rate of SGD with momentum 0.9; falls along a cosine."""
    weight_decay: float = 5e-4
    """Weight decay."""
    train_items: int = 10847
    """Training items; the sum of the class counts."""
    validation_items: int = 1000
    """Balanced validation items."""
    test_items: int = 10000
    """Balanced test items."""
    eval_batch_size: int = 500
    """Images a batch in evaluation."""


_TUTORIAL = Config(
    depth=8, width=8, classes=30, head=200, imbalance=50.0, many_above=60, few_below=15, image_size=24, crop_padding=2,
    automatic_augmentation=False, source="world", steps=1200, retrain_share=0.2, retrain_learning_rate=1.0, batch_size=32,
    warmup_steps=20, train_items=1537,
    validation_items=600, test_items=1800,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, steps=5, retrain_share=0.4, batch_size=16, warmup_steps=1, classes=6, head=20, imbalance=5.0, many_above=12,
        few_below=8, train_items=60, validation_items=24, test_items=36, image_size=16,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, depth=20, width=16, classes=60, head=500, imbalance=100.0, many_above=100, few_below=20, image_size=32,
        crop_padding=4, steps=8000, batch_size=128, warmup_steps=300, train_items=6653, validation_items=1200, test_items=6000,
    ),
    "paper": Config(),
}  # fmt: skip

METRICS = (
    metric("accuracy"),
    metric("accuracy_many"),
    metric("accuracy_medium"),
    metric("accuracy_few"),
    metric("margin_few"),
    metric("margin"),
    metric("disagreement"),
    metric("cka"),
    metric("share_shallow_few"),
    metric("share_shallow_rest"),
)

EQUAL = {"fusion": "none", "matched": True}
_DEAR = ("smoke", "gpu", "paper")
ALONE = {"weight_mutual": 0.0, "weight_transfer": 0.0}
SLOW = {"learning_rate": 0.02}
"""What tuning chose for every arm that is distilled or multiplies; balanced softmax keeps the paper's rate."""
ARMS = (
    Arm("shike", "experts of different depth that teach each other: the paper's method", "method", tuned=SLOW),
    Arm("equal", "three experts of equal depth with as many parameters, all else the same", "baseline", EQUAL, tuned=SLOW),
    Arm("bs", "three experts of equal depth trained with balanced softmax, no distillation, no second stage", "baseline",
        EQUAL | ALONE | {"loss": "balanced", "retrain_share": 0.0}),
    Arm("no_transfer", "without the grand teacher", "baseline", {"weight_transfer": 0.0}, tuned=SLOW),
    Arm("branches", "three branches after one, two and three stages, each alone", "baseline",
        ALONE | {"fusion": "shallow", "levels": (1, 2, 3)}, tuned=SLOW),
    Arm("ce", "one network with cross-entropy", "ablation", {"fusion": "none"} | ALONE | {"experts": 1, "retrain_share": 0.0}),
    Arm("no_mutual", "without distillation between pairs", "ablation", {"weight_mutual": 0.0}, tuned=SLOW),
    Arm("plain_teacher", "the grand teacher keeps the hardest negative's highest logit", "ablation", {"damped": False}, tuned=SLOW),
    Arm("sum", "features added", "ablation", {"fusion": "sum"}, tuned=SLOW),
    Arm("concatenation", "features side by side", "ablation", {"fusion": "concatenation"},
        profiles=_DEAR, why="one way of joining features beside the product is enough for the tutorial's budget"),
    Arm("same_level", "every expert takes the second stage's feature", "ablation", {"levels": (2,)}, tuned=SLOW),
    Arm("moving_statistics", "batch statistics go on moving in the second stage", "ablation", {"frozen_statistics": False},
        profiles=_DEAR, why="the tutorial's budget is spent on the judged arms"),
    Arm("released", "masks and aligners as in the authors' code", "ablation", {"follow": "code"}, tuned=SLOW),
)  # fmt: skip

CLAIMS = (
    Claim(
        "C1",
        "Experts of different depth that teach each other recognise more on a balanced test.",
        "56.3% on CIFAR-100-LT (IF 100), 60.3 ImageNet-LT, 75.4 iNaturalist 2018, 41.9 Places-LT (abstract)",
        (
            Part("difference", "accuracy", ("shike", "equal"), "accuracy against experts of equal depth"),
            Part("difference", "accuracy", ("shike", "bs"), "accuracy against balanced softmax with as many experts"),
        ),
    ),
    Claim(
        "C2",
        "Some rare classes are told better by shallow features.",
        "some tail classes are classified best by a shallow branch (figure 1)",
        (
            Part(
                "difference", "share_shallow_few", ("branches",),
                "classes best told by a shallow branch: share among the rare ones minus that among the others",
                reduce=lambda seed: seed["branches"]["share_shallow_few"] - seed["branches"]["share_shallow_rest"],
            ),
        ),
    ),
    Claim(
        "C3",
        "The grand teacher weakens the hardest negative, above all for rare classes.",
        "dynamic knowledge transfer reduces the influence of the hardest negative class (abstract)",
        (
            Part("difference", "accuracy_few", ("shike", "no_transfer"), "accuracy on rare classes, with against without"),
            Part("difference", "margin_few", ("shike", "no_transfer"), "margin of the right class over the hardest negative"),
        ),
    ),
    Claim(
        "C4",
        "Shallow features make the experts more diverse.",
        "depth-wise knowledge fusion encourages diversity (introduction)",
        (
            Part("matched", "disagreement", ("shike", "equal"), "pairs of experts that disagree, at no less accuracy",
                 at=("accuracy", 1.0)),
            Part("difference", "cka", ("shike", "equal"), "likeness of the experts' features (CKA), lower is more diverse"),
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
        ("accuracy",),
    ),
)

_JUDGED = ("shike", "equal", "bs", "no_transfer", "branches")
TUNING = dict.fromkeys(_JUDGED, {"learning_rate": (0.007, 0.02, 0.05, 0.15, 0.4)})
TUNING_METRIC = "accuracy"

PAPER = Paper(
    slug="shike",
    part="recognition",
    title="Long-Tailed Visual Recognition via Self-Heterogeneous Integration With Knowledge Excavation",
    first_author="Jin",
    year=2023,
    summary=(
        "Experts that multiply deep features with shallow ones of different depth teach each other, and a teacher made of all of them "
        "holds down the wrong class that usually beats a rare one."
    ),
    links={"code": "https://github.com/jinyan-06/SHIKE"},
    reported=(
        Reported("parameters", 1_277_008, "CIFAR-100, three experts, counted from the released code"),
        Reported("accuracy", 56.3, "CIFAR-100-LT, IF 100", "%"),
        Reported("accuracy", 60.3, "ImageNet-LT", "%"),
        Reported("accuracy", 75.4, "iNaturalist 2018", "%"),
        Reported("accuracy", 41.9, "Places-LT", "%"),
    ),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
)
