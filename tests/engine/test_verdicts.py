"""Verdicts against scipy and by hand: every kind of part, compounds, zero variance, failed and non-finite runs."""

import math

import numpy as np
import pytest
from scipy import stats

from vislab.cards import Arm, Claim, Paper, Part, metric
from vislab.engine.verdicts import (
    CONTRADICTED,
    FAILED,
    INCONCLUSIVE,
    NOT_TESTED,
    REPRODUCED,
    SMALLER,
    bootstrap,
    chance,
    interval,
    judge,
    overall,
    standing,
    worst,
)

METRICS = (metric("psnr"), metric("seconds"), metric("seconds_ratio"), metric("parameters_ratio"))


def paper(*parts, profiles=("tutorial",)):
    arms = tuple(
        Arm(n, n, "baseline", {}, profiles if n == "dear" else ("tutorial", "gpu")) for n in ("a", "b", "c", "dear")
    )
    claim = Claim("c1", "", "", parts)
    return Paper("p", "restoration", "", "", 2023, "", {}, (), METRICS, arms, (claim,), object, {})


def runs(a, b, c=(), name="psnr"):
    found = {"a": {name: list(a)}, "b": {name: list(b)}}
    return found | ({"c": {name: list(c)}} if c else {})


def one(part, table, compare=None, seeds=5, **kwargs):
    return judge(paper(part, **kwargs), table, seeds, "tutorial", compare)[0]


A = [30.1, 30.4, 29.9, 30.3, 30.2]
B = [29.0, 29.5, 29.1, 29.2, 28.9]


def test_interval_is_the_paired_t_interval_of_scipy():
    mean, low, high = interval(np.subtract(A, B))
    expected = stats.ttest_rel(A, B).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert mean == pytest.approx(np.mean(A) - np.mean(B))


def test_difference_on_either_side_and_astride():
    part = Part("difference", "psnr", ("a", "b"))
    assert one(part, runs(A, B)).verdict == REPRODUCED
    assert one(part, runs(B, A)).verdict == CONTRADICTED
    assert one(part, runs(A, A[::-1])).verdict == INCONCLUSIVE


def test_a_lower_is_better_metric_turns_the_sign():
    part = Part("difference", "seconds", ("a", "b"))
    assert one(part, runs(B, A, name="seconds")).verdict == REPRODUCED


def test_sense_claims_the_opposite():
    assert one(Part("difference", "psnr", ("a", "b"), sense=-1), runs(B, A)).verdict == REPRODUCED


def test_margin_of_a_difference_must_be_exceeded_by_the_whole_interval():
    assert one(Part("difference", "psnr", ("a", "b"), margin=0.5), runs(A, B)).verdict == REPRODUCED
    assert one(Part("difference", "psnr", ("a", "b"), margin=3.0), runs(A, B)).verdict == CONTRADICTED


def test_smallest_effect_of_interest():
    part = Part("difference", "psnr", ("a", "b"), smallest=5.0)
    assert one(part, runs(A, B)).verdict == SMALLER


def test_ratio_is_shown_as_a_ratio_and_judged_on_the_log_scale():
    a, b = [1.0, 1.1, 0.9, 1.0, 1.05], [3.0, 3.2, 2.9, 3.1, 3.0]
    judged = one(Part("ratio", "seconds", ("b", "a"), sense=-1), runs(a, b, name="seconds"))
    assert judged.verdict == REPRODUCED
    assert judged.effect == pytest.approx(math.exp(np.mean(np.log(b) - np.log(a))))
    assert (
        one(Part("ratio", "seconds", ("b", "a"), sense=-1, margin=4.0), runs(a, b, name="seconds")).verdict
        == CONTRADICTED
    )


def test_a_ratio_is_shown_as_it_is_where_lower_is_better():
    a, b = [1.0, 1.1, 0.9, 1.0, 1.05], [3.0, 3.2, 2.9, 3.1, 3.0]
    judged = one(Part("ratio", "seconds", ("a", "b")), runs(a, b, name="seconds"))
    assert judged.verdict == REPRODUCED and judged.low < judged.effect < judged.high < 1
    assert judged.effect == pytest.approx(math.exp(np.mean(np.log(a) - np.log(b))))


