"""CEASC's card: what the paper is, its arms and claims, its configuration at every scale."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of CEASC depends on."""

    detector: Literal["gfl", "retinanet"] = "gfl"
    """Base detector: GFL V1 (one anchor, distributions over distances) or RetinaNet (nine anchors, deltas)."""
    head: Literal["sparse", "dense"] = "sparse"
    """The paper's sparse head, or the base detector's dense one."""
    norm: Literal["context", "masked", "instance", "batch", "none"] = "context"
    """Statistics of the sparse head's normalisation: the dense global feature's (CE-GN), or those of the active positions."""
    residual: bool = True
    """Add the global feature after every normalisation."""
    target: Literal["levels", "global", "fixed"] = "levels"
    """What a mask's share is drawn to: each level's positives (AMM), all levels' together, or `fixed_share`."""
    fixed_share: float = 0.1
    """Share of active positions with `target` "fixed"; exact in the test."""
    weight_norm: float = 10.0
    """Weight of the normalisation loss."""
    weight_mask: float = 1.0
    """Weight of the masking loss."""
    weight_boxes: float = 2.0
    """Weight of the box loss: GIoU (GFL) or L1 (RetinaNet, 1 in the released configuration)."""
    weight_sides: float = 0.25
    """Weight of the distribution focal loss (GFL)."""
    depth: int = 18
    """Layers of the ResNet, 18 or 50; any other number is the small trunk."""
    trunk_widths: tuple[int, ...] = (64, 128, 256)
    """Channels of the small trunk's stages, at strides 4, 8, 16."""
    width: int = 512
    """Channels of the feature pyramid."""
    pyramid_groups: int = 0
    """Groups of a group norm in the pyramid, 0 is none (the paper's).

    A small network trained from random weights with AdamW has pyramid features of deviation 20 without it, and masks that
    saturate in the first steps.
    """
    head_width: int = 512
    """Channels inside the head."""
    head_blocks: int = 4
    """Convolutions of each branch before the prediction."""
    groups: int = 32
    """Groups of the group norm."""
    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    """Strides of the levels; those beyond the third are made from the third."""
    reg_max: int = 16
    """Largest distance to a box side, in strides (GFL)."""
    anchor_scale: float = 8.0
    """Side of the (smallest) anchor, in strides."""
    classes: int = 10
    """Number of classes."""
    source: Literal["world", "visdrone", "uavdt"] = "world"
    """Procedural streets from above, or a real data set."""
    image_size: int = 800
    """Height of a picture in pixels."""
    image_width: int = 1344
    """Width of a picture in pixels."""
    scale: tuple[float, float] = (0.08, 0.25)
    """World: metres a pixel at the lowest and at the highest altitude."""
    density: tuple[float, float] = (0.06, 0.8)
    """World: share of the parking places taken, in the emptiest and in the fullest picture."""
    max_objects: int = 500
    """Most objects of a picture."""
    pretraining: Literal["imagenet", "world"] = "imagenet"
    """Where the trunk's first weights come from: ImageNet (torchvision's), or a dense detector trained on the world before."""
    pretraining_steps: int = 0
    """Steps of that detector; its trunk and pyramid are what all arms of a seed start from."""
    pretraining_rate: float = 6e-3
    """Its learning rate."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum 0.9 (the paper's), or AdamW."""
    steps: int = 242700
    """Optimisation steps (15 epochs of five passes over VisDrone's 6471 pictures, two at a time)."""
    milestones: tuple[float, ...] = (0.733, 0.933)
    """Shares of `steps` after which the learning rate falls to a tenth (epochs 11 and 14 of 15)."""
    warmup_steps: int = 500
    """Steps of linear warm-up."""
    batch_size: int = 2
    """Pictures a step."""
    learning_rate: float = 0.01
    """Learning rate."""
    weight_decay: float = 1e-4
    """Weight decay."""
    grad_clip: float = 10.0
    """Largest norm of the gradient."""
    train_items: int = 6471
    """Training pictures."""
    validation_items: int = 548
    """Validation pictures."""
    test_items: int = 548
    """Test pictures."""
    eval_batch_size: int = 1
    """Pictures a batch in evaluation."""
    score_threshold: float = 0.05
    """Detections below this score are dropped."""
    candidates: int = 1000
    """Anchors of each level that go into the suppression."""
    suppression: float = 0.6
    """IoU above which the weaker of two detections of one class is dropped."""
    max_detections: int = 500
    """Detections kept of a picture."""


