"""DIaM's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of DIaM depends on."""

    head: Literal["linear", "cosine", "base"] = "linear"
    """Linear classifier with prototypes as novel rows; the same with cosines for novel classes; or base classes alone."""
    adapt_steps: int = 100
    """Steps of SGD on a query's classifier; 0 keeps the prototypes as they are."""
    learning_rate: float = 1.25e-3
    """Learning rate of the optimisation on a query."""
    weight_support: float = 100.0
    """Weight of the cross-entropy on support pixels."""
    weight_marginal: float = 1.0
    """Weight of the divergence of the mean prediction from the estimated class proportions."""
    weight_entropy: float = 1.0
    """Weight of the mean entropy of the predictions."""
    weight_distillation: float = 100.0
    """Weight of the divergence from the frozen base classifier."""
    background_weight: tuple[float, float] = (0.01, 0.15)
    """Weight of background pixels in the cross-entropy, with one shot and with more."""
    proportions: Literal["self", "uniform", "image", "true"] = "self"
    """Estimate of the class proportions: the classifier's own, equal, its own among the classes present, or the truth."""
    refresh_at: int = 10
    """Step after which the classifier's own estimate is renewed."""
    update_base: bool = True
    """Whether the base classes' rows are optimised as well."""
    prototype_scale: float = 1.0
    """Length of the prototypes, 1 in the paper; the temperature where novel classes are told by cosines."""
    shots: int = 1
    """Support pictures a novel class."""
    draws: int = 5
    """Random draws of supports, over which results are averaged."""
    supports: Literal["test", "train"] = "test"
    """Supports are drawn from the test pictures, which are then no queries, or from those that trained the base network."""
    least_area: int = 16384
    """Fewest pixels of its class that a support shows."""
    source: Literal["world", "pascal", "coco"] = "world"
    """Procedural scenes, or a real data set."""
    classes: int = 20
    """Classes in all, without background."""
    novel: int = 5
    """Novel classes of a fold; the others are base classes."""
    fold: int = 0
    """Fold of seed 0; each further seed takes the next."""
    depth: int = 50
    """Layers of the ResNet: 10, 18, 50 or 101."""
    width: int = 64
    """Channels of its first stage."""
    feature_width: int = 512
    """Channels of the features under the classifier."""
    dropout: float = 0.1
    """Dropout of whole feature channels in base training."""
    skew: float = 0.6
    """World: how unevenly the things of a picture share its area."""
    ground: float = 0.3
    """World: contrast of the textured ground."""
    clutter: int = 4
    """World: small things of no class in a picture."""
    noise: float = 0.05
    """World: standard deviation of the pixel noise."""
    image_size: int = 417
    """Height and width in pixels, one more than a multiple of 8."""
    crop_scale: tuple[float, float] = (0.5, 2.0)
    """Augmentation: range of random scales."""
    crop_angle: float = 10.0
    """Augmentation: largest rotation in degrees."""
    pretrain_steps: int = 0
    """World: steps in which the trunk learns to tell single things of no class, in place of ImageNet."""
    pretrain_items: int = 0
    """World: pictures of single things."""
    pretrain_learning_rate: float = 3e-3
    """World: learning rate of these steps, AdamW."""
    steps: int = 49600
    """Steps of base training (100 epochs of PASCAL VOC)."""
    batch_size: int = 12
    """Pictures a step of base training."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Optimiser of base training: SGD with momentum 0.9 as for a pre-trained network, or AdamW from random weights."""
    base_learning_rate: float = 2.5e-4
    """Learning rate of base training, with polynomial decay of power 0.9."""
    weight_decay: float = 1e-4
    """Weight decay of base training."""
    train_items: int = 5953
    """Pictures of base training; novel things in them are labelled background, and no picture is left out."""
    validation_items: int = 1449
    """Pictures for tuning."""
    test_items: int = 1449
    """Test pictures: queries and candidates for supports."""
    eval_batch_size: int = 50
    """Queries that are optimised side by side; no effect on results."""


_TUTORIAL = Config(
    classes=12, novel=3, depth=10, width=16, feature_width=64, least_area=100, ground=0.2, clutter=3, noise=0.03, image_size=65,
    crop_scale=(0.8, 1.25), pretrain_steps=500, pretrain_items=2500, pretrain_learning_rate=5e-3, steps=600, batch_size=8,
    optimizer="adamw", base_learning_rate=2e-3, weight_decay=1e-2, train_items=400, validation_items=100, test_items=130,
    eval_batch_size=130,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, width=4, feature_width=16, pretrain_steps=2, pretrain_items=16, steps=4, batch_size=4, train_items=40,
        validation_items=32, test_items=32, draws=1, adapt_steps=3, refresh_at=1, least_area=20,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, depth=18, width=32, feature_width=128, image_size=129, least_area=400, pretrain_steps=3000, pretrain_items=20000,
        steps=8000, batch_size=16, train_items=4000, test_items=500,
    ),
    "paper": Config(source="pascal"),
}  # fmt: skip

