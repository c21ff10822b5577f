"""BalPoE's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of BalPoE depends on."""

    taus: tuple[float, ...] = (0.0, 1.0, 2.0)
    """Bias of each expert in multiples of the log prior; the theorem wants their mean to be 1."""
    loss: Literal["balpoe", "sade"] = "balpoe"
    """Bias tau log prior for every expert, or SADE's for the last one (reversed prior)."""
    mixup: float = 0.4
    """Parameter of mixup's Beta distribution; 0 trains without mixup."""
    label_smoothing: float = 0.0
    """Label smoothing of the cross-entropy."""
    temperature: Literal["one", "validation"] = "one"
    """Temperature at test time: 1, or fitted on the validation split."""
    network: Literal["small", "resnet50", "resnext50"] = "small"
    """CIFAR ResNet, ResNet-50 or ResNeXt-50 (32x4d)."""
    depth: int = 32
    """Layers of the CIFAR ResNet, 6 n + 2."""
    width: int = 16
    """Channels of its first stage."""
    cosine_scale: float = 30.0
    """Scale of the cosine classifier."""
    source: Literal["world", "cifar10", "cifar100", "imagenet_lt", "inaturalist"] = "world"
    """Procedural shapes, or a real data set."""
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
    gap: float = 0.3
    """World: how far look-alike classes are apart."""
    noise: float = 0.08
    """World: standard deviation of the pixel noise."""
    image_size: int = 32
    """Height and width in pixels."""
    crop_padding: int = 4
    """Augmentation: random crops from an image padded by this, and flips."""
    automatic_augmentation: bool = False
    """AutoAugment with Cutout, as in the paper's long training."""
    steps: int = 17000
    """Optimisation steps (200 epochs of CIFAR-100-LT in the paper's standard training)."""
    milestones: tuple[float, ...] = (0.8, 0.9)
    """Shares of `steps` after which the learning rate falls to a tenth."""
    warmup_steps: int = 425
    """Steps of linear warm-up (5 epochs)."""
    batch_size: int = 128
    """Images a step."""
    learning_rate: float = 0.1
    """Learning rate of SGD with Nesterov momentum 0.9."""
    weight_decay: float = 5e-4
    """Weight decay."""
    train_items: int = 10847
    """Training items; the world's are the sum of its class counts."""
    validation_items: int = 1000
    """Balanced validation items."""
    test_items: int = 10000
    """Balanced test items."""
    eval_batch_size: int = 500
    """Images a batch in evaluation."""


_TUTORIAL = Config(
    depth=8, width=8, classes=24, head=120, imbalance=60.0, many_above=40, few_below=8, image_size=20, crop_padding=1,
    steps=750, batch_size=32, warmup_steps=20, train_items=714, validation_items=480, test_items=1200,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, steps=3, batch_size=16, warmup_steps=1, head=20, imbalance=10.0, train_items=180,
        validation_items=48, test_items=48,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, depth=20, width=16, image_size=32, crop_padding=4, head=500, imbalance=100.0, many_above=100,
        few_below=20, train_items=2725, steps=6000, batch_size=128, warmup_steps=100, test_items=4800,
    ),
    "paper": Config(source="cifar100"),
}  # fmt: skip

METRICS = (
    metric("accuracy"),
    metric("accuracy_many"),
    metric("accuracy_medium"),
    metric("accuracy_few"),
    metric("accuracy_forward"),
    metric("accuracy_backward"),
    metric("ece"),
    metric("mce"),
    metric("nll"),
    metric("parameters_ratio"),
    metric("seconds_ratio"),
)

