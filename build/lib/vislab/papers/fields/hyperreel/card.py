"""HyperReel's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass, replace
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of HyperReel depends on."""

    follow: Literal["paper", "code"] = "paper"
    """The paper's rules, or the released code's: flow scaled twice, no skipping by the occupancy grid."""
    sampler: Literal["predicted", "stratified", "two_pass"] = "predicted"
    """Where samples come from: the network, equal slabs of depth, or a coarse pass over the density."""
    samples: int = 32
    """Samples a ray that get a colour."""
    rays: Literal["two_plane", "pluecker"] = "two_plane"
    """Ray coordinates: forward-facing or surround."""
    ray_frequencies: int = 0
    """Frequencies of the ray's encoding: 0 forward-facing, 1 surround."""
    primitive: Literal["plane", "sphere"] = "plane"
    """What the rays are crossed with."""
    near_plane: float = -1.0
    """Depth of the first plane."""
    far_plane: float = 1.0
    """Depth of the last plane."""
    near: float = 0.5
    """Surround scenes: nearest depth; spheres and contraction start at 1.5 times it."""
    far: float = 8.0
    """Surround scenes: farthest depth."""
    width: int = 256
    """Channels of the sample network."""
    depth: int = 6
    """Its linear layers."""
    skip: int = 3
    """The layer that sees the input again."""
    offsets: bool = True
    """Whether points may leave the ray."""
    offset_scale: float = 0.25
    """Largest offset along each axis; 0.125 for surround scenes."""
    gate: Literal["eased", "open"] = "eased"
    """Gates that start closed and are eased in, or none."""
    gate_shift: float = 4.0
    """Added to the gates before their sigmoid: 4 closes them to 2% at the start."""
    ease_steps: int = 12000
    """Steps over which gates and colour corrections are eased in (3 epochs)."""
    colour_transform: bool = True
    """Whether colour is scaled and shifted per sample."""
    flow: bool = True
    """Whether samples are carried to the nearest keyframe; off for static scenes."""
    flow_scale: float = 0.25
    """Factor of the predicted velocity."""
    volume: Literal["keyframe", "static", "per_frame"] = "keyframe"
    """Factors shared by keyframes, a static volume, or a volume for every frame."""
    components: tuple[int, int, int] = (8, 0, 0)
    """Components of density and of colour in each of the three orientations."""
    shading: Literal["sh", "rgb"] = "sh"
    """Colour by spherical harmonics of degree 2, or without dependence on the direction."""
    grid_first: tuple[int, int, int] = (128, 128, 128)
    """Cells of the volume at the start."""
    grid_last: tuple[int, int, int] = (800, 800, 400)
    """Cells after the last growth."""
    grow_at: tuple[float, ...] = (0.025, 0.0375, 0.05, 0.0625, 0.075)
    """Shares of `steps` at which the grid grows and the optimiser starts anew (4k, 6k, 8k, 10k, 12k of 160k)."""
    mask_at: tuple[float, ...] = (0.025, 0.05)
    """Shares of `steps` at which the occupancy grid is computed anew."""
    mask_threshold: float = 0.001
    """Opacity of a step below which a cell counts as empty."""
    box_low: tuple[float, float, float] = (-2.0, -2.0, -1.0)
    """Lower corner of the volume."""
    box_high: tuple[float, float, float] = (2.0, 2.0, 1.0)
    """Upper corner of the volume."""
    distance_scale: float = 16.0
    """Factor on the distances in compositing."""
    weight_l1: float = 8e-5
    """Weight of the L1 loss on the density factors; half after the first occupancy grid."""
    weight_tv: float = 0.0125
    """Weight of total variation on the space factors; falls with the learning rate."""
    regularise_until: float = 0.25
    """Share of `steps` after which both stop."""
    source: Literal["world", "technicolor", "neural3d", "donerf"] = "world"
    """Procedural objects, or a real data set."""
    special: Literal["mirror", "glass", "none"] = "mirror"
    """World: the view-dependent solid."""
    solids: int = 3
    """World: diffuse solids beside it."""
    detail: float = 2.0
    """World: frequency of the textures."""
    reach: float = 0.45
    """World: half-width of the square in which the rig's cameras stand, metres."""
    speed: float = 0.0
    """World: how far solids move over the clip."""
    image_size: int = 1088
    """Height and width of the views, pixels."""
    frames: int = 50
    """Frames of the clip; 1 is a static scene."""
    keyframes: int = 12
    """Keyframes of the volume."""
    rig: int = 5
    """Cameras along each side of the rig."""
    steps: int = 160000
    """Optimisation steps (40 epochs of 4000)."""
    batch_size: int = 16384
    """Rays a step."""
    learning_rate: float = 0.02
    """Learning rate of the space factors (Adam)."""
    vector_rate: float = 0.5
    """The other factors' and the basis's rate as a share of it."""
    network_rate: float = 0.0375
    """The sample network's rate as a share of it."""
    final_rate: float = 0.435
    """Share of the learning rate at the last step (0.125 over 100 epochs, of which 40 run)."""
    train_items: int = 500000
    """Training rays; the world's are all pixels of the training cameras."""
    validation_items: int = 4096
    """Validation rays."""
    test_items: int = 4096
    """Test rays: all pixels of the held-out cameras."""
    eval_batch_size: int = 8192
    """Rays a chunk in evaluation."""


