"""ACE's card: what the paper is, its arms and claims, its configuration at every scale."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric

TARGET_RATE = 30.0
"""Relocalisation rate, percent, for the time to reach it."""


@dataclass(frozen=True)
class Config:
    """Everything that a run of ACE depends on."""

    regime: Literal["buffer", "pictures", "end_to_end"] = "buffer"
    """Batches of shuffled features of all pictures; of one picture's features; or of one picture through the whole network."""
    backbone: Literal["zoo", "random", "released"] = "released"
    """Pre-trained on other rooms (the zoo's), untrained, or the authors' file; end-to-end training starts from an untrained one."""
    loss: Literal["tanh", "l1"] = "tanh"
    """Clamp of the reprojection error: tanh, or cut off."""
    schedule: Literal["circle", "linear", "constant"] = "circle"
    """How the clamp falls during training."""
    tau_largest: float = 50.0
    """Clamp at the start, pixels."""
    tau_smallest: float = 1.0
    """Clamp at the end, pixels."""
    homogeneous: bool = True
    """Four outputs with a scale, or three coordinates."""
    head_kernel: int = 1
    """Side of the head's convolutions; 3 gives it spatial context."""
    stem_widths: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of the backbone's first layers."""
    strides: tuple[int, ...] = (1, 2, 2, 2)
    """Strides of these layers; their product is the side of a cell in pixels."""
    features: int = 512
    """Channels of a feature."""
    width: int = 512
    """Width of the head."""
    depth: int = 1
    """Residual blocks of the head beyond the first."""
    samples_a_picture: int = 1024
    """Features that every augmented picture gives to the buffer."""
    buffer_items: int = 8_000_000
    """Features in the buffer."""
    rotation: float = 0.2618
    """Augmentation: largest roll in radians."""
    zoom: float = 1.5
    """Augmentation: largest scale; the smallest is its inverse."""
    jitter: float = 0.1
    """Augmentation: brightness and contrast."""
    hypotheses: int = 64
    """Pose hypotheses of a query."""
    inlier_pixels: float = 10.0
    """Inlier threshold in pixels."""
    heads: int = 1
    """Heads of an ensemble, one for each cluster of mapping cameras; the pose with the most inliers wins."""
    within_metres: float = 0.05
    """A query counts as relocalised within this distance ..."""
    within_degrees: float = 5.0
    """... and this angle."""
    looks: int = 20
    """Times during training that the rate is looked at, for the time to reach the target."""
    source: Literal["world", "seven_scenes"] = "seven_scenes"
    """Procedural rooms, or 7-Scenes and sets converted to its layout."""
    scene: str = "chess"
    """Scene of a real data set."""
    focal: float = 525.0
    """Focal length in pixels of the pictures as they are used."""
    image_size: int = 480
    """Height of the pictures in pixels; their width is 4/3 of it."""
    steps: int = 25000
    """Optimisation steps: 16 epochs of the buffer."""
    step_factor: float = 1.0
    """Steps over `steps`, for rivals that get equal or more time."""
    features_a_step: int = 5120
    """Features a step on the buffer."""
    batch_size: int = 1
    """Pictures a step where batches are pictures."""
    learning_rate: float = 5e-3
    """Highest learning rate of AdamW's one cycle."""
    first_rate: float = 0.1
    """Learning rate at the start of the cycle over the highest."""
    weight_decay: float = 0.01
    """Weight decay."""
    train_items: int = 3600
    """Mapping pictures."""
    validation_items: int = 400
    """Validation queries."""
    test_items: int = 2000
    """Queries."""
    eval_batch_size: int = 20
    """Queries a batch in evaluation."""