def test_noninferior_and_equivalent():
    near = [x - 0.05 for x in A]
    assert one(Part("noninferior", "psnr", ("a", "b"), margin=0.3), runs(near, A)).verdict == REPRODUCED
    assert one(Part("noninferior", "psnr", ("a", "b"), margin=0.3), runs(B, A)).verdict == CONTRADICTED
    assert one(Part("equivalent", "psnr", ("a", "b"), margin=0.3), runs(near, A)).verdict == REPRODUCED
    assert one(Part("equivalent", "psnr", ("a", "b"), margin=0.3), runs(A, B)).verdict == CONTRADICTED


def test_trend_is_the_least_squares_slope():
    c = [x + 2.2 for x in B]
    judged = one(Part("trend", "psnr", ("b", "a", "c"), x=(1, 2, 3)), runs(A, B, c))
    slopes = [np.polyfit([1, 2, 3], [B[k], A[k], c[k]], 1)[0] for k in range(5)]
    assert judged.effect == pytest.approx(np.mean(slopes))
    assert judged.verdict == REPRODUCED


def test_exact_has_no_interval():
    part = Part("exact", "psnr", ("a", "b"), reduce=lambda seed: seed["a"]["psnr"] - seed["b"]["psnr"])
    judged = one(part, runs(A, B))
    assert (judged.verdict, judged.low) == (REPRODUCED, None)
    assert one(part, runs(B, A)).verdict == CONTRADICTED


def test_matched_needs_the_quality_too():
    part = Part("matched", "seconds", ("a", "b"), at=("psnr", 0.3))
    fast, slow = [1.0, 1.1, 0.9, 1.0, 1.05], [3.0, 3.2, 2.9, 3.1, 3.0]

    def table(quality):
        return {"a": {"seconds": fast, "psnr": quality}, "b": {"seconds": slow, "psnr": A}}

    assert one(part, table([x - 0.05 for x in A])).verdict == REPRODUCED
    bad = one(part, table(B))
    assert bad.verdict == CONTRADICTED and "psnr differs" in bad.why


def test_reduce_replaces_the_number_of_a_seed():
    part = Part("difference", "psnr", ("a", "b"), reduce=lambda seed: 7.0)
    judged = one(part, runs(A, B))
    assert judged.per_seed == (7.0,) * 5 and judged.verdict == REPRODUCED


def test_zero_variance_gives_a_point():
    judged = one(Part("difference", "psnr", ("a", "b")), runs([2.0] * 5, [1.0] * 5))
    assert (judged.low, judged.high, judged.verdict) == (1.0, 1.0, REPRODUCED)
    assert one(Part("difference", "psnr", ("a", "b")), runs([1.0] * 5, [1.0] * 5)).verdict == INCONCLUSIVE


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_failed_and_non_finite_runs_fail_the_verdict(bad):
    assert one(Part("difference", "psnr", ("a", "b")), runs([bad, *A[1:]], B)).verdict == FAILED


def test_dear_and_missing_arms_are_not_tested():
    assert one(Part("difference", "psnr", ("a", "dear")), runs(A, B), profiles=("gpu",)).verdict == NOT_TESTED
    assert one(Part("difference", "psnr", ("a", "c")), runs(A, B)).verdict == NOT_TESTED


def test_one_seed_decides_nothing():
    judged = one(Part("difference", "psnr", ("a", "b")), runs(A[:1], B[:1]), seeds=1)
    assert judged.verdict == INCONCLUSIVE


def test_compare_uses_the_measured_interval():
    part = Part("ratio", "seconds_ratio", ("compare",))
    measured = {"seconds_ratio": 0.4, "seconds_ratio_low": 0.35, "seconds_ratio_high": 0.45}
    assert one(part, {}, measured).verdict == REPRODUCED
    assert one(part, {}, measured | {"seconds_ratio_high": 1.2}).verdict == INCONCLUSIVE
    assert one(part, {}, {k: v + 1 for k, v in measured.items()}).verdict == CONTRADICTED
    assert one(part, {}).verdict == NOT_TESTED
    exact = Part("exact", "parameters_ratio", ("compare",), margin=0.5)
    assert one(exact, {}, {"parameters_ratio": 0.4}).verdict == REPRODUCED
    assert one(exact, {}, {"parameters_ratio": 0.6}).verdict == CONTRADICTED


