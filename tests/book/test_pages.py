"""The built pages in a real browser: they load offline, sliders, filters, sorting and the map work, search finds chapters."""

import gzip
import json
import re
from urllib.parse import unquote, urldefrag

import pytest

from vislab import registry
from vislab.batch import ideas

SLUGS = registry.slugs()
HOUSE = [
    "book/intro",
    "book/results",
    "book/map",
    "book/contributing",
    "book/glossary",
    *(f"book/{p}/index" for p in sorted(set(registry.places().values()))),
]
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
        # results appear one after the other
        found = f"() => [...document.querySelectorAll('#search-results li a')].some(a => a.href.includes('{page_of(slug)}'))"
        page.wait_for_function(found, timeout=20_000)


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


def test_the_verdict_table_sorts_by_mouse_and_keyboard(visit):
    page = visit.go("book/results.html")
    heads = page.locator(".vislab-sortable th button")

    def column(number):
        script = "(all, n) => all.map(r => r.cells[n].dataset.sort ?? r.cells[n].textContent)"
        return page.locator(".vislab-results tbody tr").evaluate_all(script, number)

    verdicts = [name.strip() for name in heads.all_inner_texts()].index("verdict")
    heads.nth(verdicts).click()
    assert column(verdicts) == sorted(column(verdicts), key=int)
    heads.nth(verdicts).press("Enter")
    assert column(verdicts) == sorted(column(verdicts), key=int, reverse=True)
    assert page.locator(".vislab-sortable th").nth(verdicts).get_attribute("aria-sort") == "descending"
    standing = [name.strip() for name in heads.all_inner_texts()].index("against ← → claimed")
    heads.nth(standing).click()
    places = [float(v) for v in column(standing)]
    assert places == sorted(places) and len(set(places)) > 1
    assert page.locator(".vislab-sortable th[aria-sort]").count() == 1
    assert page.locator("svg.vislab-forest").count() > 0


def test_the_gallery_filters(visit):
    page = visit.go("book/intro.html")
    cards, visible = page.locator(".vislab-card"), page.locator(".vislab-card:visible")
    assert visible.count() == cards.count() == len(SLUGS)
    part = registry.places()[SLUGS[0]]
    page.select_option(".vislab-filters select[name=part]", part)
    assert visible.count() == len(registry.slugs(part))
    page.select_option(".vislab-filters select[name=part]", "")
    verdict = cards.first.get_attribute("data-verdict").split("|")[0]
    page.select_option(".vislab-filters select[name=verdict]", verdict)
    found = visible.evaluate_all("all => all.map(c => c.dataset.verdict.split('|'))")
    assert found and all(verdict in verdicts for verdicts in found)
    page.select_option(".vislab-filters select[name=verdict]", "")
    page.select_option(".vislab-filters select[name=seconds]", "300-600")
    assert all(300 <= float(v) < 600 for v in visible.evaluate_all("all => all.map(c => c.dataset.seconds)"))
    page.select_option(".vislab-filters select[name=seconds]", "")
    title = registry.card(SLUGS[-1]).title
    page.fill(".vislab-filters input[type=search]", title.lower())
    assert visible.count() == 1 and title in visible.inner_text()
    page.fill(".vislab-filters input[type=search]", "no chapter says this")
    assert visible.count() == 0 and page.locator(".vislab-filters output").inner_text().startswith("0 of")


def test_the_map_shows_lines_of_one_node_and_leads_to_chapters(visit):
    page = visit.go("book/map.html")
    used = ideas.users(SLUGS)
    assert page.locator(".vislab-map path").count() == sum(map(len, used.values()))
    slug = SLUGS[0]
    node = page.locator(f".vislab-map a[data-node={slug}]")
    page.locator(f'.vislab-map a[data-node="{next(iter(used))}"]').focus()
    lit = page.locator(".vislab-map path.on")
    assert lit.count() == len(used[next(iter(used))])
    node.hover()
    assert lit.count() == len(ideas.pieces(slug)) and "chosen" in page.locator(".vislab-map").get_attribute("class")
    node.click()
    page.wait_for_url(f"**/{page_of(slug)}")


