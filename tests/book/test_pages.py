"""The built pages in a real browser: they load offline, sliders and filters work, search finds chapters."""

import re

import pytest

from vislab import registry

SLUGS = registry.slugs()
HOUSE = ["book/intro", "book/results", *(f"book/{p}/index" for p in sorted(set(registry.places().values())))]
pytestmark = pytest.mark.xdist_group("book")


def page_of(slug):
    return f"book/{registry.places()[slug]}/{slug}.html"


def test_the_book_builds(html):
    assert (html / "index.html").exists()
    for name in HOUSE:
        assert (html / f"{name}.html").exists()


def test_no_page_names_a_resource_of_another_machine(html):
    resource = re.compile(r"<(?:script|img|link|iframe|source|video)\b[^>]*?(?:src|href)=\"(?:https?:)?//[^\"]*\"")
    for path in html.glob("book/**/*.html"):
        assert not resource.findall(path.read_text()), path.name


@pytest.mark.parametrize("name", HOUSE)
def test_house_pages_load(visit, name):
    page = visit.go(f"{name}.html")
    assert page.locator("article h1").count() == 1
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("slug", SLUGS)
def test_a_chapter_reads_well(visit, slug):
    page = visit.go(page_of(slug))
    page.wait_for_selector("mjx-container", state="attached")
    assert page.locator(".vislab-badge").count() >= len(registry.card(slug).claims)
    assert page.locator("table.vislab-verdicts").count() == 1
    assert not page.locator("article img:not([alt]), article img[alt=''], mjx-merror").count()
    page.evaluate("for (const i of document.querySelectorAll('article img')) i.loading = 'eager'")
    page.wait_for_function("[...document.querySelectorAll('article img')].every(i => i.complete)")
    sizes = page.eval_on_selector_all(
        "article figure img", "all => all.map(i => [i.getBoundingClientRect().width, i.naturalWidth])"
    )
    assert sizes, "no figure"
    for shown, natural in sizes:
        assert shown <= natural / 1.5, "a figure is blurred on a dense screen"
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("slug", SLUGS)
def test_the_slider_moves_by_mouse_and_by_keyboard(visit, slug):
    page = visit.go(page_of(slug))
    slider = page.locator(".vislab-slider")
    assert slider.count() == 1
    source = slider.evaluate("s => s.outerHTML")
    assert len(source) <= 300_000
    pictures = slider.locator("img[data-state]")
    assert 2 <= pictures.count() <= 36
    assert all(pictures.evaluate_all("all => all.map(i => i.alt.length > 0)"))

    def state():
        shown = slider.locator("img[data-state]:not([hidden])")
        assert shown.count() == 1 and shown.is_visible()
        return shown.get_attribute("data-state"), shown.get_attribute("alt")

    first = state()
    control = slider.locator("input[type=range]").first
    name = control.get_attribute("aria-valuetext")
    control.focus()
    page.keyboard.press("End")
    last = state()
    assert last != first and control.get_attribute("aria-valuetext") != name
    page.keyboard.press("Home")
    assert state() == first
    box = control.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    assert state() == last


def test_search_finds_every_chapter(visit):
    for slug in SLUGS:
        word = re.findall(r"[A-Za-z]{4,}", registry.card(slug).title)[0]
        page = visit.go(f"search.html?q={word}")
        page.wait_for_selector("#search-results li a")
        links = page.eval_on_selector_all("#search-results li a", "all => all.map(a => a.href)")
        assert any(page_of(slug) in link for link in links), f"{word} does not find {slug}"


def test_the_verdict_table_filters(visit):
    page = visit.go("book/results.html")
    rows = page.locator(".vislab-results tbody tr")
    total = rows.count()
    assert total == sum(len(c.parts) for s in SLUGS for c in registry.card(s).claims)
    visible = page.locator(".vislab-results tbody tr:visible")
    verdict = rows.first.get_attribute("data-verdict")
    page.select_option(".vislab-filters select[name=verdict]", verdict)
    matching = visible.count()
    assert 0 < matching <= total
    assert set(visible.evaluate_all("all => all.map(r => r.dataset.verdict)")) == {verdict}
    part = registry.places()[SLUGS[0]]
    page.select_option(".vislab-filters select[name=part]", part)
    assert set(visible.evaluate_all("all => all.map(r => r.dataset.part)")) <= {part}
    assert page.locator(".vislab-filters output").inner_text() == f"{visible.count()} of {total} shown"
    page.select_option(".vislab-filters select[name=verdict]", "")
    page.select_option(".vislab-filters select[name=part]", "")
    assert visible.count() == total


def test_the_gallery_leads_to_every_chapter(visit):
    page = visit.go("book/intro.html")
    links = page.eval_on_selector_all(".vislab-card a", "all => all.map(a => a.href)")
    assert len(links) == len(SLUGS)
    for slug in SLUGS:
        assert any(link.endswith(page_of(slug)) for link in links)
    page.locator(".vislab-card a").first.click()
    page.wait_for_selector("article h1")
    assert "/book/" in page.url
