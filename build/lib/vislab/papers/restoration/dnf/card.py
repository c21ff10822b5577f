"""DNF's card: what the paper is, its arms and claims, its configuration at every scale."""

from dataclasses import dataclass
from typing import Literal

from vislab.cards import Arm, Claim, DataSet, Paper, Part, Reported, metric


@dataclass(frozen=True)
class Config:
    """Everything that a run of DNF depends on."""

    architecture: Literal["dnf", "single", "multi", "unet"] = "dnf"
    """DNF, its encoder and sRGB decoder alone, the image-level cascade, or the U-Net of SID."""
    feedback: Literal["gated", "concat", "add"] = "gated"
    """How the RAW decoder's features enter the second encoder pass."""
    denoising_block: Literal["cid", "mcc"] = "cid"
    """Block of the RAW domain."""
    colour_block: Literal["mcc", "cid"] = "mcc"
    """Block of the sRGB domain."""
    switch: Literal["paper", "on", "off"] = "paper"
    """Residual switch: off in the first pass and on after it, always on, or always off."""
    width: int = 32
    """Channels at full resolution."""
    width_scale: float = 1.0
    """Factor on `width`, by which arms are matched in parameters."""
    pattern: Literal["bayer", "xtrans"] = "bayer"
    """Colour filter array."""
    block_size: int = 2
    """Side of the tile that is packed into channels: 2 for Bayer, 3 for X-Trans."""
    weight_rgb: float = 1.0
    """Weight of the L1 loss on the sRGB picture."""
    weight_raw: float = 1.0
    """Weight of the L1 loss on the denoised RAW."""
    source: Literal["world", "sid_sony", "sid_fuji", "mcr"] = "world"
    """The procedural camera, or a real data set."""
    scenes: Literal["leaves", "real"] = "leaves"
    """Training scenes of the procedural camera: dead leaves or crops of real photographs."""
    saturation: float = 0.5
    """Saturation of the procedural scenes."""
    initial_gain: float = 1.0
    """Factor on PyTorch's default initial weights; short training wants sqrt(3), which keeps the variance of a linear layer."""
    image_size: int = 1024
    """Side of the sRGB picture and of the mosaic, pixels."""
    full_well: float = 6000.0
    """Electrons of the brightest photosite at the long exposure."""
    steps: int = 80500
    """Optimisation steps (500 epochs of the 161 training scenes in the paper)."""
    batch_size: int = 1
    """Pictures a step."""
    learning_rate: float = 2e-4
    """Peak learning rate of AdamW."""
    final_rate: float = 0.1
    """The cosine schedule ends at this share of the peak."""
    weight_decay: float = 0.0
    """Weight decay of AdamW."""
    grad_clip: float = 0.1
    """Largest norm of the gradient."""
    train_items: int = 161
    """Training scenes."""
    validation_items: int = 20
    """Validation scenes."""
    test_items: int = 50
    """Test scenes."""
    eval_batch_size: int = 1
    """Pictures a batch in evaluation."""


PROFILES = {
    "smoke": Config(
        width=4, image_size=64, steps=2, batch_size=2, train_items=4, validation_items=2, test_items=2,
        eval_batch_size=2, learning_rate=2e-3, grad_clip=1.0,
    ),
    "tutorial": Config(
        width=10, image_size=64, saturation=1.0, initial_gain=1.732, steps=700, batch_size=2, train_items=300,
        validation_items=40, test_items=60, eval_batch_size=20, learning_rate=8e-3,
    ),
    "gpu": Config(
        width=24, image_size=128, steps=6000, batch_size=16, train_items=2000, validation_items=40, test_items=100,
        eval_batch_size=20, learning_rate=1e-3, grad_clip=1.0,
    ),
    "paper": Config(source="sid_sony"),
}  # fmt: skip