_STATIC = Config(
    samples=8, width=64, depth=5, flow=False, volume="static", frames=1, keyframes=1, components=(8, 8, 8),
    grid_first=(32, 32, 24), grid_last=(72, 72, 48), grow_at=(0.15, 0.3, 0.45), mask_at=(0.2, 0.4),
    image_size=64, steps=800, batch_size=1024, ease_steps=250, gate_shift=0.0, final_rate=0.1, network_rate=0.1, regularise_until=0.5,
    train_items=21 * 64**2, validation_items=4 * 64**2, test_items=4 * 64**2, weight_tv=0.05,
)  # fmt: skip

PROFILES = {
    "smoke": replace(
        _STATIC, width=16, image_size=12, steps=4, batch_size=64, final_rate=1.0, grid_first=(8, 8, 8), grid_last=(12, 12, 10),
        train_items=21 * 144, validation_items=4 * 144, test_items=4 * 144,
    ),
    "tutorial": _STATIC,
    "gpu": replace(
        _STATIC, samples=16, width=128, depth=6, image_size=128, steps=8000, batch_size=4096, grid_first=(64, 64, 48),
        grid_last=(192, 192, 128), ease_steps=2000, train_items=21 * 128**2, validation_items=4 * 128**2,
        test_items=4 * 128**2,
    ),
    "paper": Config(source="technicolor"),
}  # fmt: skip

METRICS = (
    metric("psnr"),
    metric("ssim"),
    metric("psnr_reflector"),
    metric("psnr_outside"),
    metric("lpips"),
    metric("bytes"),
    metric("seconds_ratio"),
)

# A moving scene: 8 frames, two keyframes.
VIDEO = {
    "special": "none", "speed": 0.4, "frames": 8, "keyframes": 2, "flow": True, "volume": "keyframe",
}  # fmt: skip

ARMS = (
    Arm("hyperreel", "eight predicted samples a ray", "method", tuned={"learning_rate": 0.08}),
    Arm("uniform", "TensoRF: eight stratified samples (A0)", "baseline", {"sampler": "stratified"}, tuned={"learning_rate": 0.04}),
    Arm("uniform_many", "TensoRF: 32 stratified samples (A0)", "baseline", {"sampler": "stratified", "samples": 32}),
    Arm("no_offset", "samples stay on the ray (A2)", "ablation", {"offsets": False}),
    Arm("video", "keyframes and flow on a moving scene", "method", VIDEO),
    Arm(
        "video_frames", "one volume for every frame (A5)", "baseline", VIDEO | {"volume": "per_frame", "flow": False},
        tuned={"learning_rate": 0.04},
    ),
    Arm("video_held", "keyframes without flow: the nearest one is held (A6)", "baseline", VIDEO | {"flow": False}),
    Arm("two_pass", "coarse-to-fine sampling with eight coloured samples (A1)", "ablation", {"sampler": "two_pass"}),
    Arm("no_colour", "no colour scale and shift (A3)", "ablation", {"colour_transform": False}),
    Arm("open_gates", "gates always open (A4)", "ablation", {"gate": "open"}),
    Arm("samples16", "sixteen predicted samples", "ablation", {"samples": 16}),
    Arm("samples32", "thirty-two predicted samples", "ablation", {"samples": 32}),
    Arm("glass", "the method on a scene with a glass slab", "ablation", {"special": "glass"}),
    Arm("spheres", "concentric spheres, Plücker rays and contraction", "ablation",
        {"primitive": "sphere", "rays": "pluecker", "ray_frequencies": 1, "near": 0.25, "far": 2.0,
         "box_low": (-2.0, -2.0, -2.0), "box_high": (2.0, 2.0, 2.0), "offset_scale": 0.125}),
    Arm("keyframes1", "a single keyframe for the clip (A7)", "ablation", VIDEO | {"keyframes": 1}),
    Arm("keyframes4", "a keyframe every other frame (A7)", "ablation", VIDEO | {"keyframes": 4}),
    Arm("keyframes8", "a keyframe every frame (A7)", "ablation", VIDEO | {"keyframes": 8}),
)  # fmt: skip