BENCH = {"batch_size": 2}
"""A step of 12 pictures of 417 pixels takes a CPU more than a minute."""
BENCH_WORLD = {"classes": 12, "novel": 3}
"""The world has 12 classes."""

METRICS = (
    metric("miou_base"),
    metric("miou_novel"),
    metric("miou_mean"),
)

SUPPORT_ONLY = {"weight_marginal": 0.0, "weight_entropy": 0.0, "weight_distillation": 0.0}
STILL = {"adapt_steps": 0}
FIVE, HALF = {"shots": 5}, {"novel": 6}
TUNED = {"learning_rate": 1e-4, "prototype_scale": 0.5}
CAREFUL = {"learning_rate": 1e-4, "prototype_scale": 0.35}
ARMS = (
    Arm("diam", "all four terms, proportions by the classifier's own estimate, 1 shot: the paper's method", "method", tuned=TUNED),
    Arm("prototype", "prototypes beside the base classifier, no optimisation, 1 shot", "baseline", STILL,
        tuned={"prototype_scale": 0.35}),
    Arm("finetune", "cross-entropy on the supports alone, 1 shot", "baseline", SUPPORT_ONLY, tuned=CAREFUL),
    Arm("cosine", "cosines with the prototypes beside the base classifier, as in PANet and CAPL, 1 shot", "baseline",
        STILL | {"head": "cosine"}, tuned={"prototype_scale": 3.5}),
    Arm("base", "the base network, which knows no novel class", "baseline", STILL | {"head": "base"}, tuned={"prototype_scale": 0.2}),
    Arm("diam_5", "the paper's method with 5 shots", "method", FIVE, tuned=CAREFUL),
    Arm("prototype_5", "prototypes, 5 shots", "baseline", FIVE | STILL, tuned={"prototype_scale": 0.35}),
    Arm("finetune_5", "cross-entropy on the supports alone, 5 shots", "baseline", FIVE | SUPPORT_ONLY, tuned=CAREFUL),
    Arm("diam_half", "the paper's method where half of the classes are novel, 1 shot", "method", HALF, tuned=TUNED),
    Arm("prototype_half", "prototypes where half of the classes are novel, 1 shot", "baseline", HALF | STILL,
        tuned={"prototype_scale": 0.3}),
    Arm("distill", "supports and distillation, no other term", "ablation", {"weight_marginal": 0.0, "weight_entropy": 0.0},
        tuned=TUNED),
    Arm("uniform", "equal proportions in place of the estimate", "ablation", {"proportions": "uniform"}, tuned=TUNED),
    Arm("image", "the estimate among the classes that are in the picture, which must be known", "ablation", {"proportions": "image"},
        tuned=TUNED),
    Arm("upper", "the true proportions, an upper bound", "ablation", {"proportions": "true"}, tuned=TUNED),
    Arm("no_marginal", "without the marginal's divergence", "ablation", {"weight_marginal": 0.0}, tuned=TUNED),
    Arm("no_entropy", "without the entropy", "ablation", {"weight_entropy": 0.0}, tuned=TUNED),
    Arm("no_distillation", "without the distillation", "ablation", {"weight_distillation": 0.0}, tuned=TUNED),
    Arm("frozen_base", "only the novel classes' rows are optimised", "ablation", {"update_base": False}, tuned=TUNED),
    Arm("full_background", "background pixels of the supports weigh as much as the others", "ablation",
        {"background_weight": (1.0, 1.0)}, tuned=TUNED),
    Arm("train_supports", "supports from the pictures in which the base network saw novel things as background", "ablation",
        {"supports": "train"}, tuned=TUNED),
)  # fmt: skip


def _ahead(method: str, *rivals: str):
    return lambda seed: seed[method]["miou_novel"] - max(seed[rival]["miou_novel"] for rival in rivals)


def _widening(seed) -> float:
    return _ahead("diam_half", "prototype_half")(seed) - _ahead("diam", "prototype")(seed)