METRICS = (
    metric("psnr"),
    metric("ssim"),
    metric("psnr_real"),
    metric("ssim_real"),
    metric("psnr_raw"),
    metric("delta_e"),
    metric("noise_std"),
    metric("lpips"),
    metric("parameters_ratio"),
    metric("macs_ratio"),
    metric("seconds_ratio"),
    metric("parameters_ratio_multi"),
    metric("macs_ratio_multi"),
    metric("seconds_ratio_multi"),
)

ARMS = (
    Arm("dnf", "decouple and feed back: the paper's network", "method"),
    Arm(
        "single", "encoder and sRGB decoder alone, same width", "baseline",
        {"architecture": "single", "weight_raw": 0.0}, tuned={"learning_rate": 4e-3},
    ),
    Arm(
        "single_matched", "the same, widened to DNF's parameter count", "baseline",
        {"architecture": "single", "weight_raw": 0.0, "width_scale": 1.5},
    ),
    Arm("multi", "denoised RAW image re-encoded by a second encoder, same width", "baseline", {"architecture": "multi"}),
    Arm(
        "multi_matched", "the same, widened to DNF's parameter count", "baseline",
        {"architecture": "multi", "width_scale": 1.0625}, tuned={"learning_rate": 4e-3},
    ),
    Arm(
        "sid_unet", "the U-Net of SID at the same width", "baseline",
        {"architecture": "unet", "weight_raw": 0.0}, tuned={"learning_rate": 4e-3},
    ),
    Arm(
        "unet_matched", "the U-Net of SID narrowed to DNF's parameter count", "baseline",
        {"architecture": "unet", "weight_raw": 0.0, "width_scale": 0.6}, tuned={"learning_rate": 1.2e-2},
    ),
    Arm("feedback_add", "feedback by plain addition", "ablation", {"feedback": "add"}),
    Arm("feedback_concat", "feedback by concatenation and a 1x1 convolution", "ablation", {"feedback": "concat"}),
    Arm("blocks_swapped", "CID and MCC each in the other's domain", "ablation", {"denoising_block": "mcc", "colour_block": "cid"}),
    Arm("switch_on", "residual switch always on", "ablation", {"switch": "on"}),
    Arm("switch_off", "residual switch always off", "ablation", {"switch": "off"}),
    Arm("no_raw_loss", "the denoised RAW is not supervised", "ablation", {"weight_raw": 0.0}),
    Arm("xtrans", "the second camera: 3x3 packing, nine channels", "ablation", {"pattern": "xtrans", "block_size": 3, "image_size": 96}),
    Arm("trained_on_real", "DNF trained on simulated RAW of real photographs", "ablation", {"scenes": "real"}),
    Arm(
        "single_on_real", "the single stage trained on simulated RAW of real photographs", "ablation",
        {"architecture": "single", "weight_raw": 0.0, "width_scale": 1.5, "scenes": "real"},
    ),
)  # fmt: skip

CLAIMS = (
    Claim(
        "dnf-1",
        "DNF restores better than the best networks before it.",
        "+0.97 dB (SID Sony) and +1.30 dB (SID Fuji) over the previous best",
        (
            Part("difference", "psnr", ("dnf", "unet_matched"), "PSNR against the U-Net of equal size", smallest=0.97),
            Part("difference", "psnr", ("dnf", "sid_unet"), "PSNR against the U-Net of equal width", smallest=0.97),
            Part("difference", "psnr", ("dnf", "multi_matched"), "PSNR against the two-stage network of equal size"),
            Part("difference", "psnr_real", ("dnf", "unet_matched"), "PSNR on RAW from real photographs"),
        ),
    ),
    Claim(
        "dnf-2",
        "Feeding features back beats handing over an image, which beats a single stage.",
        "ablation tables of the paper",
        (
            Part("difference", "psnr", ("dnf", "multi"), "PSNR, feature feedback against image hand-over, same width"),
            Part("difference", "psnr", ("multi", "single"), "PSNR, image hand-over against a single stage, same width"),
            Part(
                "difference",
                "psnr",
                ("dnf", "single_matched"),
                "PSNR, feature feedback against a single stage of equal size",
            ),
            Part(
                "difference",
                "psnr",
                ("dnf", "multi_matched"),
                "PSNR, feature feedback against image hand-over of equal size",
            ),
        ),
    ),
    Claim(
        "dnf-3",
        "It needs a fraction of the parameters and of the compute of its rivals.",
        "19% of the parameters and 63% of the FLOPs of MCR (15.0 M), which is not the rival measured here",
        (
            Part(
                "exact",
                "parameters_ratio",
                ("compare",),
                "parameters, DNF over the U-Net of SID, paper scale",
                margin=1.0,
            ),
            Part(
                "exact",
                "macs_ratio",
                ("compare",),
                "multiply-accumulates, DNF over the U-Net of SID, paper scale",
                margin=1.0,
            ),
            Part("ratio", "seconds_ratio", ("compare",), "latency, DNF over the U-Net of SID, paper scale"),
        ),
    ),
    Claim(
        "dnf-4",
        "Decoupling the domains removes colour shift and residual noise.",
        "shown in the paper's figures",
        (
            Part("difference", "delta_e", ("dnf", "single_matched"), "CIEDE2000 of the blurred picture"),
            Part("difference", "noise_std", ("dnf", "single_matched"), "standard deviation left in flat areas"),
        ),
    ),
)

