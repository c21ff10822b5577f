"""FLYP's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of FLYP depends on."""

    loss: Literal["contrastive", "masked", "supervised", "pairwise", "text", "head"] = "contrastive"
    """Contrastive as in pre-training; two ways and a released third to correct for repeated classes; cross-entropy over all
    classes' text features; cross-entropy on a linear head that starts from the text features."""
    trained: Literal["all", "image"] = "all"
    """All weights, or the image tower and the head alone."""
    scale_trained: bool = True
    """Whether the logit scale is trained."""
    templates: int = 80
    """Sentence templates that a label is drawn into, from the first."""
    head_share: float = 0.0
    """Share of `steps` that first trains the head alone on frozen features (the LP of LP-FT)."""
    head_learning_rate: float = 1e-3
    """Learning rate of these steps."""
    weight_anchor: float = 0.0
    """Weight of the squared distance to the pre-trained weights (L2-SP)."""
    base: Literal["zoo", "openai/clip-vit-base-patch16", "openai/clip-vit-large-patch14"] = (
        "openai/clip-vit-base-patch16"
    )
    """Pre-trained weights to start from; with the world's pictures at another size than the zoo's, random ones (the step benchmark)."""
    embed_dim: int = 512
    """Width of the common space."""
    width: int = 768
    """Width of the image tower."""
    depth: int = 12
    """Blocks of the image tower."""
    heads: int = 12
    """Attention heads of the image tower."""
    patch: int = 16
    """Side of a patch in pixels."""
    context: int = 77
    """Tokens of a sentence at most."""
    vocabulary: int = 49408
    """Tokens of the tokenizer."""
    text_width: int = 512
    """Width of the text tower."""
    text_depth: int = 12
    """Blocks of the text tower."""
    text_heads: int = 8
    """Attention heads of the text tower."""
    source: Literal["world", "imagenet", "iwildcam", "fmow"] = "imagenet"
    """Procedural shapes, or a real data set."""
    classes: int = 1000
    """Number of classes."""
    spurious: float = 0.8
    """World: share of pictures with their class's usual background."""
    noise: float = 0.06
    """World: standard deviation of the pixel noise."""
    image_size: int = 224
    """Height and width in pixels."""
    steps: int = 25020
    """Optimisation steps (10 epochs of ImageNet)."""
    batch_size: int = 512
    """Pictures a step."""
    learning_rate: float = 1e-5
    """Learning rate of AdamW."""
    weight_decay: float = 0.1
    """Weight decay."""
    warmup_steps: int = 500
    """Steps of linear warm-up before the cosine."""
    train_items: int = 1281167
    """Training pictures; the world's are balanced over the classes."""
    validation_items: int = 10000
    """In-distribution validation pictures."""
    test_items: int = 50000
    """Test pictures of every domain."""
    eval_batch_size: int = 256
    """Pictures a batch in evaluation."""


_TUTORIAL = Config(
    templates=8, base="zoo", embed_dim=96, width=96, depth=3, heads=4, patch=4, context=32, vocabulary=166, text_width=96,
    text_depth=2, text_heads=4, source="world", classes=12, image_size=32, steps=60, batch_size=48, learning_rate=1e-3,
    warmup_steps=5, train_items=1200, validation_items=240, test_items=240,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL,
        templates=2,
        steps=3,
        batch_size=24,
        warmup_steps=1,
        train_items=48,
        validation_items=12,
        test_items=12,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(_TUTORIAL, steps=600, batch_size=256, train_items=6000, test_items=3000, validation_items=1200),
    "paper": Config(),
}

BENCH_WORLD = {"classes": 12}
"""The world has twelve classes, not a thousand; the towers are the paper's."""
BENCH = {"batch_size": 4}
"""One step of 512 pictures takes a CPU minutes."""

DOMAINS = {
    "world": ("photo", "sketch", "fog", "night", "palette", "texture", "background"),
    "imagenet": ("imagenet", "imagenet_v2", "imagenet_r", "imagenet_a", "imagenet_sketch", "objectnet"),
    "iwildcam": ("test", "ood"),
    "fmow": ("test", "ood"),
}
"""The domains of every source; the first is in-distribution."""