PLAIN = {"mixup": 0.0}
ARMS = (
    Arm(
        "balpoe", "three experts with tau 0, 1, 2 and mixup: the paper's method", "method",
        tuned={"learning_rate": 0.05},
    ),
    Arm("balpoe_plain", "the same without mixup", "baseline", PLAIN),
    Arm("bs3_mixup", "three experts, all tau 1 (balanced softmax), with mixup", "baseline", {"taus": (1.0, 1.0, 1.0)}),
    Arm("bs3", "three experts, all tau 1, without mixup", "baseline", {"taus": (1.0, 1.0, 1.0)} | PLAIN),
    Arm("bs_mixup", "balanced softmax, one expert, with mixup", "baseline", {"taus": (1.0,)},
        tuned={"learning_rate": 0.2}),
    Arm("bs", "balanced softmax, one expert", "baseline", {"taus": (1.0,)} | PLAIN,
        tuned={"learning_rate": 0.4}),
    Arm("ce", "cross-entropy, one expert", "baseline", {"taus": (0.0,)} | PLAIN),
    Arm("sade", "SADE's three experts: cross-entropy, balanced softmax, reversed prior", "baseline", {"loss": "sade"} | PLAIN),
    Arm("low_mixup", "mean tau 0.5 (-0.5, 0.5, 1.5) with mixup", "ablation", {"taus": (-0.5, 0.5, 1.5)}),
    Arm("high_mixup", "mean tau 1.5 (0.5, 1.5, 2.5) with mixup", "ablation", {"taus": (0.5, 1.5, 2.5)}),
    Arm("low_plain", "mean tau 0.5 without mixup", "ablation", {"taus": (-0.5, 0.5, 1.5)} | PLAIN, tuned={"learning_rate": 0.05}),
    Arm("high_plain", "mean tau 1.5 without mixup", "ablation", {"taus": (0.5, 1.5, 2.5)} | PLAIN),
    Arm("experts5", "five experts, tau 0 to 2, with mixup", "ablation", {"taus": (0.0, 0.5, 1.0, 1.5, 2.0)}),
    Arm(
        "experts2", "two experts, tau 0 and 2, with mixup", "ablation", {"taus": (0.0, 2.0)}, ("smoke", "gpu", "paper"),
        "five more runs do not fit the tutorial's time",
    ),
    Arm(
        "experts7", "seven experts, tau 0 to 2, with mixup", "ablation",
        {"taus": tuple(k / 3 for k in range(7))}, ("smoke", "gpu", "paper"),
        "five runs of seven experts do not fit the tutorial's time",
    ),
    Arm("label_smoothing", "label smoothing 0.1 in place of mixup", "ablation", {"label_smoothing": 0.1} | PLAIN),
    Arm("temperature", "temperature fitted on the validation split in place of mixup", "ablation", {"temperature": "validation"} | PLAIN),
    Arm("unequal_mean", "tau 0, 0.5, 1: mean below 1, with mixup", "ablation", {"taus": (0.0, 0.5, 1.0)}),
)  # fmt: skip


def _peak(middle: str, low: str, high: str):
    return lambda seed: seed[middle]["accuracy"] - (seed[low]["accuracy"] + seed[high]["accuracy"]) / 2


_WITH, _WITHOUT = _peak("balpoe", "low_mixup", "high_mixup"), _peak("balpoe_plain", "low_plain", "high_plain")

