"""What diffusion models share: schedules and samplers (diffusers), training targets, guidance, dropped conditions.

A noisy item is x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps, with a_t the schedule's cumulative product.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Target = Literal["epsilon", "sample", "v_prediction"]
"""What a network predicts, by diffusers' names: the noise, the clean item, or sqrt(a) eps - sqrt(1 - a) x_0."""
SAMPLERS = ("ddpm", "ddim", "euler_ancestral")


def scheduler(
    sampler: str, schedule: str = "squaredcos_cap_v2", target: Target = "epsilon", times: int = 1000, **more: Any
):
    """A diffusers scheduler over `times` training steps; `more` goes to it as it is.

    `schedule` is diffusers' name: "linear", "scaled_linear" (Stable Diffusion's, beta 0.00085 to 0.012) or "squaredcos_cap_v2".
    Raises ValueError for an unknown sampler, and for Euler's with "sample", which diffusers does not have.
    """
    import diffusers

    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}; known are {', '.join(SAMPLERS)}")
    if sampler == "euler_ancestral" and target == "sample":
        raise ValueError("the Euler ancestral sampler takes epsilon or v_prediction, not sample")
    kinds = {
        "ddpm": diffusers.DDPMScheduler,
        "ddim": diffusers.DDIMScheduler,
        "euler_ancestral": diffusers.EulerAncestralDiscreteScheduler,
    }
    settings = {"num_train_timesteps": times, "beta_schedule": schedule, "prediction_type": target}
    if schedule == "scaled_linear":
        settings |= {"beta_start": 0.00085, "beta_end": 0.012}
    if sampler != "euler_ancestral":
        settings |= {"clip_sample": False}
    return kinds[sampler](**settings | more)


def cumulative(schedule: str = "squaredcos_cap_v2", times: int = 1000) -> Float[Tensor, " times"]:
    """a_t for t = 0 .. times - 1, falling from nearly 1 to nearly 0."""
    return scheduler("ddpm", schedule, times=times).alphas_cumprod


def _at(cumulative: Tensor, time: Tensor, like: Tensor) -> Tensor:
    return cumulative.to(like.device, like.dtype)[time].reshape(-1, *[1] * (like.ndim - 1))


def add_noise(
    clean: Float[Tensor, "batch *item"], noise: Tensor, time: Int[Tensor, " batch"], cumulative: Float[Tensor, " times"]
) -> Float[Tensor, "batch *item"]:
    """x_t of the forward process."""
    share = _at(cumulative, time, clean)
    return share.sqrt() * clean + (1 - share).sqrt() * noise


def training_target(
    clean: Float[Tensor, "batch *item"], noise: Tensor, time: Int[Tensor, " batch"], cumulative: Tensor, target: Target
) -> Float[Tensor, "batch *item"]:
    """What the network should output at x_t."""
    share = _at(cumulative, time, clean)
    return {
        "epsilon": lambda: noise,
        "sample": lambda: clean,
        "v_prediction": lambda: share.sqrt() * noise - (1 - share).sqrt() * clean,
    }[target]()


def predicted_clean(
    output: Float[Tensor, "batch *item"], noisy: Tensor, time: Int[Tensor, " batch"], cumulative: Tensor, target: Target
) -> Float[Tensor, "batch *item"]:
    """x_0 as the network's output implies it."""
    share = _at(cumulative, time, noisy)
    return {
        "epsilon": lambda: (noisy - (1 - share).sqrt() * output) / share.sqrt(),
        "sample": lambda: output,
        "v_prediction": lambda: share.sqrt() * noisy - (1 - share).sqrt() * output,
    }[target]()


@torch.no_grad()
def sample(
    denoise: Callable[[Tensor, Tensor], Tensor],
    scheduler: Any,
    noise: Float[Tensor, "batch *item"],
    steps: int,
    generator: torch.Generator | None = None,
    start: float = 0.0,
    clean: Tensor | None = None,
    each: Callable[[int, Tensor], Tensor] | None = None,
) -> Float[Tensor, "batch *item"]:
    """Run a diffusers scheduler from `noise` (unit variance) in `steps` network calls.

    `denoise(x, time)` gives the network's output; `time` is a 0-D tensor.
    With `start` > 0 the run begins at that share of the steps, from `clean` noised to there (SDEdit with strength 1 - start).
    `each(k, x)` may look at or change x after step k.
    """
    scheduler.set_timesteps(steps, device=noise.device)
    times = scheduler.timesteps
    first = min(int(start * steps), steps - 1)
    if first:
        x = scheduler.add_noise(clean, noise, times[first : first + 1].expand(len(noise)))
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
    else:
        x = noise * scheduler.init_noise_sigma
    takes_generator = "generator" in scheduler.step.__code__.co_varnames
    extra = {"generator": generator} if takes_generator and generator is not None else {}
    for k, time in enumerate(times[first:]):
        output = denoise(scheduler.scale_model_input(x, time), time)
        x = scheduler.step(output, time, x, **extra).prev_sample
        x = x if each is None else each(k, x)
    return x


def guided(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: e(0) + s [e(c) - e(0)]."""
    return unconditional + scale * (conditional - unconditional)


def guided_twice(none: Tensor, first: Tensor, both: Tensor, first_scale: float, second_scale: float) -> Tensor:
    """Guidance with two conditions: e(0, 0) + s1 [e(c1, 0) - e(0, 0)] + s2 [e(c1, c2) - e(c1, 0)]."""
    return none + first_scale * (first - none) + second_scale * (both - first)


def dropped(
    uniform: Float[Tensor, " batch"], first: float, second: float, both: float
) -> tuple[Bool[Tensor, " batch"], Bool[Tensor, " batch"]]:
    """Which items lose the first and which the second condition: one uniform number an item decides.

    Shares `first` and `second` lose that condition alone, a share `both` loses both.
    """
    one = uniform < first + both
    two = (uniform >= first) & (uniform < first + both + second)
    return one, two
