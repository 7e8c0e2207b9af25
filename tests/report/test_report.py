"""The page holds what the run folder holds, whatever is in it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from decision_phases.errors import InputError
from decision_phases.report import write_figures, write_report
from decision_phases.report.page import embed


class Page(HTMLParser):
    """Elements by name, with their attributes, and the text of each script."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements = []
        self.scripts = []
        self.words = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] == "script" and data.strip():
            self.scripts.append(data)
        self.words.append(data)

    @property
    def data(self):
        return json.loads(self.scripts[0])

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))


def page_of(folder):
    return Page(write_report(folder).read_text(encoding="utf-8"))


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def rewrite(folder, name, **changes):
    path = folder / name
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")


def test_embedded_numbers_are_those_of_the_summary(run_folder):
    data, summary = page_of(run_folder).data, summary_of(run_folder)
    for name in ("margin", "margin_ci", "accuracy", "accuracy_ci", "excess_margin", "option_frequency"):
        assert data[name] == summary[name]
    assert data["transition"] == {"layer": 23, "ci_low": 22, "ci_high": 24}


def test_embedded_questions_are_those_of_the_table(run_folder):
    questions = page_of(run_folder).data["questions"]
    table = pd.read_parquet(run_folder / "decisions.parquet")
    for number in (0, 41, 95):
        rows = table[table["question_id"] == f"q{number:03d}"].sort_values("layer")
        assert questions["margin"][number] == [round(m, 4) for m in rows["margin"]]
        assert questions["choice"][number] == rows["choice"].tolist()
        assert questions["text"][number] == rows["question"].iloc[0]
        assert questions["options"][number] == rows["options"].iloc[0].tolist()
        final = rows["choice"].iloc[-1]
        commitment = questions["commitment"][number]
        assert (rows["choice"].iloc[commitment:] == final).all()
        assert commitment == 0 or rows["choice"].iloc[commitment - 1] != final


def test_hostile_text_stays_text(run_folder, hostile):
    page = page_of(run_folder)
    assert [name for name, _ in page.elements if name == "script"] == ["script"] * 2
    assert not [name for name, _ in page.elements if name in {"img", "b", "iframe", "link", "base"}]
    assert hostile in page.data["questions"]["text"][0]
    assert hostile in page.data["option_frequency"]["options"]
    assert re.sub(r"\s+", " ", hostile) in page.text


def test_embedded_data_has_no_character_that_markup_could_read(hostile):
    embedded = embed({"text": hostile})
    assert not set(embedded) & set("<>&\u2028\u2029")
    assert json.loads(embedded) == {"text": hostile}