_TUTORIAL = Config(
    backbone="zoo", stem_widths=(16, 32, 64, 64), strides=(1, 2, 2, 2), features=64, width=96, samples_a_picture=192,
    buffer_items=76_800, rotation=0.1, zoom=1.2, inlier_pixels=4.0, within_metres=0.25, within_degrees=10.0, source="world",
    focal=80.0, image_size=96, steps=800, looks=12, features_a_step=1024, train_items=200, validation_items=40, test_items=60,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, samples_a_picture=24, buffer_items=512, steps=4, features_a_step=64, train_items=8, validation_items=4, test_items=4,
        hypotheses=16, looks=2, image_size=48, focal=40.0,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, image_size=144, focal=120.0, inlier_pixels=5.0, within_metres=0.1, within_degrees=5.0, samples_a_picture=256,
        buffer_items=512_000, width=256, steps=5000, features_a_step=5120, test_items=200,
    ),
    "paper": Config(),
}  # fmt: skip

BENCH_WORLD = {"backbone": "random"}

METRICS = (
    metric("accuracy_pose"),
    metric("error_position"),
    metric("error_rotation"),
    metric("accuracy_way"),
    metric("accuracy_nearest"),
    metric("seconds_to_rate", digits=1),
    metric("seconds_mapping", digits=1),
    metric("seconds_ratio"),
    metric("bytes_ratio", unit="", digits=3),
    metric("bytes_ratio_half", unit="", digits=3),
)

WHOLE = {"regime": "end_to_end", "backbone": "random", "step_factor": 1.1}
FAST = {"learning_rate": 2e-2}
ARMS = (
    Arm("ace", "shuffled features of all pictures, frozen backbone: the paper's method", "method", tuned=FAST),
    Arm("end_to_end", "the whole network, picture by picture, for ACE's time", "baseline", WHOLE, tuned={"learning_rate": 1e-4}),
    Arm("end_to_end_long", "the same for three times as long", "baseline", WHOLE | {"step_factor": 3 * WHOLE["step_factor"]},
        tuned={"learning_rate": 5e-4}),
    Arm("constant", "ACE with a clamp that does not fall", "baseline", {"schedule": "constant"}, tuned={"learning_rate": 1e-2}),
    Arm("l1", "ACE with a constant cut-off in place of tanh", "baseline", {"loss": "l1", "schedule": "constant"}, tuned=FAST),
    Arm("pictures", "frozen backbone, batches of one picture", "ablation", {"regime": "pictures", "step_factor": 1.5}),
    Arm("context", "a head of 3x3 convolutions, batches of one picture", "ablation", {"regime": "pictures", "head_kernel": 3},
        tuned={"learning_rate": 1e-3}),
    Arm("fine_tuned", "the whole network from the zoo's backbone, picture by picture, for ACE's time", "ablation",
        WHOLE | {"backbone": "zoo"}, tuned={"learning_rate": 1e-3}),
    Arm("random_backbone", "ACE with an untrained backbone", "ablation", {"backbone": "random"}, tuned=FAST),
    Arm("linear", "ACE with a clamp that falls linearly", "ablation", {"schedule": "linear"}, tuned=FAST),
    Arm("euclidean", "ACE with three coordinates", "ablation", {"homogeneous": False}, tuned=FAST),
    Arm("ensemble", "two heads, one for each half of the mapping cameras", "ablation", {"heads": 2}, tuned=FAST),
)  # fmt: skip


def slower(seed: Mapping[str, Mapping[str, float]]) -> float:
    """Log of end-to-end training's time to the target rate over ACE's; the better of its two runs counts.

    Where end-to-end training never gets there, its longest run is a lower bound of its time.
    Where ACE does not get there, its whole run is a lower bound of its time, and the number speaks against it or not at all.
    """
    ours, rivals = seed["ace"], [seed["end_to_end"], seed["end_to_end_long"]]
    reached = [r["seconds_to_rate"] for r in rivals if r["accuracy_way"] >= TARGET_RATE]
    theirs = min(reached) if reached else rivals[-1]["seconds_mapping"]
    number = math.log(theirs / ours["seconds_to_rate"])
    return number if ours["accuracy_way"] >= TARGET_RATE else min(0.0, number)


