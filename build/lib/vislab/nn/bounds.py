"""Certified bounds on a feed-forward network's outputs over a box of inputs: intervals, forward and backward linear relaxations.

Networks are plain sequences of Conv2d, Linear, BatchNorm (folded first), AvgPool2d, MaxPool2d (intervals only), Flatten and ReLU.
Every method bounds all inputs with lower <= x <= upper; rows of a `matrix` bound differences of outputs tightly,
because the matrix is merged into the last linear layer.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Method = Literal["ibp", "forward", "crown_ibp", "crown"]
Box = tuple[Tensor, Tensor]
AFFINE = (nn.Conv2d, nn.Linear, nn.AvgPool2d)


@torch.no_grad()
def folded(model: nn.Sequential) -> list[nn.Module]:
    """The layers of a network in evaluation mode with every batch normalisation merged into the affine layer before it.

    Dropout and identities are left out.
    Raises TypeError for a layer that no method bounds.
    """
    found: list[nn.Module] = []
    for layer in flatten_layers(model):
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            if not found or not isinstance(found[-1], (nn.Conv2d, nn.Linear)):
                raise TypeError("a batch normalisation must follow a convolution or a linear layer")
            found[-1] = _merged(found[-1], layer)
        elif isinstance(layer, (*AFFINE, nn.MaxPool2d, nn.ReLU, nn.Flatten)):
            found.append(layer)
        elif not isinstance(layer, (nn.Dropout, nn.Identity)):
            raise TypeError(f"no bounds for a layer of type {type(layer).__name__}")
    return found


def flatten_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of nested sequences, in order."""
    if isinstance(model, nn.Sequential):
        return [layer for child in model for layer in flatten_layers(child)]
    return [model]


def _merged(layer: nn.Module, norm: nn.Module) -> nn.Module:
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    bias = layer.bias if layer.bias is not None else torch.zeros_like(norm.running_mean)
    merged = _copy(layer)
    merged.weight = nn.Parameter(layer.weight * scale.reshape(-1, *[1] * (layer.weight.ndim - 1)))
    merged.bias = nn.Parameter((bias - norm.running_mean) * scale + norm.bias)
    return merged.requires_grad_(False)


def _copy(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, layer.out_features).to(layer.weight)
    return nn.Conv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, groups=layer.groups
    ).to(layer.weight)


# -- intervals --------------------------------------------------------------------------------------------------------


def interval(layer: nn.Module, box: Box) -> Box:
    """One layer's output interval; exact for a single layer."""
    lower, upper = box
    if isinstance(layer, AFFINE):
        centre, radius = (upper + lower) / 2, (upper - lower) / 2
        middle, spread = layer(centre), magnitude(layer, radius)
        return middle - spread, middle + spread
    return layer(lower), layer(upper)  # monotone: ReLU, MaxPool2d, Flatten


def magnitude(layer: nn.Module, value: Tensor) -> Tensor:
    """An affine layer with its weights' absolute values and without its bias."""
    if isinstance(layer, nn.Linear):
        return F.linear(value, layer.weight.abs())
    if isinstance(layer, nn.AvgPool2d):
        return layer(value)
    return F.conv2d(value, layer.weight.abs(), None, layer.stride, layer.padding, groups=layer.groups)


def intervals(layers: Sequence[nn.Module], box: Box) -> list[Box]:
    """The interval of every layer's input, then of the last one's output (IBP)."""
    found = [box]
    for layer in layers:
        found.append(interval(layer, found[-1]))
    return found


# -- relaxation of the ReLU -------------------------------------------------------------------------------------------


def lines(box: Box) -> tuple[Tensor, Tensor, Tensor]:
    """(upper slope, upper intercept, lower slope) of lines around max(x, 0) on an interval.

    The upper line is the chord; the lower one is 0 or x, whichever leaves the smaller area.
    """
    lower, upper = box
    crosses = (lower < 0) & (upper > 0)
    chord = upper / torch.where(crosses, upper - lower, torch.ones_like(upper))
    active = (lower >= 0).to(upper)
    above = torch.where(crosses, chord, active)
    intercept = torch.where(crosses, -chord * lower, torch.zeros_like(upper))
    below = torch.where(crosses, (upper > -lower).to(upper), active)
    return above, intercept, below


# -- backward ---------------------------------------------------------------------------------------------------------


