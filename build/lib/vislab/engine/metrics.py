"""Metrics, through torchmetrics where it has them; imported inside, since it costs seconds."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.errors import UserError


def psnr(
    prediction: Float[Tensor, "batch channel height width"],
    target: Float[Tensor, "batch channel height width"],
    data_range: float = 1.0,
) -> Float[Tensor, " batch"]:
    """Peak signal-to-noise ratio of each image, dB."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return peak_signal_noise_ratio(prediction, target, data_range=data_range, reduction="none", dim=(1, 2, 3))


def ssim(
    prediction: Float[Tensor, "batch channel height width"],
    target: Float[Tensor, "batch channel height width"],
    data_range: float = 1.0,
) -> Float[Tensor, " batch"]:
    """Structural similarity of each image, Gaussian window of 11 pixels."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    value = structural_similarity_index_measure(prediction, target, data_range=data_range, reduction="none")
    return value.reshape(len(prediction))


def lpips(
    prediction: Float[Tensor, "batch 3 height width"], target: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, " batch"]:
    """LPIPS (AlexNet) of each image in [0, 1].

    Needs the weights of torchvision's AlexNet; raises UserError when they are neither cached nor downloadable.
    """
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity as distance

    try:
        pairs = zip(prediction.split(1), target.split(1), strict=True)
        return torch.stack([distance(a, b, net_type="alex", normalize=True) for a, b in pairs])
    except OSError as error:
        raise UserError(
            "LPIPS needs torchvision's AlexNet weights (alexnet-owt-7be5be79.pth) in torch's hub cache; "
            "fetch them once on a machine with a network"
        ) from error


def calibration(
    probabilities: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], bins: int = 15
) -> dict[str, float]:
    """Expected and maximum calibration error of the top prediction over equal-width bins, percent."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    classes = probabilities.shape[1]
    return {
        name: 100 * float(multiclass_calibration_error(probabilities, labels, classes, bins, norm))
        for name, norm in (("ece", "l1"), ("mce", "max"))
    }


def accuracy(scores: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> float:
    """Share of items whose top score is at the label, percent."""
    return 100 * float((scores.argmax(dim=1) == labels).double().mean())
