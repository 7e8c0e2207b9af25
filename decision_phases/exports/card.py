"""What a saved folder says of itself: a model card, a record, and the same cut as a recipe for mergekit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from decision_phases.interventions import layer_runs

_SIDECAR = (
    "**The change is not in the weights of this folder.** They are those of the whole model, untouched, because plain "
    "transformers has no maps between blocks, no edits of activations and no layers without their attention or MLP: "
    "removed attentions and MLPs are still here, and save no memory. `AutoModelForCausalLM.from_pretrained` gives the "
    "model as before. The change stands beside the weights, in the folder `decision_phases`, and is applied like this:",
    """```python
import decision_phases as dp

model = dp.load("this folder")
with dp.applied(model, model.intervention):  # or under=model.intervention, in dp.read and its like
    ...
```""",
)


def mergekit_recipe(name: str, kept: Sequence[int], dtype: str) -> str:
    """Write the recipe by which mergekit makes the same cut.

    Args:
        name: Name or folder of the whole model.
        kept: 0-based blocks that stay, ascending.
        dtype: Number format.

    Returns:
        YAML; ranges are half-open, as mergekit reads them.

    Example:
        >>> print(mergekit_recipe("org/name", [0, 1, 4], "float32"))
        merge_method: passthrough
        dtype: float32
        slices:
          - sources:
              - model: "org/name"
                layer_range: [0, 2]
          - sources:
              - model: "org/name"
                layer_range: [4, 5]
        <BLANKLINE>
    """
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    lines = ["merge_method: passthrough", f"dtype: {dtype}", "slices:"]
    for run in layer_runs(kept):
        lines += [
            "  - sources:",
            f'      - model: "{quoted}"',
            f"        layer_range: [{run[0]}, {run[-1] + 1}]",
        ]
    return "\n".join(lines) + "\n"


def model_card(record: dict[str, Any]) -> str:
    """Write the card of a saved folder.

    Args:
        record: What `export.json` holds.

    Returns:
        Markdown with the metadata that the Hugging Face hub reads.
    """
    name = record["model"]
    base = [f"base_model: {name}"] if name.count("/") == 1 else []
    head = ["---", "library_name: transformers", *base, "tags:", "- decision-phases", "- pruned", "---"]
    done = f"`{record['under']}`" if record["under"] else "nothing"
    body = [
        f"# {name}, changed",
        f"Made from {name} ({record['weights']}; weights `{record['fingerprint']}`) by decision-phases "
        f"{record['versions']['decision-phases']}: {done}. Layers are counted from 0. The licence of {name} holds.",
        *_dequantised(record),
        *(_plain(record) if record["kind"] == "plain" else _SIDECAR),
        _checked(record),
    ]
    return "\n".join(head) + "\n\n" + "\n\n".join(body) + "\n"


def _dequantised(record: dict[str, Any]) -> list[str]:
    if not record["quantised"]:
        return []
    return [
        f"{record['model']} was loaded quantised ({record['quantised']}). Here its weights stand **dequantised**, with "
        f"the same values as {record['dtype']}: the folder is larger than what was loaded, and no faster."
    ]


def _plain(record: dict[str, Any]) -> list[str]:
    kept, n_layers = record["kept"], record["n_layers"]
    text = [
        f"It has {len(kept)} of {n_layers} blocks and {record['parameters']} of {record['parameters_before']} "
        "parameters, and is an ordinary model for transformers: nothing of decision-phases is needed to run it."
    ]
    if len(kept) < n_layers:
        moved = ", ".join(_span(new, old) for new, old in _spans(kept))
        text.append(f"Block numbers, here ← in {record['model']}: {moved}.")
    if record["replaced"]:
        text.append(
            f"Parameters with other values than in {record['model']}: {', '.join(record['replaced'])}."
        )
    return text


def _checked(record: dict[str, Any]) -> str:
    checks = record["checks"]
    weights = "" if record["quantised"] else "weights bit for bit, "
    text = (
        f"Reloaded in a fresh process before it was put here: {weights}logits within "
        f"{checks['logits']:.1e} of those of the changed model (tolerance {checks['tolerance']:.0e}, {record['dtype']})"
    )
    if checks["cached"] is None:
        return f"{text}. Cached generation was not checked: it fails for the whole model too ({checks['failure']})."
    return f"{text}; generation with the key-value cache within {checks['cached']:.1e} of running without it."


def _spans(kept: Sequence[int]) -> list[tuple[range, range]]:
    """Runs of blocks that stay neighbours, by their new and their old numbers."""
    starts = [0, *(i for i, (a, b) in enumerate(pairwise(kept), 1) if b != a + 1), len(kept)]
    return [(range(a, b), range(kept[a], kept[b - 1] + 1)) for a, b in pairwise(starts)]


def _span(new: range, old: range) -> str:
    return " ← ".join(str(r[0]) if len(r) == 1 else f"{r[0]}–{r[-1]}" for r in (new, old))