@pytest.mark.parametrize(
    ("value", "verdict"), [(2.0, SMALLER), (9.5, REPRODUCED), (30.0, REPRODUCED), (0.5, CONTRADICTED)]
)
def test_a_measured_comparison_may_be_smaller_than_claimed(value, verdict):
    part = Part("ratio", "psnr", ("compare",), smallest=10.0)
    measured = {"psnr": value, "psnr_low": 0.9 * value, "psnr_high": 1.1 * value}
    assert one(part, {}, measured).verdict == verdict


def test_a_compound_is_reproduced_only_if_every_part_is():
    parts = (Part("difference", "psnr", ("a", "b")), Part("difference", "psnr", ("b", "a")))
    judged = judge(paper(*parts), runs(A, B), 5, "tutorial")
    assert overall(judged, "c1") == CONTRADICTED
    assert worst([REPRODUCED, INCONCLUSIVE]) == INCONCLUSIVE
    assert worst([REPRODUCED, FAILED, CONTRADICTED]) == FAILED
    assert worst([REPRODUCED, REPRODUCED]) == REPRODUCED


def test_chance_counts_the_parts_judged_by_an_interval():
    parts = (Part("difference", "psnr", ("a", "b")), Part("exact", "psnr", ("a",), reduce=lambda seed: 1.0))
    assert chance(judge(paper(*parts), runs(A, B), 5, "tutorial")) == pytest.approx(0.025)


def test_bootstrap_agrees_with_scipy_and_wants_enough_items():
    data = np.random.default_rng(1).normal(1, 2, 400)
    mean, low, high = bootstrap(data)
    expected = stats.bootstrap((data,), np.mean, n_resamples=2000, method="percentile", rng=0).confidence_interval
    assert mean == pytest.approx(data.mean())
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.03)
    with pytest.raises(ValueError, match="at least 200"):
        bootstrap(data[:50])


@pytest.mark.parametrize(
    "part",
    [
        Part("difference", "psnr", ("a", "b")),
        Part("difference", "psnr", ("b", "a")),
        Part("difference", "psnr", ("a", "b"), margin=1.2),
        Part("noninferior", "psnr", ("b", "a"), margin=0.5),
        Part("noninferior", "psnr", ("b", "a"), margin=5.0),
        Part("equivalent", "psnr", ("a", "b"), margin=0.2),
        Part("equivalent", "psnr", ("a", "b"), margin=9.0),
        Part("ratio", "psnr", ("a", "b")),
        Part("ratio", "psnr", ("a", "b"), margin=1.2),
        Part("ratio", "psnr", ("a", "b"), sense=-1),
    ],
)
def test_where_an_interval_stands_agrees_with_its_verdict(part):
    judged = one(part, runs(A, B))
    low, middle, high = standing(part, METRICS[0], {"effect": judged.effect, "low": judged.low, "high": judged.high})
    assert middle - low == pytest.approx(1, rel=0.02) and high - middle == pytest.approx(1, rel=0.02)
    expected = REPRODUCED if low > 0 else CONTRADICTED if high < 0 else INCONCLUSIVE
    assert judged.verdict == expected


@pytest.mark.parametrize("value", [0.2, 0.95, 3.0])
@pytest.mark.parametrize("margin", [None, 0.5])
def test_where_a_measured_comparison_stands_agrees_with_its_verdict(value, margin):
    part = Part("ratio", "seconds_ratio", ("compare",), margin=margin)
    measured = {"seconds_ratio": value, "seconds_ratio_low": 0.8 * value, "seconds_ratio_high": 1.25 * value}
    judged = one(part, {}, measured)
    low, _, high = standing(part, METRICS[2], {"effect": judged.effect, "low": judged.low, "high": judged.high})
    expected = REPRODUCED if low > 0 else CONTRADICTED if high < 0 else INCONCLUSIVE
    assert judged.verdict == expected


def test_nothing_stands_without_an_interval():
    part = Part("difference", "psnr", ("a", "b"))
    assert standing(part, METRICS[0], {"effect": None, "low": None, "high": None}) is None
    assert standing(part, METRICS[0], {"effect": 1.0, "low": 1.0, "high": 1.0}) is None
