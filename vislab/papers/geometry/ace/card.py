"""ACE's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


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
    target_rate: float = 50.0
    """Relocalisation rate, percent, for the time to reach it."""
    looks: int = 16
    """Times during training that the rate is looked at for that."""
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
    batch_size: int = 5120
    """Features a step."""
    learning_rate: float = 5e-3
    """Highest learning rate of AdamW's one cycle."""
    first_rate: float = 0.1
    """Learning rate at the start of the cycle over the highest."""
    weight_decay: float = 0.01
    """Weight decay."""
    train_items: int = 1000
    """Mapping pictures."""
    validation_items: int = 100
    """Validation queries."""
    test_items: int = 1000
    """Queries."""
    eval_batch_size: int = 20
    """Queries a batch in evaluation."""


_TUTORIAL = Config(
    backbone="zoo", stem_widths=(16, 32, 64, 64), strides=(1, 2, 2, 1), features=64, width=96, samples_a_picture=384,
    buffer_items=46_080, inlier_pixels=3.0, within_metres=0.1, source="world", focal=105.0, image_size=96, steps=400,
    batch_size=768, tau_largest=20.0, train_items=120, validation_items=30, test_items=60,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, samples_a_picture=64, buffer_items=512, steps=4, batch_size=64, train_items=8, validation_items=4, test_items=4,
        hypotheses=16, looks=2, image_size=48, focal=52.5,
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, image_size=192, focal=210.0, strides=(1, 2, 2, 2), inlier_pixels=5.0, samples_a_picture=512, buffer_items=512_000,
        width=256, steps=5000, batch_size=5120, train_items=400, test_items=200, within_metres=0.05, tau_largest=50.0,
        backbone="random",
    ),
    "paper": Config(),
}  # fmt: skip

METRICS = (
    metric("accuracy_pose"),
    metric("error_position"),
    metric("error_rotation"),
    metric("accuracy_nearest"),
    metric("seconds_to_rate"),
    metric("seconds_mapping"),
    metric("seconds_ratio"),
    metric("bytes_ratio"),
    metric("cosine_gradients"),
)

WHOLE = {"regime": "end_to_end", "backbone": "random"}
ARMS = (
    Arm("ace", "shuffled features of all pictures, frozen backbone: the paper's method", "method"),
    Arm("end_to_end", "the whole network trained picture by picture, for ACE's time", "baseline", WHOLE | {"steps": 300}),
    Arm("end_to_end_long", "the same for five times as long", "baseline", WHOLE | {"steps": 1500}),
    Arm("constant", "ACE with a constant clamp", "baseline", {"schedule": "constant"}),
    Arm("l1", "ACE with a cut-off in place of tanh", "baseline", {"loss": "l1", "schedule": "constant"}),
    Arm("pictures", "frozen backbone, batches of one picture", "ablation", {"regime": "pictures"}),
    Arm("linear", "ACE with a clamp that falls linearly", "ablation", {"schedule": "linear"}),
    Arm("euclidean", "ACE with three coordinates", "ablation", {"homogeneous": False}),
    Arm("random_backbone", "ACE with an untrained backbone", "ablation", {"backbone": "random"}),
    Arm("context", "a head of 3x3 convolutions, batches of one picture", "ablation", {"regime": "pictures", "head_kernel": 3}),
    Arm("ensemble", "two heads, one for each half of the mapping cameras", "ablation", {"heads": 2}),
)  # fmt: skip

CLAIMS = (
    Claim(
        "c1",
        "A scene is mapped far faster than by end-to-end training, at equal accuracy.",
        "5 minutes against 15 hours, up to 300 times faster (abstract, table 1)",
        (
            Part("ratio", "seconds_to_rate", ("ace", "end_to_end_long"),
                 "time to relocalise half of the queries, or the whole run where that is never reached"),
        ),
    ),
    Claim(
        "c2",
        "In the time that ACE needs, end-to-end training has hardly begun to relocalise.",
        "single-digit rate at five minutes against ACE's best (introduction, figure 1)",
        (Part("difference", "accuracy_pose", ("ace", "end_to_end"), "share of queries relocalised after equal time"),),
    ),
    Claim(
        "c3",
        "The map is small.",
        "4 MB, about seven times less than earlier networks' 28 MB",
        (Part("exact", "bytes_ratio", ("compare",), "bytes of the head over bytes of the whole network, paper scale, half precision"),),
    ),
    Claim(
        "c4",
        "The clamp that falls during training matters.",
        "ablation of the loss",
        (
            Part("difference", "accuracy_pose", ("ace", "constant"), "share of queries relocalised, against a constant clamp"),
            Part("difference", "accuracy_pose", ("ace", "l1"), "against a constant cut-off"),
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

_JUDGED = ("ace", "end_to_end", "end_to_end_long", "constant", "l1")
TUNING = dict.fromkeys(_JUDGED, {"learning_rate": (1e-3, 2.5e-3, 6e-3)})
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
