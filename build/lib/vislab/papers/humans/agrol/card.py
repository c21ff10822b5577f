"""AGRoL's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of AGRoL depends on."""

    follow: Literal["paper", "code"] = "paper"
    """The text's squared error, DDIM and kept overlaps, or the released code's mean length, ancestral samples and lost overlaps."""
    task: Literal["diffusion", "regression"] = "diffusion"
    """Denoise a motion under the trackers' signal, or regress the motion from it."""
    network: Literal["mlp", "transformer", "gru"] = "mlp"
    """What mixes the frames."""
    embedding: Literal["blocks", "input", "none"] = "blocks"
    """Where the diffusion time enters: in every block, as one token beside the frames, or nowhere."""
    target: Literal["sample", "epsilon"] = "sample"
    """What the denoiser predicts."""
    normalise: bool = True
    """Standardise the motion by the training set's mean and deviation."""
    times: int = 1000
    """Diffusion times of training."""
    ddim_steps: int = 5
    """Network calls of sampling."""
    windows: Literal["apart", "overlapping"] = "apart"
    """Windows in the test: side by side, or sliding with the known part kept."""
    overlap_stride: int = 70
    """New frames of every overlapping window."""
    lost_frames: int = 10
    """Frames a window without signal in the test of lost tracking."""
    weight_geometry: float = 0.0
    """Weight of losses on joints and their steps, which the paper does without."""
    window: int = 196
    """Frames a window."""
    width: int = 512
    """Latent width of the MLP."""
    depth: int = 12
    """Blocks of the MLP."""
    rival_width: int = 256
    """Width of the transformers and of the GRU."""
    rival_depth: int = 3
    """Layers of the transformers."""
    rival_heads: int = 8
    """Attention heads of the transformers."""
    context: int = 41
    """Past frames that the regressing transformer sees for each pose."""
    timed: Literal["own", "paper"] = "paper"
    """Whether the comparison of times takes this profile's networks or the paper's."""
    source: Literal["world", "amass1", "amass2"] = "world"
    """Procedural bodies, or AMASS with protocol 1 or 2."""
    clip_frames: int = 588
    """Frames of a clip."""
    fps: float = 60.0
    """Frames a second."""
    heading: float = 3.1416
    """World: largest first heading, in radians."""
    freedom: float = 1.0
    """World: size of the leg motion that no tracker sees."""
    cue: float = 1.0
    """World: size of the torso motion that tells which leg does what."""
    steps: int = 300000
    """Optimisation steps."""
    drop_share: float = 2 / 3
    """Share of `steps` after which the learning rate falls to a thirtieth."""
    warmup_steps: int = 0
    """Steps of linear warm-up."""
    batch_size: int = 256
    """Windows a step."""
    learning_rate: float = 3e-4
    """Learning rate of AdamW."""
    weight_decay: float = 1e-4
    """Weight decay."""
    train_items: int = 5000
    """Training clips."""
    validation_items: int = 250
    """Validation clips."""
    test_items: int = 500
    """Test clips."""
    eval_batch_size: int = 64
    """Clips a batch in evaluation."""


_TUTORIAL = Config(
    window=48, width=96, depth=6, rival_width=64, rival_depth=3, rival_heads=4, context=21, overlap_stride=24, clip_frames=144,
    fps=30.0, heading=0.5, steps=500, warmup_steps=20, batch_size=32, learning_rate=1.6e-2, train_items=400,
    validation_items=60, test_items=96, drop_share=0.7,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _TUTORIAL, width=32, depth=2, rival_width=16, rival_depth=1, window=24, context=9, overlap_stride=12, clip_frames=60,
        lost_frames=5, steps=3, batch_size=16, warmup_steps=1, train_items=24, validation_items=12, test_items=12, timed="own",
    ),
    "tutorial": _TUTORIAL,
    "gpu": replace(
        _TUTORIAL, window=98, width=256, depth=12, rival_width=192, context=41, overlap_stride=35, clip_frames=294, fps=60.0,
        heading=3.1416, steps=10000, batch_size=256, train_items=4000, test_items=480, learning_rate=6e-4,
    ),
    "paper": Config(source="amass1"),
}  # fmt: skip

BENCH = {"batch_size": 32}
"""A step of 256 windows holds 10 GB of activations and takes a CPU more than a minute."""

METRICS = (
    metric("mpjre"),
    metric("mpjre_geodesic"),
    metric("mpjpe", unit="cm", digits=2),
    metric("mpjpe_lower", unit="cm", digits=2),
    metric("mpjpe_upper", unit="cm", digits=2),
    metric("mpjpe_hands", unit="cm", digits=2),
    metric("mpjpe_root", unit="cm", digits=2),
    metric("mpjpe_lost", unit="cm", digits=2),
    metric("mpjve"),
    metric("jitter"),
    metric("jitter_gap"),
    metric("jitter_truth"),
    metric("seconds_ratio"),
    metric("seconds_ratio_transformer"),
)

