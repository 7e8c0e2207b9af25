"""Every command, on small random models."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from decision_phases import load, read, skip, sparsify
from decision_phases import questions as question_set
from decision_phases.studies import DEFAULT_STRATEGIES, RunSettings

SMALL = ("--model", "tiny-llama", "--limit", "40", "--up-to", "2", "--draws", "2", "--threads", "1")


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def arguments_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())["arguments"]


class TestRun:
    def test_leaves_a_complete_folder(self, small_run):
        folder, result = small_run
        assert result.exit_code == 0, result.output
        assert {path.name for path in folder.iterdir()} == {
            "summary.json", "decisions.parquet", "pruning.parquet", "manifest.json", "report.html", "figures",
            "pictures.json", "pruning", "results",
        }  # fmt: skip
        assert (folder / "figures" / "margin_by_layer.png").stat().st_size > 0
        assert json.loads((folder / "manifest.json").read_text())["complete"] is True

    def test_the_summary_has_what_is_promised(self, small_run):
        summary = summary_of(small_run[0])
        assert {"model", "questions", "scoring", "n_questions", "phases", "option_frequency"} <= set(summary)
        assert summary["n_layers"] == len(summary["margin"]) == len(summary["accuracy"]) == 6
        assert set(summary["transition"]) >= {"layer", "ci_low", "ci_high", "method"}
        assert set(summary["pruning"]) | set(summary["not_applicable"]) == set(DEFAULT_STRATEGIES)
        first, *_ = summary["pruning"]["margin"]
        assert set(first) >= {"step", "removed", "cut", "seed", "margin", "accuracy"}
        assert (first["step"], first["cut"]) == (0, [])

    def test_options_reach_the_run(self, small_run):
        folder, _ = small_run
        given = arguments_of(folder)
        assert (given["limit"], given["up_to"], given["draws"], given["split"]) == (
            40,
            2,
            2,
            RunSettings().split,
        )
        assert given["protect"] is None
        assert summary_of(folder)["command"] == f"decision-phases run {' '.join(SMALL)} --out {folder}"

    def test_prints_parity_then_results_then_paths(self, small_run):
        folder, result = small_run
        assert "parity: logits within" in result.stderr
        assert result.stdout.splitlines()[-2:] == [f"folder  {folder}", f"report  {folder / 'report.html'}"]
        summary = summary_of(folder)
        assert summary["transition"]["verdict"] in result.stdout
        assert f"Accuracy {summary['final']['accuracy']:.3f}" in result.stdout
        rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line}
        steps = summary["pruning"]["margin"]
        assert rows["margin"][1:] == [f"{step['accuracy']:.3f}" for step in steps]
        draws = [step["accuracy"] for step in summary["pruning"]["random"] if step["step"] == 2]
        assert rows["random"][1:] == ["(mean", "of", "2)", *rows["random"][4:]]
        assert rows["random"][-1] == f"{np.mean(draws):.3f}"

    def test_quick_is_small_and_what_is_given_wins(self, type_in):
        result = type_in("run", "--quick", "--model", "tiny-gpt2", "--draws", 3, "--protect", "none")
        assert result.exit_code == 0, result.output
        (folder,) = Path("runs").iterdir()
        assert folder.name.endswith("-tiny-gpt2")
        given, quick = arguments_of(folder), RunSettings().quick()
        assert (given["limit"], given["up_to"]) == (quick.limit, quick.up_to)
        assert given["draws"] == 3 != quick.draws
        assert given["protect"] == []

    def test_resuming_a_finished_run_changes_no_number(self, small_run, type_in):
        folder, _ = small_run
        before = summary_of(folder)
        made = (folder / "pruning" / "margin.json").stat().st_mtime_ns
        result = type_in("run", *SMALL, "--resume", "--out", folder)
        assert result.exit_code == 0, result.output
        after = summary_of(folder)
        assert (folder / "pruning" / "margin.json").stat().st_mtime_ns == made
        assert {**after, "command": ""} == {**before, "command": ""}

    def test_resuming_with_other_options_is_refused(self, small_run, type_in):
        folder, _ = small_run
        before = (folder / "summary.json").read_bytes()
        result = type_in("run", *SMALL, "--seed", 1, "--resume", "--out", folder)
        assert result.exit_code == 2
        assert "seed (0 then, 1 now)" in result.stderr or "question hash" in result.stderr
        assert (folder / "summary.json").read_bytes() == before


class TestPrune:
    def test_controls_are_added(self, type_in):
        result = type_in("prune", "--by", "shallowest", *SMALL, "--out", "p")
        assert result.exit_code == 0, result.output
        assert list(summary_of(Path("p"))["pruning"]) == ["shallowest", "random", "deepest"]
        assert set(pd.read_parquet("p/pruning.parquet")["strategy"]) == {"shallowest", "random", "deepest"}

    def test_controls_can_be_left_out_and_layers_protected(self, type_in):
        result = type_in(
            "prune", "--by", "shallowest, deepest", "--no-controls", "--protect", "0,1,5", "--split", "none",
            *SMALL, "--out", "p",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        summary = summary_of(Path("p"))
        cuts = {name: steps[-1]["cut"] for name, steps in summary["pruning"].items()}
        assert cuts == {"shallowest": [2, 3], "deepest": [4, 3]}
        assert summary["questions"]["split"] is None or summary["questions"]["n_search"] == 40
        assert summary["n_questions"] == 40

    def test_search_is_for_strategies_that_do_not_say_how(self, type_in):
        result = type_in(
            "prune", "--by", "cka,kl:window", "--search", "iterative", "--no-controls", *SMALL, "--out", "p"
        )
        assert result.exit_code == 0, result.output
        assert list(summary_of(Path("p"))["pruning"]) == ["cka:iterative", "kl:window"]

    def test_objective_texts_and_a_share_of_parameters_reach_the_run(self, type_in):
        Path("texts.txt").write_text("A cow is hot.\n\nThe sun is cold.\n\nA dog is white.\n\nIce is wet.\n")
        result = type_in(
            "prune", "--by", "beam", "--objective", "perplexity", "--width", "2", "--texts", "texts.txt",
            "--no-controls", *SMALL, "--up-to", "16%", "--out", "p",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        given = arguments_of(Path("p"))
        assert [given[name] for name in ("objective", "width", "texts", "up_to")] == [
            "perplexity", 2, "texts.txt", "16%",
        ]  # fmt: skip
        steps = summary_of(Path("p"))["pruning"]["beam"]
        assert [step["step"] for step in steps] == [0, 1, 2]  # a block of tiny-llama is 7.5 % of it
        assert steps[1]["search_value"] > 1  # a perplexity, not a margin


class TestCompare:
    def test_leaves_a_comparison_and_prints_it(self, type_in):
        result = type_in(
            "compare", "--by", "cosine_mlp", "--splits", 2, "--evaluate", "self_margin", "--timing", "1x8",
            *SMALL, "--limit", 24, "--up-to", 1, "--draws", 1, "--out", "c",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        content = json.loads(Path("c/comparison.json").read_text())
        names = ["cosine_mlp", "random_mlp", "random", "deepest"]
        assert [row["strategy"] for row in content["strategies"]] == names
        for name in ("comparison.parquet", "report.html", "figures/comparison.png"):
            assert Path("c", name).is_file()
        assert arguments_of(Path("c"))["compare"] is True
        rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line}
        area = content["strategies"][0]["area"]
        assert rows["cosine_mlp"][1:3] == ["1", "–" if area is None else f"{area:.3f}"]
        assert result.stdout.splitlines()[-2] == "folder  c"
        assert content["reference"] == "cosine_mlp"
        assert [row["strategy"] for row in content["against"]] == ["random_mlp"]
        assert "over cosine_mlp" in result.stdout
        assert {"self_margin", "latency_ms", "split"} <= set(pd.read_parquet("c/pruning.parquet"))


class TestRead:
    def test_prints_every_layer_and_keeps_nothing(self, type_in):
        result = type_in("read", "--model", "tiny-llama", "--limit", 60, "--skip", "2", "--skip-mlp", "4")
        assert result.exit_code == 0, result.output
        expected = read("tiny-llama", question_set("facts", limit=60), under=skip(2) + skip(4, part="mlp"))
        lines = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line}
        assert lines["2"] == ["2", "removed"]
        for layer in (0, 1, 3, 4, 5):
            cells = lines[str(layer)]
            assert cells[1] == f"{expected.margin[:, layer].mean():+.3f}"
            assert cells[5] == f"{expected.accuracy[layer]:.3f}"
        assert list(Path().iterdir()) == []

    def test_keeps_folder_and_report_on_request(self, type_in):
        result = type_in(
            "read", "--model", "tiny-llama", "--limit", 40, "--out", "kept", "--skip-attention", "1"
        )
        assert result.exit_code == 0, result.output
        summary = summary_of(Path("kept"))
        assert summary["pruning"] == {}
        assert summary["n_questions"] == 40
        assert "skip attention {1}" in summary["under"]
        assert Path("kept/report.html").is_file()
        assert result.stdout.splitlines()[-1] == f"report  {Path('kept/report.html')}"

    def test_weights_are_set_to_zero_by_the_same_words_as_in_python(self, type_in):
        words = ("--skip", 2, "--sparsify", "wanda:2:4", "--texts", "lines.txt")
        Path("lines.txt").write_text("Is water wet? Yes, it is.\n\nIs fire cold? No, it is hot.\n")
        result = type_in("read", "--model", "tiny-llama", "--limit", 20, "--out", "kept", *words)
        assert result.exit_code == 0, result.output
        made = sparsify("tiny-llama", "wanda:2:4", texts="lines.txt", under=skip(2))
        assert summary_of(Path("kept"))["under"] == "skip {2} + wanda:2:4 {0, 1, 3..5}"
        expected = read("tiny-llama", question_set("facts", limit=20), under=skip(2) + made)
        kept = pd.read_parquet("kept/decisions.parquet")
        np.testing.assert_array_equal(kept.margin[kept.layer == 5], expected.margin[:, 5])

    def test_other_scorings_templates_and_shots(self, type_in):
        words = (
            "--model",
            "tiny-gpt2",
            "--limit",
            20,
            "--scoring",
            "letter",
            "--shots",
            1,
            "--template",
            "q_a",
        )
        result = type_in("read", *words, "--out", "kept")
        assert result.exit_code == 0, result.output
        summary = summary_of(Path("kept"))
        assert (summary["scoring"], summary["shots"], summary["template"]) == ("letter", 1, "q_a")
        assert summary["show_options"] is True
        hidden = type_in("read", *words, "--no-show-options", "--out", "hidden")
        assert hidden.exit_code == 0, hidden.output
        assert summary_of(Path("hidden"))["show_options"] is False


class TestModels:
    def test_lists_what_needs_no_network(self, type_in):
        result = type_in("models")
        assert result.exit_code == 0, result.output
        assert "SmolLM2-135M-Instruct" in result.stdout
        assert "tiny-rwkv" in result.stdout
        assert "installed" in result.stdout
        assert "loaded on cpu in float32" in result.stdout or "loaded on cuda" in result.stdout

    def test_describes_one(self, type_in):
        result = type_in("models", "tiny-bloom", "--dtype", "float64")
        assert result.exit_code == 0, result.output
        model = load("tiny-bloom", dtype="float64", quiet=True)
        assert repr(model) in result.stdout
        assert str(model.parity) in result.stdout
        assert model.fingerprint in result.stdout
        assert all(site in result.stdout for site in model.sites)


class TestQuestions:
    def test_lists_sets(self, type_in):
        result = type_in("questions")
        assert result.exit_code == 0, result.output
        assert f"bundled, {len(question_set('facts'))} questions" in result.stdout
        assert "hellaswag" in result.stdout

    def test_describes_one(self, type_in):
        result = type_in("questions", "facts", "--scoring", "letter", "--examples", 2)
        assert result.exit_code == 0, result.output
        facts = question_set("facts")
        assert f"{len(facts)} questions" in result.stdout
        assert "chance 0.250, scoring letter" in result.stdout
        colors = ", ".join(facts.closed_options("colors"))
        (row,) = [line for line in result.stdout.splitlines() if line.startswith("colors")]
        assert row.split()[1] == str(len(facts.filter("colors")))
        assert row.endswith(colors)
        for item in facts[:2]:
            assert f"  | Question: {item.question}\n  | A. {item.options[0]}" in result.stdout

    def test_checks_a_file_in_a_scoring(self, type_in):
        result = type_in("questions", "facts", "--check", "--model", "tiny-llama", "--scoring", "cloze")
        assert result.exit_code == 0, result.output
        assert "in order: 320 questions are 1280 sequences" in result.stdout

    def test_without_a_scoring_tries_each(self, type_in):
        rows = [
            {"question": "Which animal says moo?", "options": ["cow milk", "cow grass"], "answer": 0},
            {"question": "Which animal says woof?", "options": ["dog", "cat"], "answer": "dog"},
        ]
        Path("mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
        result = type_in("questions", "mine.jsonl", "--check", "--model", "tiny-llama")
        assert result.exit_code == 0, result.output
        found = {line.split()[0]: line for line in result.stdout.splitlines() if line}
        assert "scoring none of its own" in result.stdout
        assert "share the first token" in found["first_token"]
        assert "in order" in found["cloze"]
        assert "in order" in found["letter"]


@pytest.mark.parametrize("command", ["run", "read", "prune", "models tiny-llama"])
def test_nothing_but_ours_is_written_to_stderr(command, type_in):
    words = command.split()
    given = SMALL if words[0] in ("run", "prune") else SMALL[:4] if words[0] == "read" else ()
    result = type_in(*words, *given)
    assert result.exit_code == 0, result.output
    assert all(line.startswith(("<tiny-llama", "parity:")) for line in result.stderr.splitlines())
