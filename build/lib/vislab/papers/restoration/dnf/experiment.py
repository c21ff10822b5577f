"""One run of an arm, its evaluation, and the comparison of size and speed."""

import dataclasses
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.engine.fit import State
from vislab.engine.measure import compared, interleaved, macs, parameters
from vislab.engine.metrics import lpips, psnr, ssim
from vislab.engine.outcome import Outcome
from vislab.ops.colour import delta_e_2000, lab_from_srgb
from vislab.papers.restoration.dnf.card import Config
from vislab.papers.restoration.dnf.data import batch
from vislab.papers.restoration.dnf.model import build
from vislab.papers.restoration.dnf.train import train

ITEMS = {"validation": "validation_items", "test": "test_items"}


@torch.no_grad()
def predict(model: nn.Module, noisy: Float[Tensor, "batch packed h w"]) -> dict[str, Tensor]:
    """The network's picture, clipped to [0, 1], and its RAW where it has one."""
    model.eval()
    found = model(noisy)
    return found | {"rgb": found["rgb"].clamp(0, 1)}


def evaluate(state: State, config: Config, seed: int, split: str = "test") -> dict[str, float]:
    """Means over the split: PSNR and SSIM on 8-bit pictures, CIEDE2000 of the blurred picture, noise in flat areas, PSNR of the RAW.

    On the world, `psnr_real` and `ssim_real` are the same on simulated RAW of real photographs.
    """
    count = getattr(config, ITEMS[split])
    found = _scores(state, config, seed, split, count, None)
    if config.source == "world":
        real = _scores(state, config, seed, split, max(2, count // 2), "real")
        found |= {"psnr_real": real["psnr"], "ssim_real": real["ssim"]}
    return found


def _scores(state: State, config: Config, seed: int, split: str, count: int, scenes: Any) -> dict[str, float]:
    totals: dict[str, list[Tensor]] = {}
    if config.source == "world" and scenes is None:
        scenes = "leaves"
    for index in torch.arange(count).split(config.eval_batch_size):
        items = batch(config, split, seed, index, state.device, scenes)
        found = predict(state.network, items["noisy"])
        rgb = (found["rgb"] * 255).round() / 255
        target = (items["rgb"] * 255).round() / 255
        scores = {
            "psnr": psnr(rgb, target),
            "ssim": ssim(rgb, target),
            "delta_e": colour_shift(rgb, target),
            "noise_std": flat_noise(rgb, target),
        }
        if config.source != "world":
            scores["lpips"] = lpips(rgb, target)
        if "raw" in found:
            scores["psnr_raw"] = psnr(found["raw"].clamp(0, 1), items["raw"])
        for name, value in scores.items():
            totals.setdefault(name, []).append(value.cpu())
    return {name: float(torch.cat(values).mean()) for name, values in totals.items()}


def blur(image: Float[Tensor, "batch 3 h w"], size: int = 9) -> Float[Tensor, "batch 3 h w"]:
    """Box blur with reflected borders."""
    return F.avg_pool2d(F.pad(image, (size // 2,) * 4, mode="reflect"), size, stride=1)


def colour_shift(rgb: Float[Tensor, "batch 3 h w"], target: Tensor) -> Float[Tensor, " batch"]:
    """Mean CIEDE2000 between the blurred pictures: the error in colour that is not noise."""
    return delta_e_2000(lab_from_srgb(blur(rgb)), lab_from_srgb(blur(target))).mean(dim=(-2, -1))


def flat_noise(rgb: Float[Tensor, "batch 3 h w"], target: Tensor) -> Float[Tensor, " batch"]:
    """Standard deviation of what is left of the error after blurring, in the flattest quarter of the target."""
    error = rgb - target
    rough = (error - blur(error)).square().mean(dim=1)
    detail = (target - blur(target)).square().mean(dim=1)
    limit = detail.flatten(1).quantile(0.25, dim=1)[:, None, None]
    flat = (detail <= limit).float()
    return ((rough * flat).sum(dim=(1, 2)) / flat.sum(dim=(1, 2))).sqrt()


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm; the first seed keeps one test picture for the figures."""
    state = train(config, seed, accelerator, shared)
    metrics = evaluate(state, config, seed)
    return Outcome(metrics, artifacts(state, config, seed) if seed == 0 else {})


def artifacts(state: State, config: Config, seed: int) -> dict[str, Tensor]:
    """One real test picture as restored, and the loss curve in 40 points."""
    found = {}
    if config.source == "world":
        noisy = batch(config, "test", seed, torch.tensor([1]), state.device, "real")["noisy"]
        found["real"] = picture(predict(state.network, noisy)["rgb"][0])
    curve = torch.tensor([h["rgb"] for h in state.history])
    width = max(1, len(curve) // 40)
    found["curve"] = curve[: len(curve) // width * width].reshape(-1, width).mean(dim=1)
    return found


def picture(image: Float[Tensor, "3 h w"]) -> Tensor:
    """(height, width, 3) uint8 of an image in [0, 1]."""
    return (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu()


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Size, multiply-accumulates and latency of DNF against the U-Net of SID and against `multi`, at the paper's widths.

    All networks see the same packed input, in turns within one process.
    """
    from vislab.papers.restoration.dnf.card import PROFILES

    paper = PROFILES["paper"]
    sides = {
        name: build(dataclasses.replace(paper, architecture=name)).eval().to(accelerator.device)
        for name in ("dnf", "unet", "multi")
    }
    side = 512 if accelerator.device.type == "cuda" else 2 * config.image_size
    noisy = torch.full((1, 4, side, side), 0.5, device=accelerator.device)
    with torch.no_grad():
        times = interleaved({n: lambda m=m: m(noisy) for n, m in sides.items()}, repeats=10)
    found = {}
    for suffix, rival in (("", "unet"), ("_multi", "multi")):
        found[f"parameters_ratio{suffix}"] = parameters(sides["dnf"]) / parameters(sides[rival])
        found[f"macs_ratio{suffix}"] = macs(lambda: sides["dnf"](noisy)) / macs(lambda r=rival: sides[r](noisy))
        found |= compared(f"seconds_ratio{suffix}", times["dnf"], times[rival])
    return Outcome(found)