CLAIMS = (
    Claim(
        "C1",
        "BalPoE recognises long-tailed classes better than balanced softmax, with one expert or several.",
        "CIFAR-100-LT (imbalance 100) about 52.0% after 200 epochs, 56.3% after 400 with AutoAugment (unconfirmed)",
        (
            Part("difference", "accuracy", ("balpoe", "bs3_mixup"), "balanced accuracy against three equal experts, both with mixup"),
            Part("difference", "accuracy", ("balpoe_plain", "bs3"), "the same without mixup"),
            Part("difference", "accuracy", ("balpoe", "bs_mixup"), "balanced accuracy against one expert, both with mixup"),
            Part("difference", "accuracy", ("balpoe_plain", "bs"), "the same without mixup"),
            Part("difference", "accuracy", ("balpoe", "bs"), "balanced accuracy against plain balanced softmax"),
        ),
    ),
    Claim(
        "C2",
        "BalPoE is calibrated where single experts and other ensembles are not.",
        "ECE 4.1% against 23.1% (balanced softmax) and 17.3% (SADE); MCE 9.2% against 34.7% and 28.0% (figure 1)",
        (
            Part("difference", "ece", ("balpoe", "bs"), "ECE against balanced softmax", smallest=13.2),
            Part("difference", "ece", ("balpoe", "sade"), "ECE against SADE", smallest=13.2),
            Part("difference", "mce", ("balpoe", "bs"), "MCE against balanced softmax"),
            Part("difference", "ece", ("balpoe", "balpoe_plain"), "ECE with mixup against without"),
            Part("difference", "nll", ("balpoe", "balpoe_plain"), "negative log-likelihood with mixup against without"),
        ),
    ),
    Claim(
        "C3",
        "The ensemble is unbiased only if its biases average to one and its experts are calibrated.",
        "a theorem (section 3.3), with ablations",
        (
            Part("difference", "accuracy", ("balpoe", "low_mixup"), "balanced accuracy at mean tau 1 against 0.5, with mixup"),
            Part("difference", "accuracy", ("balpoe", "high_mixup"), "balanced accuracy at mean tau 1 against 1.5, with mixup"),
            Part(
                "difference", "accuracy",
                ("balpoe", "low_mixup", "high_mixup", "balpoe_plain", "low_plain", "high_plain"),
                "how much the peak at 1 stands out with mixup, beyond without",
                reduce=lambda seed: _WITH(seed) - _WITHOUT(seed),
            ),
        ),
    ),
    Claim(
        "C4",
        "More experts help.",
        "accuracy rises up to seven experts (figure 1a)",
        (
            Part("trend", "accuracy", ("bs_mixup", "balpoe", "experts5"), "balanced accuracy an added expert, 1, 3, 5", x=(1, 3, 5)),
            Part(
                "trend", "accuracy", ("bs_mixup", "experts2", "balpoe", "experts5", "experts7"),
                "balanced accuracy an added expert, 1 to 7", x=(1, 2, 3, 5, 7),
            ),
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
    DataSet(
        "CIFAR-10",
        "cifar10",
        "cifar10/cifar-10-batches-bin/data_batch_1.bin to data_batch_5.bin, test_batch.bin\n"
        "  (records of 3073 bytes: label, 3072 pixels, planes red, green, blue)",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        ("accuracy",),
    ),
    DataSet(
        "ImageNet-LT",
        "imagenet_lt",
        "imagenet_lt/ImageNet_LT_train.txt, ImageNet_LT_val.txt, ImageNet_LT_test.txt (lines: PATH LABEL)\n"
        "imagenet_lt/train/n01440764/*.JPEG, imagenet_lt/val/*.JPEG",
        "https://liuziwei7.github.io/projects/LongTail.html",
        ("accuracy",),
    ),
    DataSet(
        "iNaturalist 2018",
        "inaturalist",
        "inaturalist/iNaturalist18_train.txt, iNaturalist18_val.txt (lines: PATH LABEL)\n"
        "inaturalist/train_val2018/*/*/*.jpg",
        "https://github.com/visipedia/inat_comp/tree/master/2018",
        ("accuracy",),
    ),
)

_JUDGED = (
    "balpoe", "balpoe_plain", "bs3_mixup", "bs3", "bs_mixup", "bs", "ce", "sade",
    "low_mixup", "high_mixup", "low_plain", "high_plain", "experts5",
)  # fmt: skip
TUNING = dict.fromkeys(_JUDGED, {"learning_rate": (0.025, 0.05, 0.1, 0.2, 0.4)})
TUNING_METRIC = "accuracy"

PAPER = Paper(
    slug="balpoe",
    part="recognition",
    title="Balanced Product of Calibrated Experts for Long-Tailed Recognition",
    first_author="Sanchez Aimar",
    year=2023,
    summary=(
        "Experts trained with different multiples of the log prior multiply to a classifier that is unbiased "
        "when the multiples average to one and the experts are calibrated; mixup calibrates them."
    ),
    links={"code": "https://github.com/emasa/BalPoE-CalibratedLT"},
    reported=(
        Reported("parameters", 1.362e6, "CIFAR-100-LT, three experts, counted from the released code"),
        Reported("accuracy", 52.0, "CIFAR-100-LT, imbalance 100, 200 epochs", "%", confirmed=False),
        Reported("accuracy", 56.3, "CIFAR-100-LT, imbalance 100, 400 epochs, AutoAugment", "%", confirmed=False),
        Reported("ece", 4.1, "CIFAR-100-LT, figure 1", "%"),
        Reported("mce", 9.2, "CIFAR-100-LT, figure 1", "%"),
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
