"""EVA's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of EVA depends on."""

    explainer: Literal[
        "eva", "overlap_sampled", "overlap_attacked", "greedy", "saliency", "margin_gradient", "grad_input", "smoothgrad", "vargrad",
        "integrated_gradients", "grad_cam", "grad_cam_pp", "occlusion", "rise", "sobol", "lime", "random",
    ] = "eva"  # fmt: skip
    """How patches are scored."""
    eps: float = 0.05
    """Half side of the box of perturbations, in units of pixel values."""
    bounds: Literal["ibp", "forward", "crown_ibp", "crown"] = "crown"
    """How the box's overlap is bounded."""
    cut: int = 0
    """Layers at the front whose outputs are sampled in place of bounded; 0 certifies the whole network."""
    grid: int = 12
    """Patches along each side."""
    points: int = 16
    """Random points a box of the sampled overlaps and of the cut, and pictures of SmoothGrad and of the integrated gradients."""
    samples: int = 256
    """Masked pictures of RISE, Sobol and LIME."""
    pooling: Literal["absolute", "signed", "largest"] = "absolute"
    """How gradients of pixels become scores of patches."""
    sample_noise: float = 0.1
    """Standard deviation of SmoothGrad's and VarGrad's pictures."""
    fill: float = 0.0
    """Value that replaces a patch in occlusion, RISE, Sobol and LIME, and where integrated gradients start."""
    attack_steps: int = 10
    """Steps of the attacks of Greedy-AS and of the attacked overlap."""
    step_patches: int = 3
    """Patches that Greedy-AS takes at a time."""
    chunk: int = 32
    """Boxes bounded at a time."""
    measure_steps: int = 10
    """Steps of the attack that measures robustness."""
    measure_restarts: int = 4
    """Its starts."""
    measure_fill: float = 0.5
    """Value that replaces patches in deletion, insertion and mu-fidelity."""
    check_points: int = 10000
    """Random points a box in the check of the bounds."""
    explained: int = 100
    """Pictures explained."""
    network: Literal["small", "vgg16"] = "small"
    """The classifier."""
    width: int = 16
    """Channels of the small network's first convolution."""
    hidden: int = 128
    """Units of its hidden linear layer."""
    robust: Literal["none", "adversarial", "ibp"] = "adversarial"
    """The classifier's regulariser."""
    train_eps: float = 0.04
    """Its epsilon."""
    weight_robust: float = 0.5
    """Its share of the loss."""
    released_weights: bool = False
    """Start VGG-16 from torchvision's ImageNet weights."""
    source: Literal["world", "mnist", "cifar10", "imagenet"] = "world"
    """Procedural pictures, or a real data set."""
    classes: int = 8
    """Number of classes."""
    spurious: float = 0.0
    """World: share of the training pictures whose background has the hue of their class."""
    noise: float = 0.03
    """World: standard deviation of the pixel noise."""
    image_size: int = 24
    """Height and width in pixels."""
    steps: int = 1
    """Optimisation steps of the classifier."""
    warmup_steps: int = 0
    """Steps of linear warm-up."""
    batch_size: int = 64
    """Pictures a step."""
    learning_rate: float = 2e-3
    """Learning rate of AdamW."""
    weight_decay: float = 1e-4
    """Weight decay."""
    train_items: int = 3000
    """Training pictures."""
    validation_items: int = 48
    """Validation pictures, of which the first right ones are explained in tuning."""
    test_items: int = 200
    """Test pictures, of which the first right ones are explained."""
    eval_batch_size: int = 256
    """Pictures a batch in evaluation."""


_TUTORIAL = Config(
    eps=0.005, grid=5, width=6, hidden=32, image_size=20, explained=24, steps=500, warmup_steps=20, learning_rate=1e-2,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, grid=3, width=4, hidden=16, image_size=12, explained=3, points=4, samples=24, attack_steps=2, measure_steps=2,
        measure_restarts=1, check_points=20, steps=3, warmup_steps=1, batch_size=16, train_items=32, validation_items=8,
        test_items=12,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, grid=8, width=16, hidden=128, image_size=32, explained=100, steps=3000, train_items=20000, test_items=1000,
        validation_items=200, measure_steps=20, measure_restarts=8, samples=1000, points=32,
    ),
    "paper": Config(
        network="vgg16", source="imagenet", classes=1000, image_size=224, grid=12, bounds="crown_ibp", cut=32, points=80,
        robust="none", released_weights=True, steps=1, batch_size=16, samples=4000, explained=100, learning_rate=1e-4,
        train_items=1281167, validation_items=100, test_items=500, eval_batch_size=16, chunk=4,
    ),
}  # fmt: skip

