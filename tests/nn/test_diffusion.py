"""Schedules, targets, samplers and guidance."""

import pytest
import torch

from vislab.nn import diffusion
from vislab.ops import counter

CUMULATIVE = diffusion.cumulative()


def _normal(name, *shape):
    return counter.normal(0, "noise", torch.arange(shape[0]), name, shape[1:])


@pytest.mark.parametrize("target", ["epsilon", "sample", "v_prediction"])
def test_target_gives_back_clean_item(target):
    clean, noise, time = _normal("clean", 6, 3, 4), _normal("noise", 6, 3, 4), torch.tensor([0, 5, 100, 500, 900, 990])
    noisy = diffusion.add_noise(clean, noise, time, CUMULATIVE)
    output = diffusion.training_target(clean, noise, time, CUMULATIVE, target)
    back = diffusion.predicted_clean(output, noisy, time, CUMULATIVE, target)
    assert torch.allclose(back, clean, atol=2e-3)


def test_add_noise_keeps_unit_variance():
    clean, noise = _normal("clean", 4000, 2), _normal("noise", 4000, 2)
    for time in (0, 300, 999):
        noisy = diffusion.add_noise(clean, noise, torch.full((4000,), time), CUMULATIVE)
        assert abs(float(noisy.var()) - 1) < 0.05


@pytest.mark.parametrize(
    ("sampler", "target"), [("ddim", "epsilon"), ("ddim", "sample"), ("euler_ancestral", "epsilon")]
)
def test_exact_denoiser_samples_the_one_item(sampler, target):
    """For a data set of one item the best network is known in closed form, and sampling ends there."""
    item = torch.tensor([0.5, -1.0, 2.0])
    schedule = diffusion.scheduler(sampler, "scaled_linear", target)
    share = schedule.alphas_cumprod

    def denoise(x, time):
        a = share[time.long()]
        return (x - a.sqrt() * item) / (1 - a).sqrt() if target == "epsilon" else item.expand_as(x)

    generator = counter.generator(0, "noise", "sampler")
    found = diffusion.sample(denoise, schedule, _normal("start", 5, 3), 20, generator)
    assert torch.allclose(found, item.expand(5, 3), atol=0.05)


def test_sampling_from_the_middle_stays_near():
    schedule = diffusion.scheduler("ddim", "scaled_linear", "epsilon")
    clean, noise = _normal("clean", 4, 8), _normal("noise", 4, 8)
    stay = lambda x, time: noise  # noqa: E731  the true noise of the forward process
    near = diffusion.sample(stay, schedule, noise, 20, start=0.7, clean=clean)
    assert torch.allclose(near, clean, atol=0.05)


def test_guidance_by_hand():
    none, image, both = (torch.full((1,), v) for v in (1.0, 2.0, 4.0))
    assert float(diffusion.guided(none, image, 3.0)) == 4.0
    assert float(diffusion.guided_twice(none, image, both, 1.0, 1.0)) == 4.0
    assert float(diffusion.guided_twice(none, image, both, 1.5, 7.5)) == 1 + 1.5 * 1 + 7.5 * 2


def test_dropped_shares():
    uniform = counter.uniform(0, "batches", torch.arange(20000), "drop", (), 0, 1)
    one, two = diffusion.dropped(uniform, 0.05, 0.1, 0.2)
    assert abs(float((one & ~two).float().mean()) - 0.05) < 0.01
    assert abs(float((two & ~one).float().mean()) - 0.10) < 0.01
    assert abs(float((one & two).float().mean()) - 0.20) < 0.01


def test_unknown_sampler():
    with pytest.raises(ValueError, match="euler_ancestral"):
        diffusion.scheduler("euler")
    with pytest.raises(ValueError, match="sample"):
        diffusion.scheduler("euler_ancestral", target="sample")