METRICS = (
    metric("accuracy_id"),
    metric("accuracy_ood"),
    *(metric(f"accuracy_{name}") for name in DOMAINS["world"][1:]),
    metric("accuracy_ensembled_id"),
    metric("accuracy_ensembled_ood"),
    *(metric(f"accuracy_{name}") for name in DOMAINS["imagenet"][1:]),
    metric("f1_id"),
    metric("f1_ood"),
    metric("accuracy_worst"),
    metric("seconds_ratio"),
)

NOT_SMOKE = {"profiles": ("tutorial", "gpu", "paper"), "why": "the same code as with all pictures"}
HEAD = {"loss": "head", "trained": "image", "scale_trained": False}
ARMS = (
    Arm("flyp", "the contrastive loss of pre-training on sentences made of labels: the paper's method", "method"),
    Arm("ft", "cross-entropy on a head that starts from the text features", "baseline", HEAD),
    Arm("lpft", "the head first on frozen features, for a quarter of the steps, then all of the image tower", "baseline",
        HEAD | {"head_share": 0.25}, tuned={"learning_rate": 3e-4}),
    Arm("text_ce", "cross-entropy over all classes' sentences, both towers trained", "baseline", {"loss": "text"}),
    Arm("masked", "FLYP without same-class negatives", "baseline", {"loss": "masked"}),
    Arm("supervised", "FLYP with targets even over the same class", "baseline", {"loss": "supervised"}),
    Arm("flyp_4", "FLYP on 4 pictures a class", "baseline", {"train_items": 48, "steps": 25}, tuned={"learning_rate": 1e-4}, **NOT_SMOKE),
    Arm("ft_4", "cross-entropy on 4 pictures a class", "baseline",
        HEAD | {"train_items": 48, "steps": 25}, tuned={"learning_rate": 3e-4}, **NOT_SMOKE),
    Arm("flyp_16", "FLYP on 16 pictures a class", "baseline", {"train_items": 192, "steps": 40}, **NOT_SMOKE),
    Arm("ft_16", "cross-entropy on 16 pictures a class", "baseline",
        HEAD | {"train_items": 192, "steps": 40}, tuned={"learning_rate": 3e-3}, **NOT_SMOKE),
    Arm("zero_shot", "no fine-tuning", "ablation", {"steps": 0}),
    Arm("linear_probe", "the head alone", "ablation", HEAD | {"head_share": 1.0}),
    Arm("l2sp", "cross-entropy on a head, drawn to the pre-trained weights", "ablation", HEAD | {"weight_anchor": 0.01}),
    Arm("pairwise", "the released third form of the loss", "ablation", {"loss": "pairwise"}),
    Arm("frozen_text", "FLYP with the text tower frozen", "ablation", {"trained": "image"}),
    Arm("one_template", "FLYP with a single template", "ablation", {"templates": 1}),
    Arm("frozen_scale", "FLYP with the logit scale frozen", "ablation", {"scale_trained": False}),
)  # fmt: skip


def _both(seed: dict, arm: str) -> float:
    return (seed[arm]["accuracy_id"] + seed[arm]["accuracy_ood"]) / 2