BENCH = {"batch_size": 2}
"""A step of VGG-16 on 16 pictures takes a CPU more than a minute."""

METRICS = (
    metric("robustness"),
    metric("robustness_rest", better="higher"),
    metric("deletion"),
    metric("insertion"),
    metric("fidelity"),
    metric("evidence"),
    metric("evidence_body"),
    metric("gap"),
    metric("violations"),
    metric("flat"),
    metric("calls"),
    metric("accuracy"),
    metric("seconds_ratio"),
)


def _explains(name: str, **more) -> dict:
    return {"explainer": name} | more


ARMS = (
    Arm("eva", "overlap bounded by substitution through every layer (CROWN): the paper's method", "method"),
    Arm("eva_ibp", "the same with intervals", "baseline", {"bounds": "ibp"}),
    Arm("eva_crown_ibp", "the same with one substitution on intervals", "baseline", {"bounds": "crown_ibp"}),
    Arm("saliency", "size of the gradient", "baseline", _explains("saliency")),
    Arm("smoothgrad", "mean gradient of noisy pictures", "baseline", _explains("smoothgrad"), tuned={"sample_noise": 0.2}),
    Arm("integrated", "integrated gradients", "baseline", _explains("integrated_gradients"), tuned={"fill": 0.5}),
    Arm("occlusion", "fall of the probability when a patch is filled", "baseline", _explains("occlusion"), tuned={"fill": 0.5}),
    Arm("rise", "mean probability of random masks that keep a patch", "baseline", _explains("rise"), tuned={"fill": 0.5}),
    Arm("greedy_as", "patches by greedy attacks (Greedy-AS)", "baseline", _explains("greedy"), tuned={"eps": 0.01}),
    Arm("eva_forward", "EVA with forward relaxation, on six pictures", "ablation", {"bounds": "forward", "explained": 6}),
    Arm("eva_hybrid", "EVA with the first convolution sampled, the rest bounded: no guarantee", "ablation", {"cut": 2}),
    Arm("sampled", "overlap of 26 random points a box in place of a bound", "ablation", _explains("overlap_sampled", points=26)),
    Arm("attacked", "overlap of an attack in place of a bound", "ablation", _explains("overlap_attacked")),
    Arm("eva_medium_eps", "EVA with a box of 0.05", "ablation", {"eps": 0.05}),
    Arm("eva_large_eps", "EVA with a box of 0.3", "ablation", {"eps": 0.3}),
    Arm("eva_fine", "EVA on 10 x 10 patches, on six pictures", "ablation", {"grid": 10, "explained": 6}),
    Arm("eva_plain_net", "EVA on a classifier trained without a regulariser", "ablation", {"robust": "none"}),
    Arm("eva_ibp_net", "EVA on a classifier trained with interval bounds", "ablation",
        {"robust": "ibp", "train_eps": 0.01, "weight_robust": 0.3}),
    Arm("margin_gradient", "gradient of the best other logit minus the label's", "ablation", _explains("margin_gradient")),
    Arm("grad_input", "gradient times input", "ablation", _explains("grad_input")),
    Arm("vargrad", "variance of the gradient of noisy pictures", "ablation", _explains("vargrad")),
    Arm("cam", "Grad-CAM on the last convolution", "ablation", _explains("grad_cam")),
    Arm("cam_pp", "Grad-CAM++ on the last convolution", "ablation", _explains("grad_cam_pp")),
    Arm("sobol_total", "total Sobol indices of random masks", "ablation", _explains("sobol")),
    Arm("lime_ridge", "LIME: a weighted ridge regression on random masks", "ablation", _explains("lime")),
    Arm("chance", "random scores", "ablation", _explains("random")),
)  # fmt: skip

