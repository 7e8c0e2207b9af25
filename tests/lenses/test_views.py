"""Views: what they show is what the model computes, and the page they stand on can reach nothing outside."""

import json
import os
import re
import shutil
import sys
from importlib.util import find_spec

import pytest
import torch

from decision_phases.engine import applied
from decision_phases.errors import InputError, MissingPackageError
from decision_phases.interventions import skip
from decision_phases.lenses import tuned_lens
from decision_phases.models.patterns import attention_from_last, embedding_contributions
from decision_phases.plots.interactive import bundled_script
from decision_phases.readout import ask, read
from decision_phases.tasks import Question, questions
from decision_phases.views import view_attention, view_contributions, view_top_tokens
from decision_phases.views.page import as_script, make_view

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = '</script><img src="https://example.com/x.png" onerror="document.title=1"><!--&'


@pytest.fixture
def item():
    return questions("facts")[0]


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """A package that brings a script of a few letters."""
    folder = tmp_path / "circuitsvis" / "dist" / "cdn"
    folder.mkdir(parents=True)
    (tmp_path / "circuitsvis" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "iife.js").write_text(
        "var CircuitsVis = '<script></script>';\n//# sourceMappingURL=iife.js.map\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "circuitsvis", raising=False)
    bundled_script.cache_clear()
    yield folder
    bundled_script.cache_clear()


def values_of(view):
    (call,) = re.findall(r"CircuitsVis\.render\(\"view\", CircuitsVis\.(\w+), (.*)\);</script>", view.page)
    return call[0], json.loads(call[1])


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_attention_is_that_of_the_answer_position(tiny, item, stub):
    element, shown = values_of(view_attention(tiny, item, heads=True, layers=[1, 4], scoring="letter"))
    encoded = ask(tiny, [item], scoring="letter")
    tokens = encoded.sequences[0].tokens
    assert element == "ColoredTokensMulti"
    assert "".join(shown["tokens"]) == tiny.tokenizer.decode(list(tokens))
    found = torch.tensor(shown["values"])
    assert found.shape == (len(tokens), 8)
    torch.testing.assert_close(found.sum(0), torch.ones(8), atol=1e-5, rtol=0)
    _, cache = tiny.tl.run_with_cache(torch.tensor([tokens]))
    expected = cache["blocks.4.attn.hook_pattern"][0, 2, -1]
    torch.testing.assert_close(
        found[:, shown["labels"].index("layer 4, head 2")], expected, atol=1e-5, rtol=0
    )
    _, mean = values_of(view_attention(tiny, item, scoring="letter"))
    torch.testing.assert_close(torch.tensor(mean["values"])[:, 4], found[:, 4:].mean(1), atol=1e-5, rtol=0)
    assert mean["labels"] == [f"layer {k}" for k in range(6)]
    assert mean["positiveBounds"] == pytest.approx([max(max(row) for row in mean["values"][1:])] * 6)


def test_the_head_that_finds_the_right_word_is_seen_to_look_at_it(reader, reading, stub):
    for place in range(4):
        _, shown = values_of(view_attention(reader, reading[place], layers=[1], heads=True, scoring="letter"))
        looked = [row[0] for row in shown["values"]]
        assert shown["tokens"][looked.index(max(looked))].strip() == reading[place].gold


def test_contributions_are_exact_where_the_model_is_linear(linear, item, stub):
    _, shown = values_of(view_contributions(linear, item, scoring="letter"))
    found = torch.tensor(shown["values"])
    assert found[:-1].abs().max() < 1e-5  # nothing attends, so only the last token says anything
    end = read(linear, [item], scoring="letter").final.scores[0]
    encoded = ask(linear, [item], scoring="letter")
    zero = torch.zeros(1, 32)
    with torch.no_grad():  # what the biases say by themselves is no token's
        for layer in range(4):
            zero = linear.run_block(layer, zero[None], linear.enter(torch.tensor([[1]])))[0]
        own = linear.readout(zero, torch.tensor(encoded.option_ids[0]))[0]
    torch.testing.assert_close(found[-1, :4], torch.tensor(end).float() - own, atol=1e-3, rtol=1e-3)
    gold = item.answer
    others = (found[:, :4].sum(1) - found[:, gold]) / 3
    torch.testing.assert_close(found[:, 4], found[:, gold] - others, atol=1e-4, rtol=1e-4)
    assert shown["labels"] == ["A", "B", "C", "D", f"{'ABCD'[gold]} − others"]
    assert shown["positiveBounds"] == [pytest.approx(found.abs().max())] * 5
    assert shown["negativeBounds"] == [-bound for bound in shown["positiveBounds"]]


def test_contributions_are_slopes(tiny):
    tokens, ids = torch.tensor([5, 9, 7, 11]), torch.tensor([3, 4])
    found = embedding_contributions(tiny, tokens, ids)

    def logits(scale):
        factor = torch.ones(4)
        factor[1] = scale
        with torch.no_grad(), tiny.hooked([(0, "resid_pre", lambda x: x * factor[None, :, None])]):
            return tiny.logits(tokens[None])[0, -1, ids]

    slope = (logits(1.01) - logits(0.99)) / 0.02
    torch.testing.assert_close(found[1], slope, atol=0.02, rtol=0.05)
    assert not any(point.fwd_hooks for point in tiny.tl.hook_dict.values())


def test_top_tokens_are_those_of_the_lens(tiny, item, stub):
    lens = tuned_lens(tiny, limit=8, steps=0)
    element, shown = values_of(view_top_tokens(tiny, item, lenses=[None, lens], k=3, scoring="letter"))
    assert element == "TopkTokens"
    assert shown["firstDimensionLabels"] == ["logit", lens.name]
    assert shown["sampleLabels"] == ["probability", "log-probability"]
    (tokens, _), (probabilities, values), (places, again) = (
        shown["tokens"],
        shown["topkVals"],
        shown["topkIdxs"],
    )
    assert places == again
    torch.testing.assert_close(torch.tensor(probabilities), torch.tensor(values).exp())
    sequence = ask(tiny, [item], scoring="letter").sequences[0]
    with torch.no_grad():
        _, cache = tiny.tl.run_with_cache(torch.tensor([sequence.tokens]))
        resid = cache["blocks.2.hook_resid_post"][0, -1:]
        for row, seen in enumerate((resid, lens.translated(2, resid))):
            top = tiny.readout(seen)[0].double().log_softmax(-1).topk(3)
            assert [tokens[places[row][k][2]] for k in range(3)] == [
                tiny.tokenizer.decode([i]) for i in top.indices.tolist()
            ]
            assert [values[row][k][2] for k in range(3)] == pytest.approx(top.values.tolist(), abs=1e-4)
    assert values[0][0][5] == values[1][0][5]  # the last layer is read as it is
    lows = shown["bottomkVals"][1][0]
    assert lows[0][0] >= lows[2][0]


def test_a_cut_model_shows_what_is_left(tiny, item, stub):
    _, shown = values_of(view_top_tokens(tiny, item, k=2, under=skip(1), scoring="letter"))
    assert len(shown["topkVals"][0][0][0]) == 5
    _, shown = values_of(
        view_attention(tiny, item, under=skip(1) + skip(3, part="attention"), scoring="letter")
    )
    assert shown["labels"] == [f"layer {k}" for k in (0, 2, 4, 5)]
    cut = skip(1)
    tokens = torch.tensor(ask(tiny, [item], scoring="letter").sequences[0].tokens)
    with applied(tiny, cut):
        expected = attention_from_last(tiny, tokens, [2]).mean(1)[0]
    _, shown = values_of(view_attention(tiny, item, under=cut, layers=[2], scoring="letter"))
    torch.testing.assert_close(torch.tensor(shown["values"])[:, 0], expected, atol=1e-5, rtol=0)


# -- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_holds_the_script_once_and_nothing_foreign(stub):
    view = make_view("a <b>", HOSTILE, "X", {"tokens": [HOSTILE]})
    assert view.page.count("<script>") == 3  # two of the page, one inside a text of the script
    assert view.page.count("</script>") == 2
    assert "<img" not in view.page
    assert "sourceMappingURL" not in view.page
    assert "default-src &#x27;none&#x27;" in view.page or "default-src 'none'" in view.page
    assert values_of(view)[1] == {"tokens": [HOSTILE]}
    frame = view._repr_html_()
    assert frame.startswith('<iframe sandbox="allow-scripts"')
    assert frame.count("<") == 2


def test_tokens_hold_no_markup(tiny, stub):
    """CircuitsVis puts them into its page unescaped."""
    odd = Question(("a", "b"), 0, HOSTILE + "&lt;")
    _, shown = values_of(view_attention(tiny, odd, scoring="letter"))
    text = "".join(shown["tokens"])
    said = tiny.tokenizer.decode(list(ask(tiny, [odd], scoring="letter").sequences[0].tokens))
    assert text.replace("\u200b", "") == said
    assert {"<", "&"} <= set(said)
    assert not re.search(r"<[^\u200b]|&[^\u200b]", text)


def test_scripts_of_json_hold_no_markup():
    assert not set("<>&") & set(as_script({"a": HOSTILE}))
    with pytest.raises(ValueError, match="JSON"):
        as_script({"a": float("nan")})


def test_a_view_is_saved_as_a_page(stub, tmp_path):
    view = make_view("t", "n", "X", {})
    assert view.save(tmp_path / "one.html").read_text("utf-8") == view.page
    with pytest.raises(InputError, match=r"\.html file"):
        view.save(tmp_path / "one.txt")


def test_a_script_that_cannot_stand_in_a_page_is_refused(stub):
    (stub / "iife.js").write_text("var CircuitsVis = '<!--';")
    with pytest.raises(InputError, match="take for a comment"):
        bundled_script()
    (stub / "iife.js").unlink()
    with pytest.raises(InputError, match=r"install a release from 1\.43\.3"):
        bundled_script()


def test_without_the_package_the_command_is_told(tiny, item, monkeypatch):
    monkeypatch.setattr("decision_phases.plots.interactive.find_spec", lambda _: None)
    bundled_script.cache_clear()
    for view in (view_attention, view_contributions, view_top_tokens):
        with pytest.raises(MissingPackageError, match=r"pip install 'decision-phases\[circuitsvis\]'"):
            view(tiny, item, scoring="letter")


@pytest.mark.parametrize(
    ("view", "settings", "text"),
    [
        (view_attention, {"layers": [9]}, "layer 9 is out of range"),
        (view_attention, {"layers": [1], "under": skip(1)}, "leaves attention only in the others"),
        (view_contributions, {"scoring": "cloze"}, "several sequences"),
        (view_top_tokens, {"k": 0}, "k=0"),
        (view_top_tokens, {"under": skip(*range(6))}, "every layer is removed"),
    ],
)
def test_bad_input_is_refused(view, settings, text, tiny, item, stub):
    with pytest.raises(InputError, match=text):
        view(tiny, item, **{"scoring": "letter", **settings})


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_the_real_package_draws_without_a_network(tiny, reader, reading, tmp_path):
    if CHROMIUM is None or find_spec("circuitsvis") is None:
        message = "no Chromium or no circuitsvis: the views were NOT opened in a browser"
        if os.environ.get("DECISION_PHASES_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    bundled_script.cache_clear()
    odd = Question(("cow", "dog", "red", HOSTILE), 0, "Which animal?")
    views = {
        "attention": view_attention(reader, reading[0], layers=[1], heads=True, scoring="letter"),
        "contributions": view_contributions(reader, odd, scoring="letter"),
        "top": view_top_tokens(tiny, questions("facts")[0], k=4, scoring="letter"),
    }
    trouble = []

    def refuse(route):
        if route.request.url.startswith(("file:", "data:")):
            route.continue_()
        else:
            trouble.append(f"request: {route.request.url}")
            route.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        context = browser.new_context(offline=True)
        for name, view in views.items():
            page = context.new_page()
            page.route("**/*", refuse)
            page.on("console", lambda m: trouble.append(f"console: {m.text}") if m.type == "error" else None)
            page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
            page.goto(view.save(tmp_path / f"{name}.html").as_uri())
            page.locator("#view > *").first.wait_for()
            text = page.locator("#view").inner_text()
            assert page.title() == view.title
            assert page.locator("img").count() == 0
            if name == "attention":
                assert "layer 1, head 0" in text
                assert "cow" in text
            if name == "contributions":
                assert "A − others" in text
                assert "onerror" in page.locator("p").first.inner_text()
                tokens = page.locator(".colored-tokens").inner_text().replace("\u200b", "")
                said = reader.tokenizer.decode(list(ask(reader, [odd], scoring="letter").sequences[0].tokens))
                assert "<!--&" in said
                assert "".join(tokens.split()) == "".join(said.split())
            if name == "top":
                heads = page.locator("#view thead tr").last.locator("th").all_inner_texts()
                assert heads == ["", *"01234"]
            page.close()
        browser.close()
    assert trouble == []
