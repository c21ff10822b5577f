"""M3-Net's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of M3-Net depends on."""

    duet: bool = True
    """Whether there is a class sub-network beside that of the attributes."""
    attends: Literal["condition", "mask", "none"] = "condition"
    """How attributes differ: attention under a condition (ASEN), masks over one embedding (CSN), or not at all."""
    matched: bool = False
    """Whether the attribute sub-network gets as many parameters more as the class sub-network has."""
    two_scales: bool = False
    """Whether a second look at a crop around the attention is added (ASEN++)."""
    class_spatial: bool = True
    """Whether classes attend to positions."""
    class_channel: bool = True
    """Whether classes attend to channels."""
    likely: Literal["predicted", "all"] = "predicted"
    """Class vectors that a score uses: the likeliest by the network's own prediction and by its probability, or all alike."""
    top_k: int = 3
    """Number of likely classes."""
    class_share: float = 0.5
    """Share of the class vectors in the score of a pair."""
    weight_set: float = 1.0
    """Weight of the triplets of attribute vectors."""
    weight_labels: float = 1.0
    """Weight of the multi-label head."""
    weight_class: float = 1.0
    """Weight of the triplets of class vectors and of their labels."""
    margin: float = 0.2
    """Margin of all triplets, in cosines."""
    negatives: int = 2
    """Classes that are not held, per attribute, whose vectors learn to say so."""
    label_scale: float = 10.0
    """Scale of logits from vectors of unit length."""
    network: Literal["small", "resnet50"] = "resnet50"
    """The backbone."""
    pretrained: bool = False
    """ResNet-50: weights of ImageNet, which torchvision fetches."""
    width: int = 16
    """Channels of the small network's first stage."""
    condition: int = 512
    """Size of the embeddings of attributes and classes."""
    attention: int = 512
    """Width in which positions and conditions are compared."""
    reduction: int = 16
    """Channels over hidden units of the channel attention."""
    embedding: int = 1024
    """Length of attribute and class vectors."""
    source: Literal["world", "fashionai", "deepfashion"] = "fashionai"
    """Procedural garments, or a real data set."""
    classes: tuple[int, ...] = (8, 5, 5, 5, 10, 6, 6, 9)
    """Classes of each attribute."""
    most: int = 3
    """World: most classes that an attribute holds at once."""
    noise: float = 0.05
    """World: standard deviation of the pixel noise."""
    image_size: int = 224
    """Height and width in pixels."""
    crop_padding: int = 8
    """Augmentation: random crops from an image padded by this, and flips."""
    steps: int = 200_000
    """Optimisation steps."""
    batch_size: int = 32
    """Images a step: anchors and a partner for each."""
    learning_rate: float = 1e-4
    """Of Adam."""
    decay_steps: int = 18_750
    """Steps in which the learning rate falls to nine tenths (three epochs of 100,000 triplets)."""
    weight_decay: float = 0.0
    """Weight decay."""
    train_items: int = 144_000
    """Training items."""
    validation_items: int = 18_000
    """Validation items: queries and gallery."""
    test_items: int = 18_000
    """Test items: queries and gallery."""
    queries: float = 0.2
    """Share of those that are queries."""
    eval_batch_size: int = 128
    """Images a batch in evaluation."""


_TUTORIAL = Config(
    network="small", source="world", classes=(5, 5, 5, 5), width=12, condition=32, attention=32, reduction=4, embedding=64,
    image_size=48, crop_padding=3, steps=350, batch_size=64, learning_rate=3e-3, decay_steps=60, train_items=2400,
    validation_items=1000, test_items=2000, eval_batch_size=200,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, width=4, condition=8, attention=8, embedding=16, image_size=24, crop_padding=1, steps=4, batch_size=32,
        train_items=100, validation_items=60, test_items=60, eval_batch_size=60,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, width=32, condition=128, attention=128, embedding=256, image_size=64, steps=6000, decay_steps=600,
        learning_rate=1e-3, train_items=20000, validation_items=3000, test_items=6000,
    ),
    "paper": Config(),
}  # fmt: skip

METRICS = (
    metric("map"),
    metric("map_single"),
    metric("map_several"),
    metric("map_unseen"),
    metric("map_1"),
    metric("map_2"),
    metric("map_all"),
    metric("f1_labels"),
    metric("seconds_ratio"),
    metric("seconds_ratio_low"),
    metric("seconds_ratio_high"),
)

