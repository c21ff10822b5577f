"""Badges, results, verdicts and scale as printed from records."""

import pytest

from tests.book import shared
from vislab import registry
from vislab.engine.files import write_atomically
from vislab.engine.records import canonical
from vislab.viz import sections
from vislab.viz.show import Raw, table_html, table_text

SLUG = registry.slugs()[0]
CARD = registry.card(SLUG)


@pytest.fixture
def record(tmp_path, monkeypatch):
    """An invented record of one paper, alone in its results folder."""
    monkeypatch.setenv("VISLAB_RESULTS", str(tmp_path))
    found = shared.invented(SLUG)
    write_atomically(tmp_path / "tutorial" / f"{SLUG}.json", canonical(found.model_dump()).encode())
    return found


@pytest.mark.parametrize("name", ["results", "verdicts"])
def test_missing_runs_are_said_plainly(name, tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_RESULTS", str(tmp_path))
    html, plain = sections.render(name, SLUG, "tutorial")
    assert "missing" in html and f"vislab reproduce {SLUG} --profile tutorial" in plain


def test_badges_without_records_claim_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_RESULTS", str(tmp_path))
    html, _ = sections.render("badges", SLUG, "tutorial")
    assert html.count("not run yet") == len(CARD.claims)
    assert "not measured yet" in html


def test_badges_show_each_claims_worst_part(record):
    html, plain = sections.render("badges", SLUG, "tutorial")
    for claim in CARD.claims:
        assert f"{claim.id}: {sections.overall(record.claims, claim.id)}" in plain
    assert "5 min on one CPU thread" in html
    assert "Code changed since" in html


def test_results_have_mean_and_interval_beside_the_reported_numbers(record):
    _, plain = sections.render("results", SLUG, "tutorial")
    metric = CARD.metrics[0]
    first = record.arms[CARD.arms[0].name][metric.name]
    assert sections.number(first, metric.digits) in plain
    assert sections.heading(metric) in plain
    assert "Measured at tutorial (results/tutorial, 5 seeds" in plain
    reported = [r for r in CARD.reported if r.name in {m.name for m in CARD.metrics}]
    for r in reported:
        assert r.setting in plain and f"{r.value:g}" in plain


def test_another_profiles_results_say_whose_they_are(record):
    _, plain = sections.render("results", SLUG, "smoke")
    assert "The runs at smoke are missing; these are the ones at tutorial." in plain


def test_verdicts_show_every_part(record):
    html, plain = sections.render("verdicts", SLUG, "tutorial")
    for claim in CARD.claims:
        assert claim.id in plain
        for part in claim.parts:
            assert (part.says or part.kind) in plain
    assert "1.5 [1.25, 1.75]" in plain
    assert "invented for the tests" in html
    assert "Chance alone" in plain


@pytest.mark.parametrize(
    ("values", "digits", "text"),
    [
        ([1.0], 2, "1.00"),
        ([1.0, 1.0, 1.0], 1, "1.0 ± 0.0"),
        # t quantile of two degrees of freedom over the root of three
        ([1.0, 2.0, 3.0], 3, "2.000 ± 2.484"),
        ([1.0, None], 2, "failed"),
        ([], 2, ""),
        ([2.8e6], 0, "2.80e+06"),
        ([1e-5], 2, "1.00e-05"),
    ],
)
def test_number(values, digits, text):
    assert sections.number(values, digits) == text


def test_effects_show_an_interval_only_where_there_is_one():
    assert sections.effect({"effect": None, "low": None, "high": None}) == ""
    assert sections.effect({"effect": 2.0, "low": None, "high": None}) == "2"
    assert sections.effect({"effect": 2.0, "low": 1.0, "high": 3.0}) == "2 [1, 3]"
    assert sections.effect({"effect": 2.0, "low": float("-inf"), "high": float("inf")}) == "2"


def test_scale_counts_parameters_and_names_the_data_sets():
    _, plain = sections.render("scale", SLUG, "smoke")
    for dataset in CARD.datasets:
        assert dataset.page in plain and f"data/{dataset.folder}" in plain
    assert f"vislab run {SLUG} --profile paper" in plain
    if CARD.network:
        assert f"{sections.paper_parameters(SLUG, 'paper'):,}" in plain


def test_tables_escape_what_is_not_html():
    html = table_html(["a<b"], [["<script>"], [Raw("<b>x</b>", "x")], [1234567]], "c&d")
    assert "a&lt;b" in html and "&lt;script&gt;" in html and "<b>x</b>" in html and "c&amp;d" in html
    assert "1,234,567" in html
    assert table_text(["a"], [[Raw("<b>x</b>", "x")], [None], [True]]).split("\n")[1:] == ["x", "", "yes"]