DATASETS = (
    DataSet(
        "SID",
        "sid",
        "sid/Sony/short/10003_00_0.04s.ARW\nsid/Sony/long/10003_00_10s.ARW\nsid/Fuji/short/*.RAF\nsid/Fuji/long/*.RAF\n"
        "sid/Sony_train_list.txt, Sony_val_list.txt, Sony_test_list.txt, Fuji_*_list.txt\n"
        "  (lines: ./Sony/short/NAME ./Sony/long/NAME ISO200 F9)",
        "https://github.com/cchen156/Learning-to-See-in-the-Dark",
        ("psnr", "ssim", "lpips"),
    ),
    DataSet(
        "MCR",
        "mcr",
        "mcr/Mono_Colored_RAW_Paired_DATASET/Color_RAW_Input/*.tif\n"
        "mcr/Mono_Colored_RAW_Paired_DATASET/RGB_GT/*.jpg\n"
        "mcr/Mono_Colored_RAW_Paired_DATASET/{train,test}.txt\n  (lines: Color_RAW_Input/NAME RGB_GT/NAME RATIO)",
        "https://github.com/TCL-AILab/Abandon_Bayer-Filter_See_in_the_Dark",
        ("psnr", "ssim"),
    ),
)

# The learning rate is the one thing that all networks are sensitive to; every judged arm gets the same grid.
_RATES = {"learning_rate": (2e-3, 4e-3, 8e-3, 1.2e-2)}
TUNING = dict.fromkeys(
    ("dnf", "single", "single_matched", "multi", "multi_matched", "sid_unet", "unet_matched"), _RATES
)
TUNING_METRIC = "psnr"

PAPER = Paper(
    slug="dnf",
    part="restoration",
    title="DNF: Decouple and Feedback Network for Seeing in the Dark",
    first_author="Jin",
    year=2023,
    summary=(
        "Denoise in the RAW domain, where noise is simple, and develop in the sRGB domain, where colour is one matrix; "
        "hand features, not images, from one to the other."
    ),
    links={"code": "https://github.com/Srameo/DNF"},
    reported=(
        Reported("parameters", 2.835e6, "SID Sony configuration, counted from the released code"),
        Reported("macs", 57.0e9, "SID Sony", "FLOPs", confirmed=False),
        Reported("psnr", 30.62, "SID Sony", "dB", confirmed=False),
        Reported("ssim", 0.797, "SID Sony", confirmed=False),
        Reported("lpips", 0.343, "SID Sony", confirmed=False),
        Reported("psnr", 28.71, "SID Fuji", "dB", confirmed=False),
        Reported("ssim", 0.726, "SID Fuji", confirmed=False),
        Reported("lpips", 0.391, "SID Fuji", confirmed=False),
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
