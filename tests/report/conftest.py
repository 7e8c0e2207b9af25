"""Synthetic run folders: 30 layers, a transition at 23, and text that tries to break out of the page."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from decision_phases.plots.interactive import bundled_script

HOSTILE = "</script ></script><b>\"&' <img src=x onerror=alert(1)> {{ 7 * 7 }} \u2028 <!-- ]]>"
CATEGORIES = ("capitals", "colours", "animals", "chemistry", "music", "sport", "rivers", "languages")
N_LAYERS = 30
TRANSITION = 23


def interval(values, width, low=-1.0, high=1.0):
    return [[float(max(v - width, low)), float(min(v + width, high))] for v in values]


def margins(rng, n_questions):
    """A silent floor, a steep rise near layer 23, some questions that are never got right."""
    layer = np.arange(N_LAYERS)
    middle = 23 + rng.normal(0, 1.3, n_questions)
    height = np.where(rng.random(n_questions) < 0.07, -0.3, rng.uniform(0.55, 0.98, n_questions))
    floor = rng.uniform(-0.62, -0.2, n_questions)
    rise = 1 / (1 + np.exp(-(layer[None] - middle[:, None] + 0.4) * 2.1))
    noise = rng.normal(0, 0.05, (n_questions, N_LAYERS)).cumsum(axis=1) * 0.25
    values = floor[:, None] + (height - floor)[:, None] * rise + noise * (1 - rise)
    return np.clip(values, -0.99, 0.99)


def decisions_table(rng, values, options):
    rows = []
    n_options = len(options)
    for q, row in enumerate(values):
        gold = q % n_options
        category = CATEGORIES[q % len(CATEGORIES)]
        text = f"Which of these is the right one for case {q} in {category}?"
        if q in (0, 5):
            text = f"Is {HOSTILE} number {q}?"
        others = [i for i in range(n_options) if i != gold]
        for layer, margin in enumerate(row):
            wrong = others[0] if layer < 12 or rng.random() < 0.5 else others[int(rng.integers(len(others)))]
            choice = gold if margin > 0 else wrong
            rows.append(
                {
                    "question_id": f"q{q:03d}",
                    "category": category,
                    "question": text,
                    "layer": layer,
                    "margin": margin,
                    "excess_margin": margin + 0.33,
                    "logit_margin": margin * 9,
                    "choice": choice,
                    "choice_text": options[choice],
                    "gold": gold,
                    "gold_text": options[gold],
                    "correct": choice == gold,
                    "p_gold": (1 + margin) / 2,
                    "p_best_other": (1 - margin) / 2,
                    "options": list(options),
                }
            )
    return pd.DataFrame(rows)


def pruning_row(step, order, seed, accuracy, profile, chance):
    cut = sorted(order[:step])
    by_layer = [None if layer in cut else round(float(max(m, -0.6)), 6) for layer, m in enumerate(profile)]
    kept = [m for m in by_layer if m is not None]
    found = next((i for i, m in enumerate(by_layer) if m is not None and m > 0), None)
    return {
        "step": step,
        "removed": order[step - 1] if step else None,
        "cut": cut,
        "seed": seed,
        "margin": kept[-1],
        "accuracy": round(float(accuracy), 6),
        "accuracy_ci": interval([accuracy], 0.07, 0.0)[0],
        "transition": found if accuracy > chance + 0.1 else None,
        "margin_by_layer": by_layer,
        "cka": {"debiased": float(np.exp(-0.05 * step)), "null_mean": 0.004, "null_high": 0.05}
        if seed is None
        else None,
        "decision_similarity": float(1 - 0.03 * step),
    }


def pruning_rows(rng, mean, final, chance):
    steps = range(7)
    orders = {
        "margin": [10, 14, 5, 11, 18, 25],
        "deepest": [28, 27, 26, 25, 24, 23],
        "shallowest": [1, 2, 3, 4, 5, 6],
        "within_silent": [10, 14, 5, 11, 18, 7],
        "within_decisive": [25, 27, 26, 24, 28, 23],
    }
    cost = {
        "margin": 0.008,
        "deepest": 0.11,
        "shallowest": 0.2,
        "within_silent": 0.015,
        "within_decisive": 0.09,
    }
    rows = {}
    for name, order in orders.items():
        rows[name] = []
        for step in steps:
            lost = cost[name] * step * (1 + 0.3 * step)
            profile = mean - lost * (mean > 0) * 1.2
            rows[name].append(
                pruning_row(step, order, None, max(final - lost, chance - 0.03), profile, chance)
            )
    rows["random"] = []
    for seed in range(5):
        order = [int(i) for i in rng.permutation(np.arange(1, 29))[:6]]
        price = rng.uniform(0.04, 0.16)
        for step in steps:
            accuracy = max(final - price * step, chance - 0.02)
            profile = mean - price * step * (mean > 0)
            rows["random"].append(pruning_row(step, order, seed, accuracy, profile, chance))
    return {name: rows[name] for name in ("margin", "random", *list(orders)[1:])}


def summary_json(mean, accuracy, n_questions, options, rng):
    silent = np.full(len(options), 0.08)
    silent[2] = 1 - silent.sum() + silent[2]
    weight = np.clip((np.arange(N_LAYERS) - 12) / 11, 0, 1)[:, None]
    even = np.full(len(options), 1 / len(options))
    frequency = (1 - weight) * silent + weight * even
    chance = 1 / len(options)
    return {
        "model": {
            "name": "SmolLM2-135M-Instruct",
            "n_layers": N_LAYERS,
            "n_params": 134515008,
            "weights": "Q4_1, dequantised",
            "parity": "logits agree with transformers to 2.1e-05 (4 prompts, tolerance 1e-03)",
            "device": "cpu",
            "dtype": "float32",
            "fingerprint": "9f2c1e77ab03d5c4",
        },
        "questions": {
            "name": "facts",
            "hash": "5be1d0c2f3a49e86",
            "n": n_questions + 64,
            "n_search": 64,
            "n_evaluation": n_questions,
            "categories": list(CATEGORIES),
            "split": 0.5,
        },
        "scoring": "first_token",
        "template": "question_answer",
        "shots": 0,
        "n_questions": n_questions,
        "n_layers": N_LAYERS,
        "chance": chance,
        "layers": list(range(N_LAYERS)),
        "margin": [float(m) for m in mean],
        "margin_ci": interval(mean, 0.055),
        "excess_margin": [float(m + 0.33) for m in mean],
        "accuracy": [float(a) for a in accuracy],
        "accuracy_ci": interval(accuracy, 0.075, 0.0),
        "embed": {"margin": -0.31, "accuracy": 0.24},
        "option_frequency": {
            "options": list(options),
            "values": [[float(v) for v in row] for row in frequency],
            "gold": [float(v) for v in even],
        },
        "option_frequency_reason": None,
        "transition": {
            "layer": TRANSITION,
            "ci_low": 22,
            "ci_high": 24,
            "method": "zero_cross",
            "p_value": 0.0005,
            "detectors": {"zero_cross": 23, "changepoint": 23, "max_jump": 23, "sharpness": None},
            "lens": {"zero_cross": 22},
            "verdict": "transition",
        },
        "phases": {"silent": list(range(23)), "decisive": list(range(23, 30))},
        "pruning": pruning_rows(rng, mean, accuracy[-1], chance),
        "not_applicable": {},
        "caveats": [
            "One model and one question set: nothing here says that other models have a transition.",
            "The weights are a 4-bit file, dequantised; full-precision weights may differ.",
            f"Text like {HOSTILE} must stay text.",
        ],
        "command": "decision-phases run --model smollm2 --questions facts --seed 0",
    }


def write_run(folder, *, n_questions=96, options=("red", "blue", HOSTILE, "green"), seed=0):
    """Write a complete run folder and return it."""
    rng = np.random.default_rng(seed)
    values = margins(rng, n_questions)
    table = decisions_table(rng, values, options)
    mean = values.mean(axis=0)
    accuracy = np.maximum(0.25 + 0.01 * np.sin(np.arange(N_LAYERS)), (values > 0).mean(axis=0))
    summary = summary_json(mean, accuracy, n_questions, options, rng)
    manifest = {
        "versions": {
            "decision_phases": "0.1.0",
            "python": "3.11.7",
            "torch": "2.8.0",
            "transformer_lens": "4.0.0",
        },
        "model_fingerprint": "9f2c1e77ab03d5c4",
        "question_hash": "5be1d0c2f3a49e86",
        "arguments": {"questions": "facts", "up_to": 6, "seed": 0},
        "seed": 0,
        "started": "2025-11-22T03:10:00Z",
        "seconds": 211.4,
        "complete": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    table.to_parquet(folder / "decisions.parquet")
    rows = [{"strategy": name, **row} for name, own in summary["pruning"].items() for row in own]
    for row in rows:
        row["accuracy_low"], row["accuracy_high"] = row.pop("accuracy_ci")
        row["cka"] = (row.pop("cka") or {}).get("debiased")
    pd.DataFrame(rows).to_parquet(folder / "pruning.parquet")
    change(folder, "manifest.json", manifest)
    return change(folder, "summary.json", summary)


def change(folder, name, changes):
    """Update one JSON file of a run folder."""
    path = folder / name
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}, allow_nan=False), encoding="utf-8")
    return folder


def make_partial(folder):
    """Take away what a run interrupted before pruning has not written."""
    (folder / "pruning.parquet").unlink()
    change(folder, "summary.json", {"pruning": {}})
    return change(folder, "manifest.json", {"complete": False})


def make_without_transition(folder):
    """Turn a run into one that found no transition."""
    change(
        folder,
        "summary.json",
        {
            "transition": {
                "layer": None,
                "ci_low": None,
                "ci_high": None,
                "method": "zero_cross",
                "p_value": 0.41,
                "detectors": {"zero_cross": None, "changepoint": 17},
                "lens": None,
                "verdict": "no transition",
            },
            "phases": None,
            "option_frequency": None,
            "option_frequency_reason": "every question has its own options",
            "not_applicable": {
                "within_silent": "no transition was found, so there are no phases",
                "within_decisive": "no transition was found, so there are no phases",
            },
        },
    )
    pruning = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["pruning"]
    kept = {name: rows for name, rows in pruning.items() if not name.startswith("within")}
    for rows in kept.values():
        for row in rows:
            row["transition"] = None
    return change(folder, "summary.json", {"pruning": kept})


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "20251122-smollm2")


@pytest.fixture
def partial_folder(tmp_path: Path) -> Path:
    return make_partial(write_run(tmp_path / "partial"))


@pytest.fixture
def silent_folder(tmp_path: Path) -> Path:
    """A run in which no transition was found."""
    return make_without_transition(write_run(tmp_path / "none"))


@pytest.fixture
def hostile() -> str:
    return HOSTILE


def make_by_category(folder):
    """Turn a run into one whose questions share their options only within categories."""
    table = pd.read_parquet(folder / "decisions.parquet")
    entries = {}
    for number, name in enumerate(CATEGORIES[:3]):
        options = [f"{name} {k}" for k in range(3)] + [HOSTILE]
        values = [[0.0, 1.0, 0.0, 0.0]] * TRANSITION + [[0.5, 0.25, 0.25, 0.0]] * (N_LAYERS - TRANSITION)
        gold = [0.25 + 0.25 * (k == number) - 0.25 * (k == 3) for k in range(4)]
        entries[name] = {
            "options": options,
            "values": values,
            "gold": gold,
            "entropy": [],
            "distance_from_gold": [],
        }
    assert table["category"].isin(CATEGORIES).all()
    return change(
        folder,
        "summary.json",
        {
            "option_frequency": None,
            "option_frequency_reason": "the questions do not share one closed set of options",
            "option_frequency_by_category": entries,
        },
    )


@pytest.fixture
def category_folder(tmp_path: Path) -> Path:
    return make_by_category(write_run(tmp_path / "categories"))


def make_pictured(folder):
    """Add pictures of a right and a wrong answer to a run; of the second, one could not be made."""
    tokens = ["Which", " is", " right", "?\n", "Answer:"]
    layers = [f"layer {layer}" for layer in range(N_LAYERS)]
    colours = {"tokens": tokens, "values": [[0.01 * at] * N_LAYERS for at in range(5)], "labels": layers}
    attention = {
        "title": "Attention",
        "note": "Choose a layer.",
        "element": "ColoredTokensMulti",
        "values": colours,
    }
    ranks = [[[place] * N_LAYERS for place in range(3)]]
    values = [[[0.3 - 0.1 * place] * N_LAYERS for place in range(3)]]
    table = {
        "tokens": [tokens, tokens],
        "topkVals": [values, values],
        "topkIdxs": [ranks, ranks],
        "bottomkVals": [values, values],
        "bottomkIdxs": [ranks, ranks],
        "firstDimensionName": "Lens",
        "thirdDimensionName": "Layer",
        "firstDimensionLabels": ["logit"],
    }
    top = {"title": f"Top {HOSTILE}", "note": HOSTILE, "element": "TopkTokens", "values": table}
    options = ["red", "green", HOSTILE, "blue"]
    right = {"question": f"Is {HOSTILE}?", "options": options, "gold": 2, "choice": 2, "margin": 0.25}
    wrong = {"question": "Which is right?", "options": options, "gold": 1, "choice": 3, "margin": -0.5}
    questions = [
        {**right, "pictures": [attention, top], "left_out": {}},
        {**wrong, "pictures": [top], "left_out": {"attention": "it has no attention weights"}},
    ]
    (folder / "pictures.json").write_text(json.dumps({"questions": questions}), encoding="utf-8")
    return folder


@pytest.fixture
def pictured_folder(tmp_path: Path) -> Path:
    return make_pictured(write_run(tmp_path / "pictured"))


DRAWING = """var CircuitsVis = {
  ColoredTokensMulti: "coloured", TopkTokens: "table",
  render: (place, element, values) => {
    document.getElementById(place).textContent = `${element}: ${values.tokens.flat().join("|")} </script>`;
  },
};
//# sourceMappingURL=iife.js.map
"""


@pytest.fixture
def circuitsvis(tmp_path, monkeypatch):
    """A package that brings a script of a few lines; its folder."""
    folder = tmp_path / "site" / "circuitsvis" / "dist" / "cdn"
    folder.mkdir(parents=True)
    (tmp_path / "site" / "circuitsvis" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "iife.js").write_text(DRAWING)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "circuitsvis", raising=False)
    bundled_script.cache_clear()
    yield folder
    bundled_script.cache_clear()


@pytest.fixture
def without_circuitsvis(monkeypatch):
    monkeypatch.setattr("decision_phases.plots.interactive.find_spec", lambda _: None)
    bundled_script.cache_clear()
    yield
    bundled_script.cache_clear()
