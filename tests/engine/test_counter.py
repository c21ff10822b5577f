"""The counter-based generator: known words, independence of the batch, moments, the one door to torch's generator."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vislab.ops import counter

INDEX = torch.arange(20_000)


def test_same_bits_as_plain_integer_arithmetic():
    mask = (1 << 64) - 1

    def mix(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    key = counter.key(5, "world", "position") & mask
    for index in (0, 1, 12345, 2_000_001):
        base = mix((index * golden + key) & mask)
        expected = [mix((base + (k + 1) * golden) & mask) for k in range(3)]
        words = counter.bits(5, "world", torch.tensor([index]), "position", (3,))[0].tolist()
        assert [w & mask for w in words] == expected


@settings(max_examples=25, deadline=None)
@given(st.integers(-5, 10**6), st.lists(st.integers(0, 3 * 10**6), min_size=1, max_size=20))
def test_an_item_does_not_depend_on_its_batch(seed, indices):
    batch = torch.tensor(indices)
    together = counter.normal(seed, "world", batch, "x", (2, 3))
    alone = torch.stack([counter.normal(seed, "world", i[None], "x", (2, 3))[0] for i in batch])
    assert torch.equal(together, alone)


def test_uniform_is_uniform_and_normal_is_normal():
    u = counter.uniform(0, "world", INDEX, "u")
    assert stats.kstest(u.numpy(), "uniform").pvalue > 1e-3
    n = counter.normal(0, "world", INDEX, "n")
    assert stats.kstest(n.numpy(), "norm").pvalue > 1e-3
    assert u.min() >= 0 and u.max() < 1


def test_streams_draws_seeds_and_positions_are_uncorrelated():
    base = counter.normal(0, "world", INDEX, "a")
    others = [
        counter.normal(1, "world", INDEX, "a"),
        counter.normal(0, "noise", INDEX, "a"),
        counter.normal(0, "world", INDEX, "b"),
        counter.normal(0, "world", INDEX + 1, "a"),
        counter.normal(0, "world", INDEX, "a", (2,))[:, 1],
    ]
    for other in others:
        assert abs(float(torch.corrcoef(torch.stack([base, other]))[0, 1])) < 4 / len(INDEX) ** 0.5


def test_integers_cover_the_range_evenly():
    values = counter.integers(0, "world", INDEX, "i", 7)
    assert stats.chisquare(torch.bincount(values, minlength=7).numpy()).pvalue > 1e-3


def test_permutation_holds_every_element_once():
    order = counter.permutation(0, "batches", torch.arange(5), "order", 100)
    assert torch.equal(order.sort(dim=-1).values, torch.arange(100).expand(5, 100))
    assert not torch.equal(order[0], order[1])


def test_scope_seeds_by_name_and_restores():
    before = torch.get_rng_state()
    with counter.scope(3, "init", "model"):
        first = torch.rand(4)
        assert counter.inside_scope()
    with counter.scope(3, "init", "model"):
        assert torch.equal(first, torch.rand(4))
    with counter.scope(4, "init", "model"):
        assert not torch.equal(first, torch.rand(4))
    assert torch.equal(before, torch.get_rng_state())
    assert not counter.inside_scope()


def test_unknown_stream_is_an_error():
    with pytest.raises(ValueError, match="stream 'wrold' is not one of"):
        counter.key(0, "wrold")
