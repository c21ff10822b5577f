"""I-JEPA's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of I-JEPA depends on."""

    objective: Literal["predict", "inside", "views"] = "predict"
    """Predict hidden patches with a predictor, inside the encoder with mask tokens, or agree between augmented views."""
    target: Literal["features", "pixels"] = "features"
    """What is predicted: features of the target encoder, or normalised pixels."""
    mask: Literal["multiblock", "block", "random", "quadrants"] = "multiblock"
    """How context and targets are chosen."""
    targets: int = 4
    """Multi-block: number of target blocks."""
    target_scale: tuple[float, float] = (0.15, 0.2)
    """Multi-block: share of the picture that a target covers."""
    target_aspect: tuple[float, float] = (0.75, 1.5)
    """Multi-block: aspect ratio of a target."""
    context_scale: tuple[float, float] = (0.85, 1.0)
    """Multi-block: share of the picture that the context covers before the targets are cut out."""
    least_context: int = 10
    """Multi-block: fewest patches of a context."""
    mask_share: float = 0.6
    """Random and single block: share of the patches that are hidden."""
    momentum: tuple[float, float] = (0.996, 1.0)
    """The target encoder's momentum at the first and at the last step, linear between."""
    follow: Literal["paper", "code"] = "paper"
    """Squared error as in the paper, or smooth L1 as in the released code."""
    crop_scale: tuple[float, float] = (0.3, 1.0)
    """Random resized crops of training pictures; the views of the rival use them too."""
    prototypes: int = 4096
    """Views: number of prototypes."""
    patch: int = 14
    """Side of a patch in pixels."""
    width: int = 1280
    """Width of the encoder."""
    depth: int = 32
    """Blocks of the encoder."""
    heads: int = 16
    """Attention heads of the encoder."""
    mlp_ratio: float = 4.0
    """Width of the MLP over the encoder's."""
    predictor_width: int = 384
    """Width of the predictor."""
    predictor_depth: int = 12
    """Blocks of the predictor."""
    predictor_heads: int = 16
    """Attention heads of the predictor."""
    pooled: Literal["last", "last4"] = "last"
    """Probes see the mean of the last layer's patches, or of the last four layers', concatenated."""
    source: Literal["world", "imagenet"] = "imagenet"
    """Procedural crowds, or ImageNet."""
    most: int = 5
    """World: most things a picture, one less than the classes of the counting probe."""
    ground: float = 0.3
    """World: contrast of the textured ground."""
    noise: float = 0.05
    """World: standard deviation of the pixel noise."""
    classes: int = 1000
    """Number of classes of the probes."""
    shots: int = 13
    """Labelled pictures a class of the low-shot probe (1% of ImageNet)."""
    finetune_steps: int = 500
    """Steps of low-shot fine-tuning of the whole encoder."""
    image_size: int = 224
    """Height and width in pixels."""
    steps: int = 187700
    """Optimisation steps (300 epochs of ImageNet)."""
    step_factor: float = 1.0
    """Steps of this run over `steps`, for runs of equal time."""
    batch_size: int = 2048
    """Pictures a step."""
    learning_rate: float = 1e-3
    """Highest learning rate of AdamW, after a warm-up from a fifth; cosine to a thousandth."""
    weight_decay: float = 0.04
    """Weight decay at the first step; not on biases and norms."""
    final_weight_decay: float = 0.4
    """Weight decay at the last step, cosine between."""
    warmup_steps: int = 25024
    """Steps of warm-up (40 epochs)."""
    train_items: int = 1281167
    """Pictures without labels; the probes' labelled pictures are the first `probe_items` of them."""
    probe_items: int = 1281167
    """Labelled pictures of the probes."""
    validation_items: int = 10000
    """Pictures on which a probe's penalty is chosen."""
    test_items: int = 50000
    """Test pictures."""
    eval_batch_size: int = 250
    """Pictures a batch in evaluation."""


_TUTORIAL = Config(
    momentum=(0.95, 1.0), crop_scale=(0.5, 1.0), prototypes=64, patch=6, width=64, depth=3, heads=2, predictor_width=32,
    predictor_depth=2, predictor_heads=2, least_context=4, source="world", most=3, ground=0.1, noise=0.1, classes=16, shots=10,
    finetune_steps=20, image_size=36, steps=260, batch_size=64, learning_rate=4e-3, final_weight_decay=0.1, warmup_steps=20,
    train_items=2000, probe_items=2000, validation_items=600, test_items=800,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, steps=4, batch_size=16, warmup_steps=1, train_items=64, probe_items=64, validation_items=32, test_items=32,
        finetune_steps=2, shots=2,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, steps=8000, batch_size=256, warmup_steps=400, train_items=20000, probe_items=5000, test_items=4000, width=192,
        depth=8, predictor_width=96, predictor_depth=4, finetune_steps=200,
    ),
    "paper": Config(),
}  # fmt: skip

BENCH = {"batch_size": 4}
"""One step of 2048 pictures takes a CPU an hour."""

METRICS = (
    metric("accuracy_linear"),
    metric("accuracy_low_shot"),
    metric("accuracy_finetuned"),
    metric("accuracy_nearest"),
    metric("accuracy_count"),
    metric("r2_distance"),
    metric("spread"),
    metric("seconds_ratio_mae"),
    metric("seconds_ratio_views"),
)