_TUTORIAL = Config(
    depth=8, trunk_widths=(16, 32, 48), width=32, pyramid_groups=8, head_width=32, head_blocks=2, groups=8,
    strides=(4, 8, 16), reg_max=4, anchor_scale=2.0, classes=4, image_size=64, image_width=64, scale=(0.22, 0.5),
    density=(0.1, 0.8), max_objects=24, pretraining="world", pretraining_steps=600, optimizer="adamw", steps=280,
    warmup_steps=20, batch_size=8, learning_rate=6e-3, weight_decay=1e-3, train_items=320, validation_items=120,
    test_items=240, eval_batch_size=40, candidates=100, max_detections=40,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, steps=3, pretraining_steps=3, batch_size=4, warmup_steps=1, train_items=8, validation_items=4,
        test_items=4,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, trunk_widths=(32, 64, 128), width=96, pyramid_groups=16, head_width=96, head_blocks=4, groups=16,
        reg_max=8, classes=6, image_size=256, image_width=256, scale=(0.12, 0.4), max_objects=100,
        pretraining_steps=4000, pretraining_rate=1e-3, steps=4000, warmup_steps=200, batch_size=16, learning_rate=1e-3,
        train_items=2000, validation_items=200, test_items=400, eval_batch_size=20, candidates=400, max_detections=150,
    ),
    "paper": Config(source="visdrone"),
}  # fmt: skip

# A step of two pictures of 1344 x 800 takes several minutes on one core.
BENCH = {"batch_size": 1, "image_size": 320, "image_width": 512, "max_objects": 100}

METRICS = (
    metric("map"),
    metric("map_50"),
    metric("map_75"),
    metric("active", digits=1),
    metric("coverage", digits=1),
    metric("macs_head"),
    metric("macs_total"),
    metric("macs_share", unit="%", digits=1),
    metric("macs_gap", unit="%", digits=2),
    metric("seconds_ratio"),
    metric("seconds_ratio_masked"),
    metric("seconds_ratio_tutorial"),
)

_FIXED = {"target": "fixed", "fixed_share": 0.1}
_NO_CONTEXT = {"residual": False, "weight_norm": 0.0}
ARMS = (
    Arm("ceasc", "sparse head with CE-GN and a mask share for each level: the paper's method", "method", tuned={"learning_rate": 3e-3}),
    Arm("dense", "the base detector's dense head", "baseline", {"head": "dense"}, tuned={"learning_rate": 3e-3}),
    Arm("fixed_05", "CE-GN, 5% of every level's positions", "baseline", _FIXED | {"fixed_share": 0.05}),
    Arm("fixed_10", "CE-GN, 10% of every level's positions", "baseline", _FIXED),
    Arm("fixed_30", "CE-GN, 30% of every level's positions", "baseline", _FIXED | {"fixed_share": 0.3}),
    Arm("masked_10", "plain sparse head: group norm over the active positions, 10%", "baseline",
        _FIXED | _NO_CONTEXT | {"norm": "masked"}, tuned={"learning_rate": 3e-3}),
    Arm("none_10", "plain sparse head without normalisation, 10%", "baseline",
        _FIXED | _NO_CONTEXT | {"norm": "none"}, tuned={"learning_rate": 1.5e-3}),
    Arm("narrow", "dense head with 8 channels, which costs what CEASC costs", "ablation",
        {"head": "dense", "head_width": 8, "groups": 4}),
    Arm("instance_10", "plain sparse head with instance norm, 10%", "ablation", _FIXED | _NO_CONTEXT | {"norm": "instance"}),
    Arm("batch_10", "plain sparse head with batch norm, 10%", "ablation", _FIXED | _NO_CONTEXT | {"norm": "batch"}),
    Arm("no_residual", "CEASC without the added global feature", "ablation", {"residual": False}),
    Arm("no_norm_loss", "CEASC without the normalisation loss", "ablation", {"weight_norm": 0.0}),
    Arm("global", "CEASC with one share for all levels together", "ablation", {"target": "global"}),
    Arm("retinanet", "RetinaNet with its dense head", "ablation",
        {"detector": "retinanet", "head": "dense", "weight_boxes": 1.0}),
    Arm("retinanet_ceasc", "RetinaNet with CEASC's head", "ablation", {"detector": "retinanet", "weight_boxes": 1.0}),
)  # fmt: skip

_CURVE = ("fixed_05", "fixed_10", "fixed_30")


def _above_curve(seed) -> float:
    """AP of CEASC minus that of the fixed shares at the same cost, linear in log MACs between them, level beyond the ends."""
    points = sorted((math.log(seed[a]["macs_head"]), seed[a]["map"]) for a in _CURVE)
    x = min(max(math.log(seed["ceasc"]["macs_head"]), points[0][0]), points[-1][0])
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if x <= x1:
            return seed["ceasc"]["map"] - (y0 + (y1 - y0) * (x - x0) / (x1 - x0))
    return seed["ceasc"]["map"] - points[-1][1]