def _through(layer: nn.Module, rows: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor | float]:
    """Rows over an affine layer's output as rows over its input of `shape`, and what its bias adds to each."""
    if isinstance(layer, nn.Linear):
        offset = rows @ layer.bias if layer.bias is not None else 0.0
        return rows @ layer.weight, offset
    flat = rows.flatten(0, 1)
    if isinstance(layer, nn.AvgPool2d):
        channels, kernel = shape[0], _pair(layer.kernel_size)
        weight = torch.full((channels, 1, *kernel), 1 / (kernel[0] * kernel[1]), device=rows.device, dtype=rows.dtype)
        stride, padding, groups = layer.stride, layer.padding, channels
        offset = 0.0
    else:
        weight, stride, padding, groups = layer.weight, layer.stride, layer.padding, layer.groups
        offset = (rows.sum(dim=(-1, -2)) @ layer.bias) if layer.bias is not None else 0.0
    stride, padding, kernel = _pair(stride), _pair(padding), weight.shape[-2:]
    left = [shape[1 + k] - ((flat.shape[-2 + k] - 1) * stride[k] - 2 * padding[k] + kernel[k]) for k in (0, 1)]
    back = F.conv_transpose2d(flat, weight, None, stride, padding, left, groups)
    return back.unflatten(0, rows.shape[:2]), offset


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def backward(layers: Sequence[nn.Module], boxes: Sequence[Box], rows: Float[Tensor, "batch row *output"]) -> Tensor:
    """Upper bounds (batch, row) of `rows` applied to the output of `layers`, by substituting from the last layer to the first.

    `boxes` are the intervals of each layer's input; a row's sign decides which line replaces each ReLU.
    Rows that are the same for every item may come with a batch of one.
    """
    total: Tensor | float = 0.0
    for layer, (lower, upper) in zip(reversed(layers), reversed(boxes), strict=True):
        if isinstance(layer, AFFINE):
            rows, offset = _through(layer, rows, lower.shape[1:])
            total = total + offset
        elif isinstance(layer, nn.Flatten):
            rows = rows.reshape(*rows.shape[:2], *lower.shape[1:])
        elif isinstance(layer, nn.ReLU):
            above, intercept, below = (v[:, None] for v in lines((lower, upper)))
            positive, negative = rows.clamp(min=0), rows.clamp(max=0)
            total = total + (positive * intercept).flatten(2).sum(dim=-1)
            rows = positive * above + negative * below
        else:
            raise TypeError(f"no linear relaxation of a {type(layer).__name__}")
    lower, upper = (v.flatten(1)[:, None] for v in boxes[0])
    flat = rows.flatten(2)
    return (flat.clamp(min=0) * upper + flat.clamp(max=0) * lower).sum(dim=-1) + total


def tightened(layers: Sequence[nn.Module], box: Box) -> list[Box]:
    """As `intervals`, with every ReLU's input bounded by substitution back to the network's input and cut with the interval."""
    boxes = [box]
    for k, layer in enumerate(layers):
        before = interval(layer, boxes[-1])
        follows = k + 1 < len(layers) and isinstance(layers[k + 1], nn.ReLU)
        first = not any(isinstance(other, nn.ReLU) for other in layers[:k])
        if follows and not first:  # before the first ReLU the interval of one affine layer is already exact
            size = before[0][0].numel()
            eye = torch.eye(size, device=box[0].device, dtype=box[0].dtype).reshape(1, size, *before[0].shape[1:])
            high = backward(layers[: k + 1], boxes, eye).reshape(before[0].shape)
            low = -backward(layers[: k + 1], boxes, -eye).reshape(before[0].shape)
            before = torch.maximum(before[0], low), torch.minimum(before[1], high)
        boxes.append(before)
    return boxes


# -- forward ----------------------------------------------------------------------------------------------------------