MAE = {"target": "pixels", "mask": "random", "mask_share": 0.75}
ARMS = (
    Arm("ijepa", "features of several blocks predicted from one context: the paper's method", "method"),
    Arm("mae", "normalised pixels of a random three quarters of the patches, as in MAE", "baseline", MAE, tuned={"learning_rate": 2e-3}),
    Arm("pixels", "I-JEPA with pixels in place of features", "baseline", {"target": "pixels"}, tuned={"learning_rate": 1e-3}),
    Arm("block", "I-JEPA with a single large target", "baseline", {"mask": "block"}, tuned={"learning_rate": 2e-3}),
    Arm("random", "I-JEPA with random patches as the target", "baseline", {"mask": "random"}),
    Arm("quadrants", "I-JEPA with three quadrants as targets", "baseline", {"mask": "quadrants"}),
    Arm("views", "agreement of two augmented views, as in DINO", "baseline", {"objective": "views"}, tuned={"learning_rate": 2e-3}),
    Arm("mae_time", "MAE for as long as I-JEPA takes, 1.9 times as many steps", "baseline",
        MAE | {"step_factor": 1.9}, tuned={"learning_rate": 2e-3}),
    Arm("untrained", "the encoder as it is drawn", "ablation", {"step_factor": 0.0}),
    Arm("inside", "mask tokens inside the encoder, as in data2vec", "ablation",
        {"objective": "inside", "mask": "random"}),
    Arm("online", "I-JEPA whose target is the encoder itself, momentum 0", "ablation", {"momentum": (0.0, 0.0)}),
    Arm("deep_predictor", "I-JEPA with a predictor of six blocks", "ablation", {"predictor_depth": 6}),
    Arm("wide_predictor", "I-JEPA with a predictor as wide as the encoder", "ablation", {"predictor_width": 64}),
    Arm("smooth_l1", "I-JEPA with the released code's loss", "ablation", {"follow": "code"}),
)  # fmt: skip

CLAIMS = (
    Claim(
        "C1",
        "Features are more semantic than those of pixel reconstruction, and know more of low-level facts than those of views.",
        "linear probe 77.5 against 76.0 (L/16), 79.3 against 77.2 (H/14); better at counting and depth than view-based methods",
        (
            Part("difference", "accuracy_linear", ("ijepa", "mae"), "linear probe against MAE"),
            Part("difference", "accuracy_low_shot", ("ijepa", "mae"), "ten labels a class, against MAE"),
            Part("difference", "accuracy_count", ("ijepa", "views"), "counting, against views"),
            Part("difference", "r2_distance", ("ijepa", "views"), "distance, against views"),
        ),
    ),
    Claim(
        "C2",
        "It matters that features are predicted and not pixels.",
        "66.9 against 40.7 with 1% of the labels",
        (Part("difference", "accuracy_low_shot", ("ijepa", "pixels"), "ten labels a class, same masks and predictor"),),
    ),
    Claim(
        "C3",
        "It matters that targets are several large blocks and the context is spread out.",
        "54.2 against 20.2 (block), 17.6 (random), 15.5 (quadrants), ViT-B with 1% of the labels",
        (
            Part("difference", "accuracy_low_shot", ("ijepa", "block"), "ten labels a class, against a single block"),
            Part("difference", "accuracy_low_shot", ("ijepa", "random"), "against random patches"),
            Part("difference", "accuracy_low_shot", ("ijepa", "quadrants"), "against quadrants"),
        ),
    ),
    Claim(
        "C4",
        "It needs less compute than reconstruction and than views.",
        "more than 2.5 times faster than iBOT's ViT-S/16, more than 10 times more efficient than MAE's ViT-H/14 (introduction)",
        (
            Part("ratio", "seconds_ratio_views", ("compare",), "time of a step over that of a step on two views"),
            Part("difference", "accuracy_linear", ("ijepa", "mae_time"), "linear probe against MAE at equal time"),
        ),
    ),
)  # fmt: skip

DATASETS = (
    DataSet(
        "ImageNet",
        "imagenet_shifts",
        "imagenet_shifts/imagenet/train/n01440764/*.JPEG, imagenet_shifts/imagenet/val/n01440764/*.JPEG",
        "https://www.image-net.org/download.php",
        ("accuracy_linear", "accuracy_low_shot"),
    ),
)

_JUDGED = ("ijepa", "mae", "pixels", "block", "random", "quadrants", "views", "mae_time")
TUNING = dict.fromkeys(_JUDGED, {"learning_rate": (1e-3, 2e-3, 4e-3)})
TUNING_METRIC = "accuracy_linear"

PAPER = Paper(
    slug="ijepa",
    part="representation",
    title="Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture",
    first_author="Assran",
    year=2023,
    summary=(
        "Features of hidden blocks are predicted from one visible block of the same picture; the targets come from a slow copy of "
        "the encoder, and no augmentation by hand is needed."
    ),
    links={"code": "https://github.com/facebookresearch/ijepa"},
    reported=(
        Reported("parameters", 652.7e6, "ViT-H/14 encoder and predictor, trained parameters of the released code"),
        Reported("accuracy_linear", 79.3, "ImageNet, ViT-H/14, 300 epochs", "%", confirmed=False),
        Reported("accuracy_linear", 77.5, "ImageNet, ViT-L/16, 600 epochs", "%", confirmed=False),
        Reported("accuracy_low_shot", 54.2, "ImageNet 1%, ViT-B/16, multi-block masks", "%", confirmed=False),
    ),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
    compares=True,
    descends="loss",
)
