"""`summary.json`: the numbers of a run and what they depend on."""

from __future__ import annotations

from typing import Any

import numpy as np

from decision_phases.models import ModelAccess
from decision_phases.readout import Decisions, Phases
from decision_phases.readout.decisions import ends
from decision_phases.readout.metrics import frequency_distance, frequency_entropy
from decision_phases.tasks import QuestionSet

_TAIL = (
    "Reading layer l with the final norm and the unembedding is the same as removing every block after l. So that the "
    "last few blocks can be removed without harm once the margin is high is what the lens says already, not a second "
    "finding; removing blocks from the middle of a phase is the test."
)


def summarise(
    model: ModelAccess,
    decisions: Decisions,
    phases: Phases | None,
    *,
    search_phases: Phases | None,
    questions: QuestionSet,
    n_search: int,
    split: float | None,
    seed: int,
    command: str,
) -> dict[str, Any]:
    """Put the numbers of the intact model into JSON values.

    Args:
        model: The model.
        decisions: Its decisions on the questions that measure.
        phases: Its phases there, None if no layer is left.
        search_phases: Its phases on the questions that choose.
        questions: All questions of the run.
        n_search: How many of them choose.
        split: The share that chooses.
        seed: Of everything random.
        command: What was typed.

    Returns:
        The content of `summary.json`, with no strategy in `pruning` yet.
    """
    margin, accuracy = decisions.margin_interval(seed=seed), decisions.accuracy_interval()
    found: dict[str, Any] = {} if phases is None else phases.to_dict()
    names = ("p_value", "outcome", "verdict", "agreement", "ci_share", "lens", "rise", "rise_se")
    detectors = {} if phases is None else dict(phases.detectors)
    transition = {
        **(found.get("transition") or {"layer": None, "ci_low": None, "ci_high": None, "method": "none"}),
        **{name: found.get(name) for name in names},
        "detectors": detectors,
    }
    frequency, reason = _frequency(decisions, None)
    closed = {
        category: _frequency(decisions, category)[0]
        for category in decisions.encoded.questions.categories
        if frequency is None and decisions.encoded.shared_identities(category) is not None
    }
    return {
        "model": {
            "name": model.name,
            "architecture": model.architecture,
            "n_layers": model.n_layers,
            "n_params": model.n_params,
            "weights": model.weights,
            "parity": str(model.parity),
            "device": str(model.device),
            "dtype": str(model.dtype).removeprefix("torch."),
            "backend": model.kind,
            "fingerprint": model.fingerprint,
        },
        "questions": {
            "name": questions.name,
            "hash": questions.content_hash,
            "n": len(questions),
            "n_search": n_search,
            "n_evaluation": decisions.n_questions,
            "categories": list(questions.categories),
            "split": split if search_phases is not None else None,
        },
        "scoring": decisions.scoring,
        "template": decisions.encoded.template,
        "shots": decisions.encoded.shots,
        "show_options": decisions.encoded.show_options,
        "bos": decisions.encoded.bos,
        "under": str(decisions.under),
        "n_questions": decisions.n_questions,
        "n_layers": decisions.n_layers,
        "chance": decisions.chance,
        "layers": list(range(decisions.n_layers)),
        "survivors": list(decisions.survivors),
        "margin": _clean(decisions.margin.mean(axis=0)),
        "margin_ci": _clean(ends(margin)),
        "excess_margin": _clean(decisions.excess_margin.mean(axis=0)),
        "accuracy": _clean(decisions.accuracy),
        "accuracy_ci": _clean(ends(accuracy)),
        "embed": _embed(decisions),
        "final": {"margin": float(decisions.final.margin.mean()), "accuracy": decisions.final.accuracy},
        "option_frequency": frequency,
        "option_frequency_reason": reason,
        "option_frequency_by_category": closed,
        "tie_rate": _clean(decisions.tie_rate),
        "transition": transition,
        "search_transition": None if search_phases is None else search_phases.to_dict()["transition"],
        "phases": found.get("phases"),
        "pruning": {},
        "not_applicable": {},
        "caveats": _caveats(model, decisions, split if search_phases is not None else None),
        "seed": seed,
        "command": command,
    }


def _frequency(decisions: Decisions, category: str | None) -> tuple[dict[str, Any] | None, str | None]:
    reason = decisions.encoded.frequency_undefined_reason(category)
    if reason is not None:
        return None, reason
    table = decisions.option_frequency(category)
    values, gold = table.drop(index="gold").to_numpy(), table.loc["gold"].to_numpy()
    return {
        "options": [str(name) for name in table.columns],
        "values": _clean(values),
        "gold": _clean(gold),
        "entropy": _clean(frequency_entropy(values)),
        "distance_from_gold": _clean(frequency_distance(values, gold)),
    }, None


def _embed(decisions: Decisions) -> dict[str, float]:
    from decision_phases.readout.decisions import final_of

    final = final_of(decisions.embed, decisions.gold, decisions.embed_log_normaliser)
    return {"margin": float(final.margin.mean()), "accuracy": final.accuracy}


def _caveats(model: ModelAccess, decisions: Decisions, split: float | None) -> list[str]:
    notes = [f"The weights are: {model.weights}.", _TAIL]
    if "dequantised" in model.weights:
        notes.append("The weights were quantised before; the original float weights may decide elsewhere.")
    if decisions.scoring == "first_token":
        notes.append(
            "An option is scored by its first token alone, among the options given; the model is never shown them."
        )
    if split is None:
        notes.append("One and the same set of questions was used throughout.")
    return notes


def _clean(values: Any) -> Any:
    """Arrays as lists, NaN as null."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim > 1:
        return [_clean(row) for row in array]
    return [None if np.isnan(value) else float(value) for value in array]