CLAIMS = (
    Claim(
        "C1",
        "Novel classes are told much better than by what a few labelled pictures give alone.",
        "7 to 26 points on PASCAL-5i and 3 to 12 on COCO-20i above earlier methods, 1 and 5 shots (abstract)",
        (
            Part("difference", "miou_novel", ("diam", "prototype", "finetune"), "novel mIoU against the better of prototypes and "
                 "fine-tuning, 1 shot", smallest=3.0, reduce=_ahead("diam", "prototype", "finetune")),
            Part("difference", "miou_novel", ("diam_5", "prototype_5", "finetune_5"), "the same, 5 shots", smallest=3.0,
                 reduce=_ahead("diam_5", "prototype_5", "finetune_5")),
            Part("difference", "miou_novel", ("diam", "cosine"), "novel mIoU against cosines with the prototypes, 1 shot", smallest=3.0),
        ),
    ),
    Claim(
        "C2",
        "What the base network knew is kept.",
        "base mIoU 70.89 and 70.85 with 1 and 5 shots",
        (
            Part("difference", "miou_base", ("diam", "finetune"), "base mIoU against fine-tuning, which forgets, 1 shot"),
            Part("noninferior", "miou_base", ("diam", "base"), "base mIoU within one point of the base network's", margin=1.0),
        ),
    ),
    Claim(
        "C3",
        "More shots help novel classes and leave the base classes alone.",
        "PASCAL-5i, released code: novel mIoU 35.11 with 1 shot, 55.31 with 5; base 70.89 and 70.85",
        (
            Part("difference", "miou_novel", ("diam_5", "diam"), "novel mIoU, 5 shots against 1"),
            Part("equivalent", "miou_base", ("diam_5", "diam"), "base mIoU, 5 shots against 1", margin=1.0),
        ),
    ),
    Claim(
        "C4",
        "The lead grows where novel classes are as many as base classes.",
        "PASCAL-10i: base, novel 70.26, 31.29 with 1 shot; the gap to earlier methods is larger than on PASCAL-5i",
        (
            Part("difference", "miou_novel", ("diam_half", "prototype_half", "diam", "prototype"),
                 "lead over prototypes with 6 of 12 classes novel, beyond that with 3 of 12", reduce=_widening),
        ),
    ),
)  # fmt: skip

PASCAL = DataSet(
    "PASCAL-5i",
    "pascal_5i",
    "pascal_5i/train.txt, pascal_5i/val.txt (lines: PICTURE LABELS, the lists of PFENet)\n"
    "pascal_5i/JPEGImages/*.jpg\n"
    "pascal_5i/SegmentationClassAug/*.png (0 background, 1 to 20 classes, 255 ignored)",
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
    ("miou_base", "miou_novel"),
)
COCO = DataSet(
    "COCO-20i",
    "coco_20i",
    "coco_20i/train.txt, coco_20i/val.txt (lines: PICTURE LABELS, the lists of PFENet)\n"
    "coco_20i/train2014/*.jpg, coco_20i/val2014/*.jpg\n"
    "coco_20i/annotations/instances_train2014.json, coco_20i/annotations/instances_val2014.json\n"
    "coco_20i/train/*.png, coco_20i/val/*.png (written by vislab.datasets.coco_20i.render_masks)",
    "https://cocodataset.org/#download",
    ("miou_base", "miou_novel"),
)
DATASETS = (PASCAL, COCO)

_LENGTHS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 1.0, 1.4)
_SCALES = {"learning_rate": (1.25e-3,), "prototype_scale": _LENGTHS}
_COSINES = _SCALES | {"prototype_scale": (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 10.0)}
_RATES = {"learning_rate": (1e-4, 3e-4, 1.25e-3, 5e-3), "prototype_scale": (0.35, 0.5, 1.0)}
TUNING = {
    "diam": _RATES, "prototype": _SCALES, "finetune": _RATES, "cosine": _COSINES, "base": _SCALES, "diam_5": _RATES,
    "prototype_5": _SCALES, "finetune_5": _RATES, "diam_half": _RATES, "prototype_half": _SCALES,
}  # fmt: skip
TUNING_METRIC = "miou_mean"

PAPER = Paper(
    slug="diam",
    part="segmentation",
    title="A Strong Baseline for Generalized Few-Shot Semantic Segmentation",
    first_author="Hajimiri",
    year=2023,
    summary=(
        "A network trained on base classes alone is frozen; for every test picture a linear classifier is optimised that fits a few "
        "labelled pixels, is sure of every pixel, keeps its mean prediction near estimated class proportions and does not forget."
    ),
    links={"code": "https://github.com/sinahmr/DIaM", "arXiv": "https://arxiv.org/abs/2211.14126"},
    reported=(
        Reported("parameters", 46713808, "PASCAL-5i, PSPNet with ResNet-50, counted from the released code"),
        *(
            Reported(f"miou_{group}", value, setting, "%")
            for setting, values in (
                ("PASCAL-5i, 1 shot, released code", (70.89, 35.11, 53.00)),
                ("PASCAL-5i, 5 shots, released code", (70.85, 55.31, 63.08)),
                ("COCO-20i, 1 shot, released code", (48.28, 17.22, 32.75)),
                ("COCO-20i, 5 shots, released code", (48.37, 28.73, 38.55)),
                ("PASCAL-10i, 1 shot, released code", (70.26, 31.29, 50.77)),
                ("PASCAL-10i, 5 shots, released code", (70.25, 51.89, 61.07)),
            )
            for group, value in zip(("base", "novel", "mean"), values, strict=True)
        ),
    ),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
    descends="loss",
)
