"""Draws of supports: who may support what, draws that differ and nest, repeats, intervals."""

import pytest
import torch
from scipy import stats

from vislab.engine.episodes import candidates, draw, mean_interval
from vislab.errors import UserError

AREA = torch.tensor([[10, 0], [0, 10], [10, 10], [3, 0], [0, 0]] + [[20, 0], [0, 20]] * 10)


def test_candidates_show_enough_of_one_class_and_nothing_of_the_others():
    assert candidates(AREA, 5)[:5].tolist() == [
        [True, False],
        [False, True],
        [False, False],
        [False, False],
        [False, False],
    ]
    assert candidates(AREA, 5, exclusive=False)[2].tolist() == [True, True]
    assert not candidates(AREA, 0)[4].any()


def test_draws_are_candidates_differ_by_number_and_by_seed_and_nest():
    suitable = candidates(AREA, 5)
    five = draw(suitable, 5, 0, 0)
    assert five.shape == (2, 5)
    for k, chosen in enumerate(five):
        assert suitable[chosen, k].all() and len(set(chosen.tolist())) == 5
    assert torch.equal(draw(suitable, 2, 0, 0), five[:, :2])
    assert not torch.equal(draw(suitable, 5, 0, 1), five) and not torch.equal(draw(suitable, 5, 1, 0), five)


def test_few_candidates_are_repeated_and_none_is_refused():
    suitable = torch.tensor([[True, False], [True, False], [False, True]])
    chosen = draw(suitable, 5, 0, 0)
    assert sorted(set(chosen[0].tolist())) == [0, 1] and chosen[1].tolist() == [2] * 5
    with pytest.raises(UserError, match="none of 3 pictures can support class 1"):
        draw(suitable[:, [0, 0]] & torch.tensor([True, False]), 1, 0, 0)


def test_the_interval_of_a_mean_is_students():
    values = torch.tensor([1.0, 2.0, 4.0, 5.0])
    mean, half = mean_interval(values)
    low, high = stats.t.interval(0.95, 3, loc=3.0, scale=stats.sem(values.numpy()))
    assert mean == 3.0 and half == pytest.approx((high - low) / 2, rel=1e-5)
    assert mean_interval(torch.tensor([7.0])) == (7.0, 0.0)