def forward(layers: Sequence[nn.Module], box: Box, rows: Float[Tensor, "batch row output"]) -> Tensor:
    """Upper bounds (batch, row) of `rows` applied to the output, with linear functions of the input carried forwards.

    Every value lies between two linear functions of x; they hold one coefficient an input, so memory grows with the input.
    """
    lower, upper = box
    batch, size = len(lower), lower[0].numel()
    eye = torch.eye(size, device=lower.device, dtype=lower.dtype).reshape(1, size, *lower.shape[1:])
    low = high = eye.expand(batch, *eye.shape[1:])  # (batch, input, *shape): coefficients
    low_bias = high_bias = torch.zeros_like(lower)
    now = box
    for layer in layers[:-1]:
        if isinstance(layer, AFFINE):
            low, high, low_bias, high_bias = _affine(layer, low, high, low_bias, high_bias)
            found = _concrete(low, low_bias, box, False), _concrete(high, high_bias, box, True)
            cut = interval(layer, now)
            now = torch.maximum(found[0], cut[0]), torch.minimum(found[1], cut[1])
        elif isinstance(layer, nn.ReLU):
            above, intercept, below = lines(now)
            low, low_bias = low * below[:, None], low_bias * below
            high, high_bias = high * above[:, None], high_bias * above + intercept
            now = interval(layer, now)
        elif isinstance(layer, nn.Flatten):
            low, high = low.flatten(2), high.flatten(2)
            low_bias, high_bias, now = low_bias.flatten(1), high_bias.flatten(1), interval(layer, now)
        else:
            raise TypeError(f"no linear relaxation of a {type(layer).__name__}")
    last = layers[-1]
    merged = rows @ last.weight
    offset = rows @ last.bias if last.bias is not None else 0.0
    positive, negative = merged.clamp(min=0), merged.clamp(max=0)
    slope = torch.einsum("brh,bih->bri", positive, high) + torch.einsum("brh,bih->bri", negative, low)
    bias = torch.einsum("brh,bh->br", positive, high_bias) + torch.einsum("brh,bh->br", negative, low_bias) + offset
    x_low, x_high = lower.flatten(1)[:, None], upper.flatten(1)[:, None]
    return (slope.clamp(min=0) * x_high + slope.clamp(max=0) * x_low).sum(dim=-1) + bias


def _affine(
    layer: nn.Module, low: Tensor, high: Tensor, low_bias: Tensor, high_bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    def apply(positive: bool, value: Tensor) -> Tensor:
        if isinstance(layer, nn.AvgPool2d):
            return layer(value) if positive else torch.zeros_like(layer(value))
        weight = layer.weight.clamp(min=0) if positive else layer.weight.clamp(max=0)
        if isinstance(layer, nn.Linear):
            return F.linear(value, weight)
        return F.conv2d(value, weight, None, layer.stride, layer.padding, groups=layer.groups)

    def spread(value: Tensor, positive: bool) -> Tensor:
        return apply(positive, value.flatten(0, 1)).unflatten(0, value.shape[:2])

    bias = getattr(layer, "bias", None)
    add = 0.0 if bias is None else bias.reshape(1, -1, *[1] * (low_bias.ndim - 2))
    return (
        spread(low, True) + spread(high, False),
        spread(high, True) + spread(low, False),
        apply(True, low_bias) + apply(False, high_bias) + add,
        apply(True, high_bias) + apply(False, low_bias) + add,
    )


def _concrete(slope: Tensor, bias: Tensor, box: Box, above: bool) -> Tensor:
    lower, upper = (v.flatten(1) for v in box)
    first, second = (upper, lower) if above else (lower, upper)
    flat = slope.flatten(2)
    value = torch.einsum("bi,bih->bh", first, flat.clamp(min=0)) + torch.einsum("bi,bih->bh", second, flat.clamp(max=0))
    return value.reshape(bias.shape) + bias


# -- together ---------------------------------------------------------------------------------------------------------


def upper_bounds(
    layers: Sequence[nn.Module], box: Box, matrix: Float[Tensor, "batch row output"], method: Method = "crown"
) -> Float[Tensor, "batch row"]:
    """Certified upper bounds of `matrix @ output` over the box.

    `ibp` uses intervals up to the last layer; `forward` and `crown` carry linear functions forwards, or substitute backwards;
    `crown_ibp` substitutes backwards once, with intervals for the hidden layers.
    No method returns less than another's valid bound would allow: linear ones are cut with the intervals' bound.
    """
    last = layers[-1]
    if not isinstance(last, nn.Linear):
        raise TypeError(f"the last layer must be linear, not {type(last).__name__}")
    boxes = tightened(layers[:-1], box) if method == "crown" else intervals(layers[:-1], box)
    merged = matrix @ last.weight
    offset = matrix @ last.bias if last.bias is not None else 0.0
    low, high = (v[:, None] for v in boxes[-1])
    plain = (merged.clamp(min=0) * high + merged.clamp(max=0) * low).sum(dim=-1) + offset
    if method == "ibp":
        return plain
    if method == "forward":
        return torch.minimum(forward(layers, box, matrix), plain)
    return torch.minimum(backward(layers[:-1], boxes[:-1], merged) + offset, plain)


def differences(labels: Tensor, classes: int) -> Float[Tensor, "batch row classes"]:
    """Rows e_c' - e_c for the class c of each item and every other class c', in the order of c'."""
    eye = torch.eye(classes, device=labels.device)
    others = torch.arange(classes - 1, device=labels.device).expand(len(labels), -1)
    others = others + (others >= labels[:, None]).long()
    return eye[others] - eye[labels][:, None]