ALONE = {"duet": False}
FAST = {"learning_rate": 1e-2}
"""What tuning chose for the attribute sub-network alone and for the duet without set triplets; the duet keeps 3e-3."""
MIDDLE = {"learning_rate": 6e-3}
"""What it chose for the wide rival and for the duet without class losses."""
_DEAR = ("smoke", "gpu", "paper")
ARMS = (
    Arm("duet", "attribute vectors and vectors of the likely classes: our reading of the method", "method"),
    Arm("attribute", "the attribute sub-network alone, which is ASEN", "baseline", ALONE, tuned=FAST),
    Arm("wide", "the same with as many parameters as the duet", "baseline", ALONE | {"matched": True}, tuned=MIDDLE),
    Arm("no_class_loss", "class vectors without a loss of their own", "baseline", {"weight_class": 0.0}, tuned=MIDDLE),
    Arm("no_set_loss", "without the triplets of attribute vectors", "baseline", {"weight_set": 0.0}, tuned=FAST),
    Arm("single", "the duet where an attribute holds one class", "ablation", {"most": 1}),
    Arm("single_attribute", "the attribute sub-network alone there", "ablation", ALONE | {"most": 1}, tuned=FAST),
    Arm("masks", "a mask for each attribute over one embedding (CSN)", "ablation", ALONE | {"attends": "mask"}, tuned=FAST),
    Arm("global", "one embedding for all attributes", "ablation", ALONE | {"attends": "none"}, tuned=FAST),
    Arm("all_classes", "all classes alike in the score, no multi-label head", "ablation", {"likely": "all", "weight_labels": 0.0}),
    Arm("no_class_spatial", "classes do not attend to positions", "ablation", {"class_spatial": False}),
    Arm("no_class_channel", "classes do not attend to channels", "ablation", {"class_channel": False}),
    Arm("two_scales", "the attribute sub-network with a second look at a crop (ASEN++)", "ablation", ALONE | {"two_scales": True},
        profiles=_DEAR, why="a crop for each attribute costs five times as much"),
)  # fmt: skip

CLAIMS = (
    Claim(
        "C1",
        "Attribute and class vectors together retrieve better than attribute vectors.",
        "beats the state of the art by a large margin on three data sets (abstract)",
        (
            Part("difference", "map", ("duet", "attribute"), "mean average precision against the attribute sub-network alone"),
            Part("difference", "map", ("duet", "wide"), "the same against one with as many parameters"),
        ),
    ),
    Claim(
        "C2",
        "They tell garments whose classes overlap without being the same.",
        "two dresses that share a class and differ in another are discriminated by class vectors (figure 1)",
        (
            Part(
                "difference", "map_several", ("duet", "attribute"), "gain for queries with several classes beyond that with one",
                reduce=lambda seed: (seed["duet"]["map_several"] - seed["attribute"]["map_several"])
                - (seed["duet"]["map_single"] - seed["attribute"]["map_single"]),
            ),
        ),
    ),
    Claim(
        "C3",
        "Vectors of the likely classes alone suffice, and cost less.",
        "class vectors of highly likely classes only, for scalability (introduction)",
        (
            Part(
                "noninferior", "map", ("duet",), "within a point of the score from all classes", margin=1.0,
                reduce=lambda seed: seed["duet"]["map"] - seed["duet"]["map_all"],
            ),
            Part("ratio", "seconds_ratio", ("compare",), "time to embed a picture over that with all class vectors"),
        ),
    ),
    Claim(
        "C4",
        "Losses of both granularities matter.",
        "a multi-granularity loss introduces appropriate inductive bias (abstract)",
        (
            Part("difference", "map", ("duet", "no_class_loss"), "against no loss of the class vectors"),
            Part("difference", "map", ("duet", "no_set_loss"), "against no triplets of attribute vectors"),
        ),
    ),
)  # fmt: skip

DATASETS = (
    DataSet(
        "FashionAI attributes",
        "fashionai",
        "fashionai/Annotations/label.csv  (Images/<attribute>_labels/<name>.jpg,<attribute>_labels,<y, m or n for each class>)\n"
        "fashionai/Images/...",
        "https://tianchi.aliyun.com/dataset/136923",
        ("map",),
    ),
    DataSet(
        "DeepFashion category and attribute",
        "deepfashion",
        "deepfashion/Anno/list_attr_cloth.txt  (count, header, then: attribute name, type 1 to 5)\n"
        "deepfashion/Anno/list_attr_img.txt  (count, header, then: image, 1, 0 or -1 for each attribute)\n"
        "deepfashion/Eval/list_eval_partition.txt  (count, header, then: image, train, val or test)\n"
        "deepfashion/img/...",
        "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/AttributePrediction.html",
        ("map",),
    ),
)

TUNING = dict.fromkeys(
    ("duet", "attribute", "wide", "no_class_loss", "no_set_loss"), {"learning_rate": (1e-3, 3e-3, 6e-3, 1e-2, 2e-2)}
)
TUNING_METRIC = "map"
BENCH_WORLD = {"classes": (5, 5, 5, 5)}
"""The world's attributes in place of FashionAI's eight; backbone and branches are the paper's."""

PAPER = Paper(
    slug="fashion_duet",
    part="recognition",
    title="Learning Attribute and Class-Specific Representation Duet for Fine-Grained Fashion Analysis",
    first_author="Jiao",
    year=2023,
    summary=(
        "A garment gets a vector for each attribute and, refined from it, one for each class that the network finds likely; "
        "pairs are compared at both granularities."
    ),
    links={"paper": "https://openaccess.thecvf.com/content/CVPR2023/html/Jiao_Learning_Attribute_and_Class-Specific_Representation_"
           "Duet_for_Fine-Grained_Fashion_Analysis_CVPR_2023_paper.html"},
    reported=(Reported("map", 62.88, "FashionAI, AG-MAN, a kindred network, from its own abstract", "%", confirmed=False),),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
    compares=True,
)  # fmt: skip
