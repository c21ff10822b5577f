"""OT-Filter's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of OT-Filter depends on."""

    criterion: Literal["transport", "nearest", "loss", "neighbours", "all"] = "transport"
    """Which labels are trusted: by transport (the paper), the nearest class centre, small loss, the neighbours' votes, or all of them."""
    rounds: int = 2
    """Rounds of barycentres and assignment; the second takes only labels that the first agreed with."""
    barycentres: int = 1
    """Support points of a class's barycentre."""
    regularisation: float = 10.0
    """Entropic regularisation of every plan, in units of the features' Euclidean distance."""
    group_steps: int = 5
    """Steps of majorisation for the penalty on classes; with one there is no penalty."""
    weight_group: float = 1.0
    """Weight of that penalty."""
    neighbours: int = 20
    """Neighbours that vote, for that criterion."""
    semi: bool = True
    """Whether rejected items are used without their labels (MixMatch), or only trusted ones with cross-entropy."""
    weight_unlabelled: float = 25.0
    """Weight of the squared error on items without a label, from the first step on."""
    temperature: float = 0.5
    """Of the sharpening of guessed targets."""
    mixup_alpha: float = 4.0
    """Both parameters of mixup's Beta distribution."""
    noise_kind: Literal["symmetric", "asymmetric", "instance"] = "symmetric"
    """Wrong labels drawn evenly over all classes, given to a partner class, or given by a weak annotator to items it doubts."""
    noise_rate: float = 0.9
    """Share of labels that are drawn anew (symmetric: the true class is among those drawn)."""
    annotator_items: int = 1000
    """Items that the annotator of instance-dependent noise learns from."""
    depth: int = 2
    """Blocks of each of the four stages."""
    width: int = 64
    """Channels of the first stage."""
    follow: Literal["paper", "code"] = "paper"
    """Shortcuts that add a block's input itself, or its activated input as in the authors' code."""
    features: int = 128
    """Size of the feature in which the filter works."""
    source: Literal["world", "cifar10", "cifar100"] = "cifar10"
    """Procedural classes, CIFAR-10 or CIFAR-100."""
    classes: int = 10
    """Number of classes."""
    gap: float = 1.0
    """World: how far look-alike classes are apart in the cue that tells them."""
    noise: float = 0.05
    """World: standard deviation of the pixel noise."""
    clutter: int = 1
    """World: small distractors behind the object."""
    image_size: int = 32
    """Height and width in pixels."""
    crop_padding: int = 4
    """Augmentation: random crops from an image padded by this, and flips."""
    automatic_augmentation: bool = True
    """Whether a strong view also takes AutoAugment's CIFAR policy."""
    first_steps: int = 3906
    """Steps of the warm-up (10 epochs of CIFAR-10)."""
    first_batch_size: int = 128
    """Pictures a step of the warm-up."""
    first_learning_rate: float = 0.02
    """Learning rate of the warm-up."""
    epochs: int = 290
    """Epochs after the warm-up, each with a new split."""
    epoch_steps: int = 0
    """Steps of such an epoch; 0 for as many as there are batches of trusted items."""
    drop_epoch: int = 140
    """Of those epochs the first with a tenth of the learning rate."""
    batch_size: int = 128
    """Trusted pictures a step, and as many rejected ones; each in two views."""
    learning_rate: float = 0.02
    """Learning rate of SGD with momentum 0.9."""
    weight_decay: float = 5e-4
    """Weight decay."""
    train_items: int = 50000
    """Training items."""
    validation_items: int = 1000
    """Clean validation items."""
    test_items: int = 10000
    """Clean test items."""
    eval_batch_size: int = 500
    """Images a batch in evaluation."""


_TUTORIAL = Config(
    depth=1, width=8, features=32, image_size=16, crop_padding=2, automatic_augmentation=False, source="world", first_steps=150,
    first_learning_rate=0.03, epochs=5, epoch_steps=30, drop_epoch=3, batch_size=32, train_items=4000, validation_items=1000,
    test_items=1000,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, width=4, features=8, image_size=12, first_steps=4, first_batch_size=16, epochs=2, epoch_steps=2, drop_epoch=1,
        batch_size=16, train_items=80, validation_items=20, test_items=40, annotator_items=80, neighbours=5,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, depth=2, width=32, features=128, image_size=32, crop_padding=4, first_steps=1560, epochs=40, epoch_steps=100,
        drop_epoch=25, batch_size=128, train_items=20000, test_items=4000,
    ),
    "paper": Config(),
}  # fmt: skip

METRICS = (
    metric("accuracy"),
    metric("accuracy_best"),
    metric("f1"),
    metric("precision"),
    metric("recall"),
    metric("f1_transport"),
    metric("f1_nearest"),
    metric("f1_loss"),
    metric("accuracy_transport"),
    metric("accuracy_nearest"),
    metric("share_moved"),
)