REGRESSION = {"task": "regression"}
ARMS = (
    Arm("agrol", "diffusion with the MLP, time in every block, five DDIM steps: the paper's method", "method"),
    Arm("pure_mlp", "the same MLP without time as a regressor, motion not standardised", "baseline",
        REGRESSION | {"normalise": False}),
    Arm("transformer", "a transformer on past frames that regresses the last pose (AvatarPoser)", "baseline",
        REGRESSION | {"network": "transformer"}, tuned={"learning_rate": 2e-3}),
    Arm("input_embedding", "diffusion with the time as one token at the input", "baseline", {"embedding": "input"}),
    Arm("no_embedding", "diffusion without the time", "ablation", {"embedding": "none"}),
    Arm("transformer_denoiser", "diffusion with a transformer of about as many parameters", "ablation", {"network": "transformer"},
        tuned={"learning_rate": 2e-3}),
    Arm("gru", "a GRU that regresses every pose", "ablation", REGRESSION | {"network": "gru"}, tuned={"learning_rate": 4e-3}),
    Arm("pure_mlp_normalised", "the regressing MLP with standardised motion", "ablation", REGRESSION),
    Arm("noise", "diffusion that predicts the noise", "ablation", {"target": "epsilon"}),
    Arm("shallow", "diffusion with three blocks", "ablation", {"depth": 3}),
    Arm("geometry", "with losses on joints and their steps", "ablation", {"weight_geometry": 0.1}),
    Arm("overlapping", "sampled in overlapping windows, the known part kept", "ablation", {"windows": "overlapping"}),
)  # fmt: skip

CLAIMS = (
    Claim(
        "C1",
        "AGRoL is more accurate and smoother than AvatarPoser's transformer.",
        "MPJPE 3.71 against 4.18 cm, MPJVE 18.59 against 27.70 cm/s, jitter 7.26 against 14.49 with 4.00 in the truth (table 1)",
        (
            Part("difference", "mpjpe", ("agrol", "transformer"), "position error, cm"),
            Part("difference", "mpjve", ("agrol", "transformer"), "velocity error, cm/s"),
            Part("difference", "jitter_gap", ("agrol", "transformer"), "distance of the jitter to the truth's"),
        ),
    ),
    Claim(
        "C2",
        "Diffusion makes the same MLP smoother.",
        "jitter 13.01 to 7.26, MPJVE 22.85 to 18.59 cm/s (table 1)",
        (
            Part("difference", "jitter_gap", ("agrol", "pure_mlp"), "distance of the jitter to the truth's"),
            Part("difference", "mpjve", ("agrol", "pure_mlp"), "velocity error, cm/s"),
        ),
    ),
    Claim(
        "C3",
        "The time embedding in every block removes jitter.",
        "against an embedding at the input alone (section 4.4)",
        (
            Part("difference", "jitter_gap", ("agrol", "input_embedding"), "distance of the jitter to the truth's, five DDIM steps"),
        ),
    ),
    Claim(
        "C4",
        "The light network runs in real time.",
        "about 35 ms for a window of 196 frames, 3.3 s of motion (unconfirmed)",
        (
            Part("ratio", "seconds_ratio", ("compare",), "time to denoise a window over the window's duration"),
            Part("ratio", "seconds_ratio_transformer", ("compare",), "the same over the transformer's time for its frames"),
        ),
    ),
)  # fmt: skip

DATASETS = (
    DataSet(
        "AMASS",
        "amass",
        "amass/CMU/01/01_01_poses.npz and so on (arrays poses, trans, mocap_framerate), one folder a subset\n"
        "amass/splits/CMU/train_split.txt, test_split.txt (a path a line; also BioMotionLab_NTroje, MPI_HDM05)\n"
        "amass/smplh/male/model.npz (arrays v_template, J_regressor, kintree_table)",
        "https://amass.is.tue.mpg.de",
        ("mpjre", "mpjpe", "mpjve", "jitter"),
    ),
)

_JUDGED = ("agrol", "pure_mlp", "transformer", "input_embedding")
TUNING = dict.fromkeys(_JUDGED, {"learning_rate": (2e-3, 4e-3, 8e-3, 1.6e-2)})
TUNING_METRIC = "mpjpe"

PAPER = Paper(
    slug="agrol",
    part="humans",
    title="Avatars Grow Legs: Generating Smooth Human Motion from Sparse Tracking Inputs with Diffusion Model",
    first_author="Du",
    year=2023,
    summary=(
        "A diffusion model whose denoiser is a plain MLP invents the whole body's motion from a headset and two hand trackers; "
        "the time embedding in every block keeps it smooth."
    ),
    links={"code": "https://github.com/facebookresearch/AGRoL"},
    reported=(
        Reported("parameters", 7.48e6, "counted from the released code"),
        Reported("mpjre", 2.66, "AMASS, protocol 1", "deg"),
        Reported("mpjpe", 3.71, "AMASS, protocol 1", "cm"),
        Reported("mpjve", 18.59, "AMASS, protocol 1", "cm/s"),
        Reported("jitter", 7.26, "AMASS, protocol 1", "10² m/s³"),
        Reported("jitter_truth", 4.00, "AMASS, protocol 1", "10² m/s³"),
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
