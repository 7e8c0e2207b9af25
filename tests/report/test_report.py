"""The page holds what the run folder holds, whatever is in it."""

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


def test_interrupted_pruning_is_read_from_its_table(run_folder):
    complete = page_of(run_folder).data
    rewrite(run_folder, "summary.json", pruning={})
    recovered = page_of(run_folder).data
    assert {c["name"] for c in recovered["curves"]} == {c["name"] for c in complete["curves"]}
    by_name = {curve["name"]: curve for curve in recovered["curves"]}
    for curve in complete["curves"]:
        assert by_name[curve["name"]]["accuracy"] == curve["accuracy"]
        assert by_name[curve["name"]]["low"] == curve["low"]


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
