"""Costs: parameters and multiply-accumulates by hand, ratios of interleaved times."""

import pytest
import torch
from torch import nn

from vislab.engine.measure import compared, interleaved, macs, parameters, ratio_interval


def test_macs_and_parameters_of_a_convolution_and_a_linear_layer():
    conv, linear = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(10, 4)
    assert parameters(conv) == 3 * 8 * 9 + 8
    assert macs(lambda: conv(torch.zeros(2, 3, 5, 5))) == 2 * 25 * 8 * 27
    assert macs(lambda: linear(torch.zeros(6, 10))) == 240


def test_skipped_work_is_not_counted():
    conv = nn.Conv2d(1, 1, 3)
    assert macs(lambda: None) == 0 < macs(lambda: conv(torch.zeros(1, 1, 3, 3)))


def test_sides_take_turns():
    order = []
    times = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=3, warmup=1)
    assert order == ["a", "b"] * 4 and len(times["a"]) == 3


def test_ratio_interval_holds_the_ratio():
    top, bottom = [2.0, 2.1, 1.9, 2.0, 2.2, 2.0, 1.8, 2.0, 2.1, 2.0], [1.0, 1.1, 1.0, 0.9, 1.0, 1.0, 1.0, 1.1, 0.9, 1.0]
    ratio, low, high = ratio_interval(top, bottom)
    assert ratio == pytest.approx(2.0) and low <= ratio <= high and low > 1.5
    assert set(compared("seconds_ratio", top, bottom)) == {"seconds_ratio", "seconds_ratio_low", "seconds_ratio_high"}
    assert ratio_interval([3.0] * 10, [1.5] * 10) == (2.0, 2.0, 2.0)