CLAIMS = (
    Claim(
        "C1",
        "A scene is mapped far faster than by end-to-end training, at equal accuracy.",
        "5 minutes against 15 hours, up to 300 times faster (abstract, table 1)",
        (
            Part("ratio", "seconds_to_rate", ("ace", "end_to_end", "end_to_end_long"),
                 "end-to-end training's time to relocalise three of ten queries over ACE's", reduce=slower),
        ),
    ),
    Claim(
        "C2",
        "In the time that ACE needs, end-to-end training has hardly begun to relocalise.",
        "single-digit rate at five minutes against ACE's best (introduction, figure 1)",
        (
            Part("difference", "accuracy_pose", ("ace", "end_to_end"), "share of queries relocalised after equal time"),
            Part("difference", "accuracy_pose", ("end_to_end",), "ten percent minus what end-to-end training relocalises in that time",
                 reduce=lambda seed: 10.0 - seed["end_to_end"]["accuracy_pose"]),
        ),
    ),
    Claim(
        "C3",
        "The map is small.",
        "4 MB, about seven times less than earlier networks' 28 MB (abstract)",
        (
            Part("exact", "bytes_ratio", ("compare",), "the head in half precision over the whole network in single, at the paper's size",
                 margin=1 / 7),
        ),
    ),
    Claim(
        "C4",
        "The clamp that falls during training matters.",
        "ablation of the loss",
        (
            Part("difference", "accuracy_pose", ("ace", "constant"), "share of queries relocalised, against a constant clamp"),
            Part("difference", "accuracy_pose", ("ace", "l1"), "share of queries relocalised, against a constant cut-off"),
            Part("ratio", "error_position", ("ace", "constant"), "median error of the position over that of a constant clamp"),
            Part("ratio", "error_position", ("ace", "l1"), "median error of the position over that of a constant cut-off"),
        ),
    ),
)  # fmt: skip

DATASETS = (
    DataSet(
        "7-Scenes",
        "seven_scenes",
        "seven_scenes/chess/TrainSplit.txt, TestSplit.txt (lines such as sequence1)\n"
        "seven_scenes/chess/seq-01/frame-000000.color.png, frame-000000.pose.txt (4x4, world from camera, metres)",
        "https://www.microsoft.com/en-us/research/project/rgb-d-dataset-7-scenes/",
        ("accuracy_pose",),
    ),
)

TUNING = {
    **dict.fromkeys(("ace", "constant", "l1"), {"learning_rate": (2.5e-3, 5e-3, 1e-2, 2e-2)}),
    **dict.fromkeys(("end_to_end", "end_to_end_long"), {"learning_rate": (1e-4, 5e-4, 2e-3, 5e-3)}),
}
TUNING_METRIC = "accuracy_pose"

PAPER = Paper(
    slug="ace",
    part="geometry",
    title="Accelerated Coordinate Encoding: Learning to Relocalize in Minutes using RGB and Poses",
    first_author="Brachmann",
    year=2023,
    summary=(
        "Scene coordinate regression split into a backbone for all scenes and a small head for one, trained on shuffled features of "
        "all mapping pictures, maps a scene in minutes."
    ),
    links={"code": "https://github.com/nianticlabs/ace"},
    reported=(
        Reported("parameters", 7.671e6, "backbone 5.57 M and head 2.10 M, counted from the released code"),
        Reported("accuracy_pose", 97.1, "7-Scenes, 5 cm and 5 degrees, SfM poses", "%", confirmed=False),
        Reported("accuracy_pose", 80.8, "7-Scenes, 5 cm and 5 degrees, depth-SLAM poses", "%", confirmed=False),
        Reported("bytes_ratio", 4.0 / 28.0, "4 MB against 28 MB"),
        Reported("seconds_mapping", 300.0, "7-Scenes, one V100, a minute of it for the buffer", "s"),
    ),
    metrics=METRICS,
    arms=ARMS,
    claims=CLAIMS,
    config=Config,
    profiles=PROFILES,
    datasets=DATASETS,
    zoo=("scene_features",),
    compares=True,
    descends="loss",
)
