"""The pages build without a warning, ask the network for nothing, and can be searched from a disk.

`DECISION_PHASES_SITE` names pages that are built already; without it they are built here.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    built = os.environ.get("DECISION_PHASES_SITE")
    if built:
        return Path(built)
    pytest.importorskip("sphinx", reason="the dependency group 'docs' is not installed")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(out / "doctrees")]
    done = subprocess.run(
        [*command, str(ROOT / "docs"), str(out / "html")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return out / "html"


@pytest.fixture(scope="module")
def pages(site):
    found = sorted(site.rglob("*.html"))
    assert len(found) > 40
    return found


@pytest.fixture(scope="module")
def page_of(site):
    """A browser to which everything but the disk is closed; what it asks for or complains about is kept."""
    if CHROMIUM is None:
        message = "no Chromium: the pages were NOT opened in a browser; apt-get install chromium"
        if os.environ.get("DECISION_PHASES_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    trouble = []

    def refuse(route):
        if route.request.url.startswith(("file:", "data:")):
            route.continue_()
        else:
            trouble.append(f"request: {route.request.url}")
            route.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.route("**/*", refuse)
        page.on("console", lambda message: trouble.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))

        def visit(name):
            page.goto((site / name).as_uri() if "?" not in name else f"{site.as_uri()}/{name}")
            return page

        yield visit, trouble
        browser.close()


def test_nothing_is_loaded_from_elsewhere(site, pages):
    loading = re.compile(
        r"""<(?:script|img|iframe|source|video)[^>]*\ssrc=["']https?:|<link[^>]*\shref=["']https?:"""
    )
    for page in pages:
        assert not loading.search(page.read_text("utf-8")), page
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?https?:", style.read_text("utf-8")), style


@pytest.mark.browser
def test_no_page_asks_the_network(page_of, pages, site):
    """Of the pages of the reference, which are all made alike, some."""
    visit, trouble = page_of
    made = [page for page in pages if "generated" in page.relative_to(site).parts]
    assert len(made) > 20
    for page in [*(page for page in pages if page not in made), *made[::4]]:
        visit(str(page.relative_to(site)))
    assert trouble == []


@pytest.mark.browser
def test_the_search_finds_pages_on_a_disk(page_of):
    visit, trouble = page_of
    page = visit("search.html?q=excess+margin")
    page.wait_for_selector("#search-results li a")
    found = " ".join(page.locator("#search-results li a").all_inner_texts())
    assert "Decisions" in found
    assert trouble == []


@pytest.mark.browser
def test_formulas_are_drawn(page_of):
    visit, _ = page_of
    page = visit("concepts/decisions.html")
    boxes = [formula.bounding_box() for formula in page.locator("div.math math").all()]
    assert len(boxes) > 3
    assert all(box and box["width"] > 40 and box["height"] > 10 for box in boxes)


def test_every_public_name_has_an_entry(site):
    import decision_phases as dp

    text = "".join(path.read_text("utf-8") for path in (site / "generated" / "reference").glob("*.html"))
    missing = [
        name for name in dp.__all__ if f'id="decision_phases.{name}"' not in text and f">{name}<a" not in text
    ]
    assert missing == []