NEAREST, LOSS = {"criterion": "nearest"}, {"criterion": "loss"}
LOW = {"noise_rate": 0.2}
DOUBT = {"noise_kind": "instance", "noise_rate": 0.4}
OT = {"learning_rate": 0.06, "weight_unlabelled": 2.5}
FEW = {"learning_rate": 0.06, "weight_unlabelled": 0.25}
MILD = {"learning_rate": 0.02, "weight_unlabelled": 0.25}
"""What tuning chose: for transport, for the nearest centre and for small losses; the ablations take their criterion's."""
ARMS = (
    Arm("ot", "transport with the class penalty and two rounds at 90% noise: the paper's method", "method", tuned=OT),
    Arm("nearest", "the same with the nearest class centre instead of transport, at 90% noise", "baseline", NEAREST, tuned=FEW),
    Arm("loss", "small losses are trusted (one network of DivideMix), at 90% noise", "baseline", LOSS, tuned=MILD),
    Arm("ot_low", "the method at 20% noise", "method", LOW, tuned=OT | {"learning_rate": 0.02}),
    Arm("loss_low", "small losses at 20% noise", "baseline", LOW | LOSS, tuned=MILD),
    Arm("ot_doubt", "the method when a weak annotator mislabels 40%", "method", DOUBT, tuned=OT | {"learning_rate": 0.007}),
    Arm("nearest_doubt", "the nearest class centre when a weak annotator mislabels 40%", "baseline", DOUBT | NEAREST, tuned=FEW),
    Arm("ce", "cross-entropy on all labels, at 90% noise", "ablation", {"criterion": "all", "semi": False}, tuned=OT),
    Arm("neighbours", "labels that agree with the neighbours' votes are trusted, at 90% noise", "ablation",
        {"criterion": "neighbours"}, tuned=OT),
    Arm("one_round", "one round: barycentres of all labels", "ablation", {"rounds": 1}, tuned=OT),
    Arm("no_group", "one Sinkhorn without the penalty on classes", "ablation", {"group_steps": 1}, tuned=OT),
    Arm("three", "three support points a class", "ablation", {"barycentres": 3}, tuned=OT),
    Arm("clean_only", "cross-entropy on trusted labels alone", "ablation", {"semi": False}, tuned=OT),
    Arm("ot_half", "the method at 50% noise", "ablation", {"noise_rate": 0.5}, tuned=OT),
    Arm("nearest_half", "the nearest class centre at 50% noise", "ablation", {"noise_rate": 0.5} | NEAREST, tuned=FEW),
    Arm("nearest_low", "the nearest class centre at 20% noise", "ablation", LOW | NEAREST, tuned=FEW),
    Arm("ot_partner", "the method when 40% are labelled as their look-alike", "ablation",
        {"noise_kind": "asymmetric", "noise_rate": 0.4}, tuned=OT),
)  # fmt: skip

CLAIMS = (
    Claim(
        "C1",
        "At 90% symmetric noise transport leads to higher accuracy than other criteria.",
        "about 14% (CIFAR-10) and 12% (CIFAR-100) above the best competitor (introduction)",
        (
            Part("difference", "accuracy", ("ot", "loss"), "accuracy against small losses"),
            Part("difference", "accuracy", ("ot", "nearest"), "accuracy against the nearest class centre"),
        ),
    ),
    Claim(
        "C2",
        "At low noise the filter is on par.",
        "follows the state of the art when the noise rate is low (introduction)",
        (
            Part("equivalent", "accuracy", ("ot_low", "loss_low"), "accuracy at 20% noise against small losses, within 1.5 points",
                 margin=1.5),
        ),
    ),
    Claim(
        "C3",
        "Transport separates right labels from wrong ones better, from the same features.",
        "the distribution in probability space makes the selection one of high quality (introduction)",
        (
            Part("difference", "f1_transport", ("ot", "ot"), "F1 of the selection after the warm-up against the nearest centre",
                 reduce=lambda seed: seed["ot"]["f1_transport"] - seed["ot"]["f1_nearest"]),
            Part("difference", "f1_transport", ("ot", "ot"), "F1 of the selection after the warm-up against small losses",
                 reduce=lambda seed: seed["ot"]["f1_transport"] - seed["ot"]["f1_loss"]),
        ),
    ),
    Claim(
        "C4",
        "Transport also wins under noise that depends on the picture, as in real labels.",
        "outperforms its counterparts on Clothing1M and ANIMAL-10N (abstract)",
        (
            Part("difference", "accuracy", ("ot_doubt", "nearest_doubt"), "accuracy against the nearest class centre"),
        ),
    ),
)  # fmt: skip

DATASETS = (
    DataSet(
        "CIFAR-10",
        "cifar10",
        "cifar10/cifar-10-batches-bin/data_batch_1.bin to data_batch_5.bin\ncifar10/cifar-10-batches-bin/test_batch.bin\n"
        "  (records of 3073 bytes: label, 3072 pixels, planes red, green, blue)",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        ("accuracy", "accuracy_best"),
    ),
    DataSet(
        "CIFAR-100",
        "cifar100",
        "cifar100/cifar-100-binary/train.bin\ncifar100/cifar-100-binary/test.bin\n"
        "  (records of 3074 bytes: coarse label, fine label, 3072 pixels, planes red, green, blue)",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        ("accuracy", "accuracy_best"),
    ),
)

_JUDGED = ("ot", "nearest", "loss", "ot_low", "loss_low", "ot_doubt", "nearest_doubt")
TUNING = dict.fromkeys(_JUDGED, {"learning_rate": (0.007, 0.02, 0.06), "weight_unlabelled": (0.25, 2.5, 25.0)})
TUNING_METRIC = "accuracy"
BENCH = {"train_items": 2000}
"""The filter is no part of a step; fewer items spare the noise of the others."""

PAPER = Paper(
    slug="ot_filter",
    part="recognition",
    title="OT-Filter: An Optimal Transport Filter for Learning With Noisy Labels",
    first_author="Feng",
    year=2023,
    summary=(
        "One transport plan moves all training features onto the barycentres of the classes, each of which must receive its share; "
        "labels that agree with the plan are trusted, the rest is learned from without labels."
    ),
    links={"code": "https://github.com/ryl0427/Code-for-OT-Filter"},
    reported=(Reported("parameters", 11_233_098, "CIFAR-10, counted from the released code"),),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
)