RIVALS = ("saliency", "smoothgrad", "integrated", "occlusion", "rise")
CLAIMS = (
    Claim(
        "c1",
        "The bound holds for every point of the perturbation set.",
        "guaranteed by the method (section 3)",
        (
            Part("exact", "violations", ("eva",), "no sampled point or attack exceeds the bound (CROWN)",
                 reduce=lambda seed: 0.5 - seed["eva"]["violations"]),
            Part("exact", "violations", ("eva_ibp",), "the same for intervals",
                 reduce=lambda seed: 0.5 - seed["eva_ibp"]["violations"]),
        ),
    ),
    Claim(
        "c2",
        "EVA finds the patches whose change fools the classifier with the least effort.",
        "best Robustness-S_r of all methods but Greedy-AS (tables 1 and 2; unconfirmed)",
        (
            Part("difference", "robustness", ("eva", *RIVALS), "smallest adversarial epsilon on the top patches, against the best rival",
                 reduce=lambda seed: min(seed[a]["robustness"] for a in RIVALS) - seed["eva"]["robustness"]),
            Part("difference", "robustness", ("eva", "saliency"), "the same against the gradient alone"),
        ),
    ),
    Claim(
        "c3",
        "It is cheaper than explanations by attacks.",
        "attack-based rivals need over 50,000 attacks an explanation (introduction)",
        (
            Part("ratio", "seconds_ratio", ("compare",), "time of EVA over that of Greedy-AS on the same patches"),
            Part("ratio", "calls", ("eva", "greedy_as"), "boxes bounded over pictures evaluated"),
        ),
    ),
    Claim(
        "c4",
        "Tighter bounds give better explanations.",
        "the verification method is a hyperparameter with an effect (section 4)",
        (
            Part("difference", "gap", ("eva", "eva_ibp"), "distance of the bound to what an attack finds, CROWN against intervals"),
            Part("trend", "robustness", ("eva_ibp", "eva_crown_ibp", "eva"), "smallest adversarial epsilon, from intervals to CROWN",
                 x=(0, 1, 2)),
        ),
    ),
)  # fmt: skip

DATASETS = (
    DataSet(
        "MNIST",
        "mnist",
        "mnist/train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte (unpacked)",
        "http://yann.lecun.com/exdb/mnist",
        ("robustness", "deletion", "insertion", "fidelity"),
    ),
    DataSet(
        "CIFAR-10",
        "cifar10",
        "cifar10/cifar-10-batches-bin/data_batch_1.bin to data_batch_5.bin, test_batch.bin\n"
        "  (records of 3073 bytes: label, 3072 pixels, planes red, green, blue)",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        ("robustness", "deletion", "insertion", "fidelity"),
    ),
    DataSet(
        "ImageNet",
        "imagenet_eva",
        "imagenet_eva/imagenet/train/n01440764/*.JPEG, imagenet_eva/imagenet/val/n01440764/*.JPEG",
        "https://www.image-net.org/download.php",
        ("robustness", "deletion", "insertion", "fidelity"),
    ),
)

# the classifier is shared, so its learning rate has one value; each arm has three of the choice that is its own
_RATE = {"learning_rate": (1e-2,)}
TUNING = {
    **dict.fromkeys(("eva", "eva_ibp", "eva_crown_ibp", "greedy_as"), {"eps": (0.005, 0.01, 0.02)} | _RATE),
    "saliency": _RATE | {"pooling": ("absolute", "signed", "largest")},
    "smoothgrad": _RATE | {"sample_noise": (0.05, 0.1, 0.2)},
    **dict.fromkeys(("integrated", "occlusion", "rise"), {"fill": (0.0, 0.5, 1.0)} | _RATE),
}
TUNING_METRIC = "robustness"

PAPER = Paper(
    slug="eva",
    part="trust",
    title="Don't Lie to Me! Robust and Efficient Explainability with Verified Perturbation Analysis",
    first_author="Fel",
    year=2023,
    summary=(
        "A patch is important if freezing it lowers a certified bound on the best adversarial point around the picture; "
        "the bound covers all perturbations where other attributions sample some."
    ),
    links={"code": "https://github.com/deel-ai/formal-explainability"},
    reported=(Reported("parameters", 138357544, "VGG-16 (one of two networks on ImageNet; unconfirmed)"),),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
    compares=True,
    descends="loss",
)