CLAIMS = (
    Claim(
        "C1",
        "With few samples a ray it renders better than earlier sampling.",
        "best quality of prior work at few samples; DoNeRF scenes about 35.1 dB (unconfirmed)",
        (Part("difference", "psnr", ("hyperreel", "uniform"), "PSNR, eight predicted against eight stratified samples"),),
    ),
    Claim(
        "C2",
        "It is fast without custom kernels.",
        "up to 18 frames a second at a megapixel",
        (
            Part("noninferior", "psnr", ("hyperreel", "uniform_many"), "held-out PSNR against 32 stratified samples", margin=0.3),
            Part("ratio", "seconds_ratio", ("compare",), "seconds a view over those of 256 stratified samples"),
        ),
    ),
    Claim(
        "C3",
        "Points that leave the ray show reflections that a plain volume cannot.",
        "strongly view-dependent content is handled (introduction)",
        (Part("difference", "psnr_reflector", ("hyperreel", "no_offset"), "PSNR inside the mirror, with and without offsets"),),
    ),
    Claim(
        "C4",
        "Keyframes with flow store dynamic scenes in little memory.",
        "memory-efficient dynamic volume",
        (
            Part("ratio", "bytes", ("video", "video_frames"), "bytes a frame against a volume for every frame"),
            Part("noninferior", "psnr", ("video", "video_frames"), "held-out PSNR against a volume for every frame", margin=0.5),
            Part("difference", "psnr", ("video", "video_held"), "held-out PSNR with flow against the nearest keyframe held"),
        ),
    ),
)  # fmt: skip

DATASETS = (
    DataSet(
        "Technicolor light-field video",
        "technicolor",
        "technicolor/<scene>/cameras_parameters.txt\n"
        "  (a line a camera: focal, cx, cy, aspect, skew, quaternion w x y z, translation x y z)\n"
        "technicolor/<scene>/<scene>_undist_<frame:05d>_<camera:02d>.png (16 cameras)",
        "https://www.interdigital.com/data_sets/light-field-dataset",
        ("psnr", "ssim", "lpips"),
    ),
    DataSet(
        "Neural 3D Video",
        "neural3d",
        "neural3d/<scene>/poses_bounds.npy (a row of 17 numbers a camera)\n"
        "neural3d/<scene>/cam00.mp4, cam01.mp4, ... or folders cam00/0000.png, ...",
        "https://github.com/facebookresearch/Neural_3D_Video",
        ("psnr", "ssim", "lpips"),
    ),
    DataSet(
        "DoNeRF",
        "donerf",
        "donerf/<scene>/dataset_info.json (view cell, depth range, camera_angle_x)\n"
        "donerf/<scene>/transforms_train.json, transforms_test.json (frames: file_path, transform_matrix)\n"
        "donerf/<scene>/train/*.png, test/*.png",
        "https://repository.tugraz.at/records/jjs3x-4f133",
        ("psnr", "ssim", "lpips"),
    ),
)

_JUDGED = ("hyperreel", "uniform", "uniform_many", "no_offset", "video", "video_frames", "video_held")
TUNING = dict.fromkeys(_JUDGED, {"learning_rate": (0.01, 0.02, 0.04, 0.08)})
TUNING_METRIC = "psnr"

PAPER = Paper(
    slug="hyperreel",
    part="fields",
    title="HyperReel: High-Fidelity 6-DoF Video with Ray-Conditioned Sampling",
    first_author="Attal",
    year=2023,
    summary=(
        "A network looks at the ray and places a few samples where they matter, off the ray where light is bent; "
        "a tensor volume of keyframes with flow stores the clip."
    ),
    links={"code": "https://github.com/facebookresearch/hyperreel"},
    reported=(
        Reported(
            "parameters", 391392, "sample network of the Technicolor configuration, counted from the released code"
        ),
        Reported("psnr", 32.7, "Technicolor", "dB", confirmed=False),
        Reported("psnr", 31.1, "Neural 3D Video", "dB", confirmed=False),
        Reported("fps", 18.0, "megapixel, tiny model", "1/s"),
        Reported("fps", 4.0, "Technicolor", "1/s", confirmed=False),
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