CLAIMS = (
    Claim(
        "C1",
        "The sparse head cuts the cost by a large factor at equal accuracy.",
        "GFL V1 with ResNet-18 on VisDrone: 524.95 to 150.18 GFLOPs, AP 28.4 to 28.7 (unconfirmed)",
        (
            Part("ratio", "macs_head", ("ceasc", "dense"), "multiply-accumulates of the head"),
            Part("ratio", "macs_total", ("ceasc", "dense"), "multiply-accumulates of the whole detector"),
            Part("noninferior", "map", ("ceasc", "dense"), "AP no more than 1 point below the dense head's", margin=1.0),
        ),
    ),
    Claim(
        "C2",
        "The sparse head is faster in the test.",
        "13.46 to 21.55 pictures a second (unconfirmed)",
        (Part("ratio", "seconds_ratio", ("compare",), "time a picture at the paper's widths, sparse over dense, batch 1"),),
    ),
    Claim(
        "C3",
        "CE-GN avoids the accuracy that plain sparse convolution loses.",
        "higher AP with CE-GN than with other normalisations in an ablation",
        (
            Part("difference", "map", ("fixed_10", "masked_10"), "AP at 10% against group norm over the active positions"),
            Part("difference", "map", ("fixed_10", "none_10"), "AP at 10% against no normalisation"),
        ),
    ),
    Claim(
        "C4",
        "A share that adapts to each level is better than any fixed one.",
        "AMM above all fixed ratios in a plot of AP over GFLOPs",
        (
            Part(
                "difference", "map", ("ceasc", *_CURVE), "AP above the fixed shares' curve at the same cost",
                reduce=_above_curve,
            ),
        ),
    ),
    Claim(
        "C5",
        "In RetinaNet with ResNet-18 and 512 channels the head takes 82.3% of the cost.",
        "82.3% of the GFLOPs (introduction)",
        (
            Part("exact", "macs_gap", ("compare",), "distance of the counted share from 82.3%, at most one point", margin=1.0),
        ),
    ),
)  # fmt: skip

DATASETS = (
    DataSet(
        "VisDrone-DET 2019",
        "visdrone",
        "visdrone/VisDrone2019-DET-{train,val}/images/*.jpg\n"
        "visdrone/VisDrone2019-DET-{train,val}/annotations/*.txt\n"
        "  (lines: x,y,width,height,score,category,truncation,occlusion; categories 1 to 10 count, 0 and 11 do not)",
        "https://github.com/VisDrone/VisDrone-Dataset",
        ("map", "map_50", "map_75"),
    ),
    DataSet(
        "UAVDT",
        "uavdt",
        "uavdt/UAV-benchmark-M/<sequence>/img000001.jpg ...\n"
        "uavdt/UAV-benchmark-MOTD_v1.0/GT/<sequence>_gt_whole.txt\n"
        "  (lines: frame,id,x,y,width,height,out-of-view,occlusion,class; classes 1 car, 2 truck, 3 bus)\n"
        "uavdt/{train,test}.txt (one sequence a line)",
        "https://sites.google.com/view/grli-uavdt",
        ("map", "map_50", "map_75"),
    ),
)

_JUDGED = ("ceasc", "dense", *_CURVE, "masked_10", "none_10")
TUNING = dict.fromkeys(_JUDGED, {"learning_rate": (1.5e-3, 3e-3, 6e-3, 1.2e-2)})
TUNING_METRIC = "map"

PAPER = Paper(
    slug="ceasc",
    part="perception",
    title=(
        "Adaptive Sparse Convolutional Networks with Global Context Enhancement for Faster Object Detection on Drone Images"
    ),
    first_author="Du",
    year=2023,
    summary=(
        "A detection head that computes where a learned mask says so, normalises with the statistics of a cheap dense "
        "feature, and learns for each level how much to compute."
    ),
    links={"code": "https://github.com/Cuogeihong/CEASC"},
    reported=(
        Reported("parameters", 19780693, "GFL head for 10 classes, counted from the released code"),
        Reported("map", 28.7, "VisDrone, GFL V1 with ResNet-18", "%", confirmed=False),
        Reported("macs_total", 150.18e9, "VisDrone, GFL V1 with ResNet-18", "FLOPs", confirmed=False),
        Reported("macs_share", 82.3, "RetinaNet with ResNet-18 and 512 channels, before sparsity", "%"),
    ),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
    compares=True,
    descends="gap",
)
