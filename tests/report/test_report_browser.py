"""The page in a real browser: it shows the run's numbers, asks the network for nothing and fits a phone."""

import json
import os
import shutil
from importlib.util import find_spec

import pytest
from playwright.sync_api import sync_playwright

from decision_phases.plots.interactive import bundled_script
from decision_phases.report import write_report

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        message = "no Chromium: the report was NOT opened in a browser; apt-get install chromium"
        if os.environ.get("DECISION_PHASES_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield running
        running.close()


@pytest.fixture
def visit(browser):
    """Open the report of a folder; whatever it asks for or complains about fails the test."""
    trouble = []
    contexts = []

    def refuse(route):
        if route.request.url.startswith("file:"):
            route.continue_()
        else:
            trouble.append(f"request: {route.request.url}")
            route.abort()

    def complain(text):
        if "GL Driver Message" not in text:  # what a browser without a graphics card says of drawing
            trouble.append(f"console: {text}")

    def open_page(folder, width=1200, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.route("**/*", refuse)
        page.on("console", lambda message: complain(message.text))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
        page.goto(write_report(folder).as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def signed(value):
    return f"{value:+.3f}".replace("-", "−")


def plain(value):
    return f"{value:.3f}".replace("-", "−")


def layer_at(page, layer):
    """The point of the layer chart where a layer is."""
    page.locator("#layer-chart").scroll_into_view_if_needed()
    box = page.locator("#layer-chart svg").bounding_box()
    dots = page.locator("#layer-chart svg circle.dot")
    return float(dots.nth(layer).get_attribute("cx")) + box["x"], box["y"] + box["height"] / 2


def shown(page):
    fields = page.locator("#layer-numbers [data-field]").all()
    return {field.get_attribute("data-field"): field.inner_text() for field in fields}


def expected(summary, layer):
    low, high = summary["margin_ci"][layer]
    a_low, a_high = summary["accuracy_ci"][layer]
    return {
        "layer": f"Layer {layer}",
        "margin": signed(summary["margin"][layer]),
        "margin_ci": f"{signed(low)} to {signed(high)}",
        "excess_margin": signed(summary["excess_margin"][layer]),
        "accuracy": plain(summary["accuracy"][layer]),
        "accuracy_ci": f"{plain(a_low)} to {plain(a_high)}",
    }


@pytest.mark.parametrize("layer", [0, 11, 23, 29])
def test_hovering_over_a_layer_shows_its_numbers(visit, run_folder, layer):
    page, summary = visit(run_folder), summary_of(run_folder)
    page.mouse.move(*layer_at(page, layer))
    assert shown(page) == expected(summary, layer)
    shares = page.locator("#layer-numbers [data-option]").all_inner_texts()
    assert shares == [f"{share:.2f}" for share in summary["option_frequency"]["values"][layer]]
    assert f"Layer {layer}:" in page.locator("#frequency-reading").inner_text()


def test_layers_can_be_reached_by_keyboard(visit, run_folder):
    page, summary = visit(run_folder), summary_of(run_folder)
    chart = page.get_by_role("slider", name="Layer").first
    chart.focus()
    for key, layer in (("Home", 0), ("ArrowRight", 1), ("End", 29), ("ArrowLeft", 28), ("PageDown", 23)):
        page.keyboard.press(key)
        assert shown(page) == expected(summary, layer)
        assert chart.get_attribute("aria-valuenow") == str(layer)
        assert signed(summary["margin"][layer]) in chart.get_attribute("aria-valuetext")


def test_layers_can_be_tapped(visit, run_folder):
    page = visit(run_folder, 375, has_touch=True, is_mobile=True)
    page.touchscreen.tap(*layer_at(page, 4))
    assert shown(page) == expected(summary_of(run_folder), 4)


def test_choosing_a_question_shows_its_text_as_text(visit, run_folder, hostile):
    page = visit(run_folder)
    page.locator("#question-order").select_option("as asked")
    page.locator("#q-5").click()
    text = page.locator("#question-detail [data-field=question]")
    assert text.text_content() == f"Is {hostile} number 5?"
    assert page.locator("#q-5").get_attribute("aria-selected") == "true"
    assert page.locator("#question-detail .options li").count() == 4
    assert hostile in page.locator("#question-detail .options").text_content()
    assert page.locator("img, b").count() == 0


def test_hovering_previews_a_question_and_leaving_returns_to_the_chosen(visit, run_folder):
    page = visit(run_folder)
    page.locator("#question-order").select_option("as asked")
    text = page.locator("#question-detail [data-field=question]")
    page.locator("#q-2").click()
    chosen = text.inner_text()
    page.locator("#q-3").hover()
    assert "case 3 in" in text.inner_text()
    page.locator("h1").hover()
    assert text.inner_text() == chosen


def test_trajectory_has_one_point_and_one_choice_for_each_layer(visit, run_folder):
    page = visit(run_folder)
    assert page.locator("#question-detail circle.dot").count() == 30
    assert page.locator("#question-detail rect.dot").count() == 30
    assert page.locator("#question-detail path.line.mean").count() == 1


def test_questions_can_be_searched_sorted_and_walked(visit, run_folder):
    page = visit(run_folder)
    rows = page.locator("#question-list .row")
    values = [float(v.replace("−", "-")) for v in page.locator("#question-list .value").all_inner_texts()]
    assert values == sorted(values)
    page.locator("#question-category").select_option("music")
    assert rows.count() == 12
    page.locator("#question-search").fill("CASE 12 ")
    assert page.locator("#question-count").inner_text() == "1 of 96 questions"
    page.locator("#question-search").fill("no such words")
    assert rows.count() == 0
    assert "No question matches" in page.locator("#question-list").inner_text()
    page.locator("#question-search").fill("")
    page.locator("#question-category").select_option("")
    page.locator("#question-order").select_option("as asked")
    page.locator("#question-list").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#question-list").get_attribute("aria-activedescendant") == "q-1"
    page.keyboard.press("End")
    assert page.locator("#q-95").get_attribute("aria-selected") == "true"


def test_pruning_numbers_follow_the_pointer(visit, run_folder):
    page, pruning = visit(run_folder), summary_of(run_folder)["pruning"]
    page.get_by_role("slider", name="Blocks removed").focus()
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.locator("#pruning-numbers [data-field=count]").inner_text() == "3 blocks removed"
    for strategy in ("margin", "deepest", "within_silent"):
        text = page.locator(f"#pruning-numbers [data-strategy={strategy}]").inner_text()
        assert text == plain(pruning[strategy][3]["accuracy"])
    draws = [row["accuracy"] for row in pruning["random"] if row["step"] == 3]
    mean = float(page.locator("#pruning-numbers [data-strategy=random]").inner_text())
    assert mean == pytest.approx(sum(draws) / len(draws), abs=6e-4)


def test_removal_order_can_be_changed(visit, run_folder):
    page, pruning = visit(run_folder), summary_of(run_folder)["pruning"]
    page.locator("#path-choice").select_option(label="deepest")
    removed = page.locator("#path-table tbody tr td:nth-child(2)").all_inner_texts()
    assert removed == ["–", *(str(row["removed"]) for row in pruning["deepest"][1:])]
    assert page.locator("#path-chart svg line.boundary").count() == sum(
        row["transition"] is not None for row in pruning["deepest"]
    )
    page.get_by_role("slider", name="Step").focus()
    page.keyboard.press("Home")
    assert page.locator("#path-reading").inner_text().startswith("Intact, layer 23: mean margin")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 768, 1200])
def test_page_never_scrolls_sideways(visit, run_folder, width, scheme):
    page = visit(run_folder, width, color_scheme=scheme)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_charts_follow_the_window(visit, run_folder):
    page = visit(run_folder)
    page.set_viewport_size({"width": 500, "height": 800})
    page.wait_for_function(
        "[...document.querySelectorAll('.chart > svg')].every("
        "(s) => Math.abs(s.viewBox.baseVal.width - s.parentElement.clientWidth) <= 1)"
    )


def test_partial_run_can_be_read(visit, partial_folder):
    page = visit(partial_folder)
    page.mouse.move(*layer_at(page, 8))
    assert shown(page) == expected(summary_of(partial_folder), 8)
    assert page.get_by_role("note").inner_text().startswith("Partial run.")
    assert page.locator("#pruning-chart, #path-chart").count() == 0


def test_run_without_transition_can_be_read(visit, silent_folder):
    page = visit(silent_folder)
    page.mouse.move(*layer_at(page, 8))
    assert shown(page) == expected(summary_of(silent_folder), 8)
    assert "no transition found" in page.locator("#layer-chart").inner_html()
    assert page.locator("line.boundary").count() == 0


def test_without_script_the_numbers_are_there(visit, run_folder):
    page = visit(run_folder, java_script_enabled=False)
    assert "The charts need JavaScript" in page.locator("main").inner_text()
    page.locator("summary", has_text="Numbers by layer").click()
    low, high = summary_of(run_folder)["margin_ci"][23]
    assert page.get_by_role("cell", name=f"{signed(low)} to {signed(high)}").first.is_visible()
    assert page.locator("#layer-chart").is_hidden()


def test_option_frequency_within_categories_follows_the_pointer(visit, category_folder, hostile):
    page, summary = visit(category_folder), summary_of(category_folder)
    assert page.locator("#frequency-multiples [data-category]").count() == 3
    for layer, mean in ((5, "0.00"), (29, "0.75")):
        page.mouse.move(*layer_at(page, layer))
        assert f"Layer {layer}," in page.locator("#frequency-mean-reading").inner_text()
        assert f"mean entropy {mean}" in page.locator("#frequency-mean-reading").inner_text()
        for name, entry in summary["option_frequency_by_category"].items():
            text = page.locator(f"[data-category={name}] .reading").inner_text()
            shares = sorted((v for v in entry["values"][layer] if v), reverse=True)
            assert [float(part.rsplit(" ", 1)[1]) for part in text.split(" · ")] == shares
    page.locator("#frequency-mean").focus()
    page.keyboard.press("Home")
    assert "Layer 0, Silent Phase" in page.locator("#frequency-mean-reading").inner_text()


@pytest.mark.parametrize("width", [320, 375, 1200])
def test_categories_fit_the_width(visit, category_folder, width):
    page = visit(category_folder, width)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_pictures_are_drawn_beside_everything_else(visit, pictured_folder, circuitsvis):
    page = visit(pictured_folder)
    shown = "coloured: Which| is| right|?\n|Answer: </script>"
    assert page.locator("#picture-0-0").text_content() == shown
    assert page.locator(".picture").count() == 3
    assert page.locator("#picture-0-1").is_hidden()
    page.locator("#one summary").nth(1).click()
    assert page.locator("#picture-0-1").inner_text().startswith("table: ")
    page.mouse.move(*layer_at(page, 11))
    assert shown_layer(page) == "Layer 11"
    assert page.locator("img, b").count() == 0


def shown_layer(page):
    return page.locator("#layer-numbers [data-field=layer]").inner_text()


def test_without_script_no_picture_is_promised(visit, pictured_folder, circuitsvis):
    page = visit(pictured_folder, java_script_enabled=False)
    assert page.locator("#one details").first.is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1200])
def test_the_real_circuitsvis_draws_on_the_page(visit, pictured_folder, run_folder, width, scheme):
    if find_spec("circuitsvis") is None:
        pytest.skip("no circuitsvis: its pictures were NOT opened in a browser")
    bundled_script.cache_clear()
    page = visit(pictured_folder, width, color_scheme=scheme)
    for summary in page.locator("#one summary").all()[1:]:
        summary.click()
    assert (
        page.locator("#picture-0-0 .colored-tokens").inner_text().replace("\xa0", " ").startswith("Which is")
    )
    tops = page.locator("#picture-0-1 thead tr").last.locator("th").all_inner_texts()
    assert tops == ["", *"01234"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    growth = write_report(pictured_folder).stat().st_size - write_report(run_folder).stat().st_size
    assert 1_000_000 < growth < 2_000_000