def test_nothing_in_the_page_points_elsewhere(run_folder):
    page = page_of(run_folder)
    targets = [v for _, attrs in page.elements for k, v in attrs.items() if k in {"src", "href", "action"}]
    assert [target for target in targets if not target.startswith("#")] == []
    policy = next(
        a["content"] for name, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert not re.search(
        r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", write_report(run_folder).read_text()
    )


def test_the_same_folder_gives_the_same_page(run_folder):
    first = write_report(run_folder).read_bytes()
    assert write_report(run_folder).read_bytes() == first


def test_page_stays_small(run_folder):
    # 96 questions, 30 layers: about 100 kB of data beside 50 kB of page.
    assert write_report(run_folder).stat().st_size < 250_000


def test_headline_names_the_transition_and_its_interval(run_folder):
    page = page_of(run_folder)
    assert "SmolLM2-135M-Instruct decides at layer 23, with a 95% interval of 22–24." in page.text
    assert "Q4_1, dequantised" in page.text
    assert (
        "64 search questions chose which blocks to remove, and 96 others measured what that did." in page.text
    )


def test_tables_say_without_script_what_the_charts_show(run_folder):
    text, summary = page_of(run_folder).text, summary_of(run_folder)
    for layer in range(30):
        assert f"{summary['margin'][layer]:+.3f}".replace("-", "−") in text
    assert "random, draw 4" in text


def test_no_transition_is_said_plainly(silent_folder):
    page = page_of(silent_folder)
    assert "No transition found in SmolLM2-135M-Instruct on facts." in page.text
    assert "cannot be told from those with shuffled right answers (p = 0.41)" in page.text
    assert (
        "Option Frequency is undefined for these questions: every question has its own options." in page.text
    )
    assert page.text.count("Not applicable: no transition was found, so there are no phases.") == 2
    assert page.data["transition"]["layer"] is None


def test_small_p_value_is_not_blamed_for_a_missing_transition(silent_folder):
    transition = {**summary_of(silent_folder)["transition"], "p_value": 0.001}
    rewrite(silent_folder, "summary.json", transition=transition)
    assert "does not rise through the layers by more than its own uncertainty" in page_of(silent_folder).text


def test_vanishing_transition_is_told(run_folder):
    pruning = summary_of(run_folder)["pruning"]
    for row in pruning["margin"][4:]:
        row["transition"] = None
    rewrite(run_folder, "summary.json", pruning=pruning)
    assert "the transition vanished: intact at layer 23, missing from step 4." in page_of(run_folder).text


def test_same_questions_for_search_and_evaluation_are_called_optimistic(run_folder):
    questions = {**summary_of(run_folder)["questions"], "split": None}
    rewrite(run_folder, "summary.json", questions=questions)
    assert "those accuracies are optimistic" in page_of(run_folder).text


def test_partial_run_says_so(partial_folder):
    page = page_of(partial_folder)
    assert "Partial run." in page.text
    assert "Missing: pruning." in page.text
    assert "Not measured: when the run stopped, no blocks were removed." in page.text
    assert page.data["curves"] == page.data["paths"] == []


def test_only_the_summary_is_needed(partial_folder):
    for name in ("decisions.parquet", "manifest.json"):
        (partial_folder / name).unlink()
    page = page_of(partial_folder)
    assert "Missing: decisions for each question, pruning, the record of versions and arguments." in page.text
    assert page.data["questions"] is None


def test_removed_layers_are_null_and_shown_as_dashes(run_folder):
    summary = summary_of(run_folder)
    for name in ("margin", "accuracy", "excess_margin"):
        summary[name][7] = None
    for name in ("margin_ci", "accuracy_ci"):
        summary[name][7] = [None, None]
    summary["option_frequency"]["values"][7] = [None] * 4
    rewrite(run_folder, "summary.json", **summary)
    table = pd.read_parquet(run_folder / "decisions.parquet")
    table.loc[table["layer"] == 7, "margin"] = np.nan
    table.to_parquet(run_folder / "decisions.parquet")
    data = page_of(run_folder).data
    assert data["questions"]["margin"][3][7] is None
    assert data["questions"]["choice"][3][7] is None
    assert data["margin"][7] is None
    assert len(write_figures(run_folder)) > 3


def test_figures_are_written_once_for_each_thing_measured(run_folder, silent_folder):
    names = [path.stem for path in write_figures(run_folder)]
    orders = ("margin", "deepest", "shallowest", "within_silent", "within_decisive")
    paths = [f"transition_path_{name}" for name in orders]
    assert names == ["margin_by_layer", "option_frequency", "pruning_curves", *paths]
    assert "option_frequency" not in [path.stem for path in write_figures(silent_folder)]


def test_missing_summary_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no summary\.json"):
        write_report(tmp_path)


def test_summary_without_margins_is_refused(run_folder):
    content = summary_of(run_folder)
    del content["margin"]
    (run_folder / "summary.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="lacks margin"):
        write_report(run_folder)


def test_summary_of_another_length_is_refused(run_folder):
    rewrite(run_folder, "summary.json", accuracy=[0.5] * 29)
    with pytest.raises(InputError, match="29 values of accuracy for 30 layers"):
        write_report(run_folder)


def test_broken_summary_is_refused(run_folder):
    (run_folder / "summary.json").write_text('{"model": ', encoding="utf-8")
    with pytest.raises(InputError, match="is not JSON"):
        write_report(run_folder)


def test_decisions_without_a_column_are_refused(run_folder):
    path = run_folder / "decisions.parquet"
    pd.read_parquet(path).drop(columns=["gold"]).to_parquet(path)
    with pytest.raises(InputError, match="lacks gold"):
        write_report(run_folder)


def test_option_frequency_within_categories_is_summed_up_in_words(category_folder):
    """Before layer 23 one option always; gold (0.5, 0.25, 0.25) and its rotations have entropy 0.75."""
    page = page_of(category_folder)
    assert "but 3 categories do, with 12 questions each, so it is counted within each of them" in page.text
    assert (
        "In the Silent Phase the mean entropy of the choices is 0.00, at most 0.00: mostly one and the same option, "
        "whatever the question; their distance from the frequency of the right answers is 0.67 on average. The last "
        "layer has an entropy of 0.75, where the right answers have 0.75, and a distance of 0.17."
    ) in page.text
    assert "Option Frequency is undefined" not in page.text


def test_option_frequency_within_categories_is_embedded(category_folder):
    frequencies = page_of(category_folder).data["frequencies"]
    summary = summary_of(category_folder)["option_frequency_by_category"]
    assert [category["name"] for category in frequencies["categories"]] == sorted(summary)
    for category in frequencies["categories"]:
        assert category["values"] == summary[category["name"]]["values"]
        assert category["gold"] == summary[category["name"]]["gold"]
        assert category["title"] == f"{category['name']}, 12 questions"
    assert frequencies["entropy"] == [0.0] * 23 + [0.75] * 7
    np.testing.assert_allclose(frequencies["distance"][22], (0.75 + 0.5 + 0.75) / 3, atol=1e-4)
    np.testing.assert_allclose(frequencies["distance"][23], (0.0 + 0.25 + 0.25) / 3, atol=1e-4)


@pytest.mark.usefixtures("blank_figures")
def test_at_most_twelve_categories_are_drawn_and_the_others_named(category_folder):
    entry = summary_of(category_folder)["option_frequency_by_category"]["animals"]
    many = {f"c{k:02d}": entry for k in range(14)}
    rewrite(category_folder, "summary.json", option_frequency_by_category=many)
    page = page_of(category_folder)
    assert len(page.data["frequencies"]["categories"]) == 12
    assert "Not drawn, but in summary.json: c12, c13." in page.text
    assert "option_frequency_by_category" in [path.stem for path in write_figures(category_folder)]


@pytest.mark.usefixtures("blank_figures")
def test_removed_layers_have_no_option_frequency(category_folder):
    entries = summary_of(category_folder)["option_frequency_by_category"]
    for entry in entries.values():
        entry["values"] = [*entry["values"][:7], [None] * 4, *entry["values"][8:]]
    rewrite(category_folder, "summary.json", option_frequency_by_category=entries)
    frequencies = page_of(category_folder).data["frequencies"]
    assert frequencies["entropy"][7] is None
    assert frequencies["entropy"][6] == 0.0
    assert len(write_figures(category_folder)) > 3


def test_without_phases_option_frequency_is_told_by_its_range(category_folder):
    rewrite(category_folder, "summary.json", phases=None)
    assert "Mean entropy lies between 0.00 and 0.75. The last layer has" in page_of(category_folder).text


def test_margins_within_their_uncertainty_are_not_called_a_lead(run_folder):
    summary = summary_of(run_folder)
    for layer in (23, 24, 25):
        summary["margin"][layer] = 0.01 * (layer - 22)
        summary["margin_ci"][layer] = [-0.1, 0.1]
    rewrite(run_folder, "summary.json", **summary)
    expected = "on average, though at layers 23–25 by less than the uncertainty of the mean"
    assert expected in page_of(run_folder).text
    summary["margin_ci"][24] = [0.01, 0.1]
    rewrite(run_folder, "summary.json", **summary)
    assert "though at layers 23, 25 by less" in page_of(run_folder).text


def test_an_informed_model_without_a_boundary_is_told_apart_from_one_that_knows_nothing(silent_folder):
    transition = {**summary_of(silent_folder)["transition"], "p_value": 0.001, "outcome": "not located"}
    rewrite(silent_folder, "summary.json", transition=transition)
    text = page_of(silent_folder).text
    assert "The final decision is informed, but the mean margin does not stay above zero" in text
    assert "by more than its own uncertainty" not in text


def test_strategies_that_end_early_are_told_with_their_length(run_folder):
    pruning = summary_of(run_folder)["pruning"]
    pruning["within_decisive"] = pruning["within_decisive"][:4]
    rewrite(run_folder, "summary.json", pruning=pruning)
    last = pruning["within_decisive"][-1]["accuracy"]
    silent = pruning["within_silent"][3]["accuracy"]
    text = page_of(run_folder).text
    assert f"A phase ran out of blocks: within decisive ends after 3 blocks, at {last:.0%}." in text
    assert f"With 3 blocks chosen from the Silent Phase alone it answers {silent:.0%}, " in text
    assert f"alone {last:.0%}; the Decisive Phase had no others to choose from." in text


def test_another_boundary_on_the_search_questions_is_told(run_folder):
    searched = {"layer": 26, "ci_low": 23, "ci_high": 27, "method": "zero_crossing"}
    rewrite(run_folder, "summary.json", search_transition=searched)
    text = page_of(run_folder).text
    assert (
        "use the boundary that the search questions show, layer 26; the evaluation questions show layer 23."
        in text
    )
    assert "layer 26, interval 23–27; strategies within a phase go by this one" in text
    rewrite(run_folder, "summary.json", search_transition={**searched, "layer": 23})
    assert "use the boundary that the search questions show" not in page_of(run_folder).text


def test_a_transition_that_comes_back_is_missing_only_from_its_last_loss(run_folder):
    pruning = summary_of(run_folder)["pruning"]
    for row, transition in zip(pruning["margin"], (23, None, 24, None, None, None, None), strict=True):
        row["transition"] = transition
        row["outcome"] = "transition" if transition else "not located"
    rewrite(run_folder, "summary.json", pruning=pruning)
    text = page_of(run_folder).text
    assert "the transition was lost: intact at layer 23, missing from step 3." in text
    assert "the decision still tells right from wrong better than chance" in text


def test_ties_are_told_where_there_are_any(run_folder):
    assert "Ties go to" not in page_of(run_folder).text
    rewrite(run_folder, "summary.json", tie_rate=[0.0, 0.125, None, *[0.0] * 27])
    assert "there are most at layer 1, in 12% of the questions" in page_of(run_folder).text


def test_agreement_of_the_detectors_is_shown(run_folder):
    said = "zero_crossing 23; within one layer: change_point 23; elsewhere: commitment 27."
    transition = {**summary_of(run_folder)["transition"], "agreement": said}
    rewrite(run_folder, "summary.json", transition=transition)
    assert said.replace("_", " ") in page_of(run_folder).text


def test_a_run_that_only_read_says_nothing_about_choosing(run_folder):
    rewrite(run_folder, "summary.json", pruning={}, under="skip {29}")
    (run_folder / "pruning.parquet").unlink()
    text = page_of(run_folder).text
    assert "In this run no blocks were removed." in text
    assert "chose what" not in text
    assert "chose which blocks" not in text
    assert "skip {29}" in text


def test_the_final_numbers_are_those_of_the_last_layer_there_is(run_folder):
    summary = summary_of(run_folder)
    for name in ("margin", "accuracy", "excess_margin"):
        summary[name][29] = None
    for name in ("margin_ci", "accuracy_ci"):
        summary[name][29] = [None, None]
    rewrite(run_folder, "summary.json", **summary)
    shown = f"{summary['margin'][28]:+.2f}".replace("-", "−")
    assert f"Final margin{shown}" in page_of(run_folder).text


def test_a_transition_that_moved_and_came_back_is_told(run_folder):
    pruning = summary_of(run_folder)["pruning"]
    for row, transition in zip(pruning["margin"], (23, 27, None, 23, 23, 23, 23), strict=True):
        row["transition"] = transition
    rewrite(run_folder, "summary.json", pruning=pruning)
    text = page_of(run_folder).text
    assert "the transition ended where it began, at layer 23; steps between had none, 27." in text


def policy_of(page):
    return next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")


def test_pictures_are_drawn_by_one_script_that_the_page_allows(pictured_folder, circuitsvis):
    page = page_of(pictured_folder)
    (left, right) = json.loads((pictured_folder / "pictures.json").read_text())["questions"]
    given = [*left["pictures"], *right["pictures"]]
    assert list(page.data["pictures"]) == ["picture-0-0", "picture-0-1", "picture-1-0"]
    assert list(page.data["pictures"].values()) == [
        {"element": one["element"], "values": one["values"]} for one in given
    ]
    assert [name for name, _ in page.elements].count("script") == len(page.scripts) == 3
    assert [script.count("var CircuitsVis") for script in page.scripts] == [0, 1, 0]
    assert "sourceMappingURL" not in page.scripts[1]
    allowed = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.scripts[1:]]
    assert f"script-src 'sha256-{allowed[0]}' 'sha256-{allowed[1]}';" in policy_of(page)
    places = [attrs["id"] for _, attrs in page.elements if attrs.get("id", "").startswith("picture-")]
    assert places == list(page.data["pictures"])


def test_pictured_questions_are_told_in_words(pictured_folder, circuitsvis, hostile):
    page = page_of(pictured_folder)
    assert (
        "5 One question A right answer and a wrong one, each with the median final margin of its kind."
        in page.text
    )
    assert "Chosen: blue, which is wrong; right is green. Final margin −0.50." in page.text
    assert "Not drawn: attention: it has no attention weights." in page.text
    assert re.sub(r"\s+", " ", f"Chosen: {hostile}, which is right. Final margin +0.25.") in page.text
    assert not [name for name, _ in page.elements if name in {"img", "b"}]
    assert "6 Conditions and caveats" in page.text
    assert "7 Run it again" in page.text


def test_without_the_package_the_command_that_installs_it_is_told(pictured_folder, without_circuitsvis):
    page = page_of(pictured_folder)
    assert "5 One question Not drawn: " in page.text
    assert (
        "pip install 'decision-phases[circuitsvis]'. The command below, typed again with --resume"
        in page.text
    )
    assert page.data["pictures"] == {}
    assert [name for name, _ in page.elements].count("script") == 2
    assert "Which is right?" not in page.text


def test_a_package_that_cannot_draw_does_not_keep_the_report_from_being_written(pictured_folder, circuitsvis):
    (circuitsvis / "iife.js").write_text("var CircuitsVis = '<!--';")
    assert "so it cannot stand in one; use release 1.43.3" in page_of(pictured_folder).text


def test_pictures_that_cannot_be_made_are_told_with_the_reason(pictured_folder, circuitsvis):
    (question, _) = json.loads((pictured_folder / "pictures.json").read_text())["questions"]
    why = dict.fromkeys(("attention", "top tokens"), "cloze scoring has several sequences a question")
    rewrite(pictured_folder, "pictures.json", questions=[{**question, "pictures": [], "left_out": why}])
    page = page_of(pictured_folder)
    assert "Not drawn: none of the pictures can be made of these questions." in page.text
    assert "attention, top tokens: cloze scoring has several sequences a question." in page.text
    assert [name for name, _ in page.elements].count("script") == 2


@pytest.mark.parametrize(("row", "expected"), [(0, "The right answer with"), (1, "The wrong answer with")])
def test_where_all_answers_are_alike_one_question_is_pictured(pictured_folder, circuitsvis, row, expected):
    questions = json.loads((pictured_folder / "pictures.json").read_text())["questions"]
    rewrite(pictured_folder, "pictures.json", questions=[questions[row]])
    assert expected in page_of(pictured_folder).text


def test_a_run_without_pictures_has_no_section_for_them(run_folder, circuitsvis):
    page = page_of(run_folder)
    assert "One question" not in page.text
    assert "5 Conditions and caveats" in page.text
    assert page.data["pictures"] == {}
    assert [name for name, _ in page.elements].count("script") == 2