def test_the_dark_mode_and_the_menu_of_a_phone(visit):
    page = visit.go(page_of(SLUGS[0]))
    for _ in range(3):
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
        page.locator("button.theme-switch-button:visible").first.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").rstrip(")")
    assert max(int(v) for v in ground.split(",")) < 60
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_timeout(500)
    link = page.locator("nav a.reference[href$='results.html']").first

    def beside():
        """Whether the menu is out of the window, or not drawn at all."""
        box = link.bounding_box()
        return box is None or box["x"] + box["width"] <= 0

    assert beside()
    page.locator(".primary-toggle:visible").first.click()
    page.wait_for_timeout(500)
    assert not beside()
    link.click()
    page.wait_for_url("**/results.html")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", [*HOUSE[:5], page_of(SLUGS[0]).removesuffix(".html")])
def test_pages_are_accessible(visit, name, theme):
    """WCAG 2 A and AA by axe-core: contrast, names, roles, structure."""
    from axe_playwright_python.sync_playwright import Axe

    visit.page.emulate_media(color_scheme=theme)
    page = visit.go(f"{name}.html")
    page.wait_for_timeout(300)
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"], "preload": False}).response["violations"]
    assert not found, json.dumps([[v["id"], v["nodes"][0]["html"][:200]] for v in found], indent=1)


@pytest.mark.parametrize("name", [*HOUSE[:3], *(page_of(s).removesuffix(".html") for s in SLUGS)])
def test_a_page_is_light_and_still(visit, name):
    """Under 1 MB as servers send it, without figures; nothing jumps while it loads."""
    weights = {}

    def weigh(response):
        if response.request.resource_type != "image" and response.ok:
            weights[response.url] = len(gzip.compress(response.body()))

    visit.page.on("response", weigh)
    visit.page.add_init_script(
        "window.shift = 0; new PerformanceObserver((list) => { for (const e of list.getEntries()) "
        "if (!e.hadRecentInput) window.shift += e.value; }).observe({type: 'layout-shift', buffered: true});"
    )
    page = visit.go(f"{name}.html")
    page.wait_for_timeout(300)
    assert sum(weights.values()) < 1_000_000, sorted(weights.items(), key=lambda item: -item[1])[:4]
    assert page.evaluate("window.shift") < 0.1


def test_every_link_inside_the_book_resolves(html):
    anchors = {}
    for path in html.rglob("*.html"):
        text = path.read_text()
        anchors[path.resolve()] = (
            set(re.findall(r'\bid="([^"]+)"', text)),
            re.findall(r'<a\b[^>]*?\bhref="([^"]+)"', text),
        )
    broken = []
    for path, (_, links) in anchors.items():
        for link in links:
            if re.match(r"[a-z]+:|//", link):
                continue
            file, fragment = urldefrag(link)
            target = (path.parent / unquote(file)).resolve() if file else path
            known = anchors.get(target, (None,))[0]
            if not target.exists() or (fragment and known is not None and unquote(fragment) not in known):
                broken.append(f"{path.relative_to(html.resolve())}: {link}")
    assert not broken, "\n".join(broken[:20])


@pytest.mark.parametrize("slug", SLUGS)
def test_a_chapter_can_be_taken_along_and_cited(html, slug):
    import nbformat

    text = (html / page_of(slug)).read_text()
    assert f'href="../../_static/notebooks/{slug}.ipynb"' in text and "colab" not in text.lower()
    notebook = nbformat.read(html / "_static" / "notebooks" / f"{slug}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert not any(c.get("outputs") for c in notebook.cells) and "stamp" not in json.dumps(notebook)
    script = (html / "_static" / "notebooks" / f"{slug}.py").read_text()
    compile(script, f"{slug}.py", "exec")
    assert re.search(r"@inproceedings", text) and registry.card(slug).first_author.split()[-1] in text


def test_the_gallery_leads_to_every_chapter(visit):
    page = visit.go("book/intro.html")
    links = page.eval_on_selector_all(".vislab-card a", "all => all.map(a => a.href)")
    assert len(links) == len(SLUGS)
    for slug in SLUGS:
        assert any(link.endswith(page_of(slug)) for link in links)
    page.locator(".vislab-card a").first.click()
    page.wait_for_selector("article h1")
    assert "/book/" in page.url