CLAIMS = (
    Claim(
        "C1",
        "Fine-tuning as in pre-training is more accurate under shift than standard fine-tuning.",
        "+4.2% over seven out-of-distribution sets (abstract)",
        (Part("difference", "accuracy_ood", ("flyp", "ft"), "mean accuracy over six shifts", smallest=4.2),),
    ),
    Claim(
        "C2",
        "It beats linear probing followed by fine-tuning in distribution and out of it.",
        "more than 1% in both (abstract); with weight ensembling 1.1% and 1.3% (figure 1)",
        (
            Part("difference", "accuracy_id", ("flyp", "lpft"), "in distribution", smallest=1.0),
            Part("difference", "accuracy_ood", ("flyp", "lpft"), "under shift", smallest=1.0),
            Part("difference", "accuracy_ensembled_id", ("flyp", "lpft"), "in distribution, weights ensembled"),
            Part("difference", "accuracy_ensembled_ood", ("flyp", "lpft"), "under shift, weights ensembled"),
        ),
    ),
    Claim(
        "C3",
        "It is the loss that helps, not the prompts or the trained text tower.",
        "cross-entropy with the same prompts and weights is worse (section 5)",
        (
            Part("difference", "accuracy_id", ("flyp", "text_ce"), "in distribution"),
            Part("difference", "accuracy_ood", ("flyp", "text_ce"), "under shift"),
        ),
    ),
    Claim(
        "C4",
        "Correcting for repeated classes in a batch does not help but hurts.",
        "both corrections are worse (section 5)",
        (
            Part("difference", "accuracy_ood", ("flyp", "masked"), "mean of in and out of distribution, against masked negatives",
                 reduce=lambda seed: _both(seed, "flyp") - _both(seed, "masked")),
            Part("difference", "accuracy_ood", ("flyp", "supervised"), "the same against even targets",
                 reduce=lambda seed: _both(seed, "flyp") - _both(seed, "supervised")),
        ),
    ),
    Claim(
        "C5",
        "It is better than standard fine-tuning with few examples.",
        "up to +4.6% (abstract)",
        (
            Part("difference", "accuracy_id", ("flyp_4", "ft_4"), "4 pictures a class"),
            Part("difference", "accuracy_id", ("flyp_16", "ft_16"), "16 pictures a class"),
        ),
    ),
)  # fmt: skip

DATASETS = (
    DataSet(
        "ImageNet and its shifted test sets",
        "imagenet_shifts",
        "imagenet_shifts/imagenet/train/n01440764/*.JPEG, imagenet_shifts/imagenet/val/n01440764/*.JPEG\n"
        "imagenet_shifts/imagenetv2-matched-frequency-format-val/0/*.jpeg (folders numbered by label)\n"
        "imagenet_shifts/imagenet-r/n01443537/*.jpg, imagenet_shifts/imagenet-a/n01498041/*.jpg\n"
        "imagenet_shifts/sketch/n01440764/*.JPEG\n"
        "imagenet_shifts/objectnet-1.0/images/alarm_clock/*.png, objectnet-1.0/mappings/folder_to_wnid.json (name: WordNet id)",
        "https://www.image-net.org/download.php",
        ("accuracy_id", "accuracy_ood"),
    ),
    DataSet(
        "WILDS-iWildCam",
        "iwildcam_v2.0",
        "iwildcam_v2.0/metadata.csv (columns split, y, location, filename), categories.csv (columns y, name)\n"
        "iwildcam_v2.0/train/*.jpg",
        "https://wilds.stanford.edu/datasets/#iwildcam",
        ("f1_id", "f1_ood"),
    ),
    DataSet(
        "WILDS-FMoW",
        "fmow_v1.1",
        "fmow_v1.1/rgb_metadata.csv (columns split, y, region), categories.csv (columns y, name)\n"
        "fmow_v1.1/images/rgb_img_0.png and so on, numbered by the row",
        "https://wilds.stanford.edu/datasets/#fmow",
        ("accuracy_id", "accuracy_worst"),
    ),
)

_JUDGED = ("flyp", "ft", "lpft", "text_ce", "masked", "supervised", "flyp_4", "ft_4", "flyp_16", "ft_16")
TUNING = dict.fromkeys(_JUDGED, {"learning_rate": (1e-4, 3e-4, 1e-3, 3e-3)})
TUNING_METRIC = "accuracy_id"

PAPER = Paper(
    slug="flyp",
    part="language",
    title="Finetune Like You Pretrain: Improved Finetuning of Zero-Shot Vision Models",
    first_author="Goyal",
    year=2023,
    summary=(
        "Labels become sentences and fine-tuning goes on with the contrastive loss of pre-training, which keeps more of the "
        "robustness than cross-entropy on a head."
    ),
    links={"code": "https://github.com/locuslab/FLYP"},
    reported=(
        Reported("parameters", 149.6e6, "CLIP ViT-B/16, both towers"),
        Reported("accuracy_ood", 4.2, "gain over standard fine-tuning, mean of 7 shifted sets", "%"),
        Reported("accuracy_ensembled_id", 1.1, "gain over LP-FT, ImageNet, weights ensembled", "%"),
        Reported("accuracy_ensembled_ood", 1.3, "gain over LP-FT, ImageNet's shifts, weights ensembled", "%"),
    ),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
    zoo=("clip",),
    compares=True,
    descends="loss",
)
