"""Does a saved folder say what it should? Asked in a process that knows nothing but the folder.

    python -m decision_phases.exports.check FOLDER REFERENCE.safetensors

Prints one line of JSON. A folder for plain transformers is looked at with plain transformers only.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

if TYPE_CHECKING:  # a plain folder is looked at without this package
    from decision_phases.interventions import Intervention
    from decision_phases.models import ModelAccess

PROMPT, NEW_TOKENS = 4, 8
#: What families that cannot generate with a cache raise.
FAILURES = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


def check(folder: Path, reference: Path) -> dict[str, Any]:
    """Reload a folder and compare it.

    Args:
        folder: What was saved.
        reference: Tokens, the logits that belong to them, and something in the model's number format.

    Returns:
        `logits`: the largest difference from the reference; `cached` and `failure`, as from `cached_difference`;
        `prints`, of the weights as plain transformers reads them; `under`, which identifies the intervention, if any.
    """
    expected = load_file(reference)
    hf, under = _plain(folder), None
    found = prints(hf.state_dict())  # before it runs: some families rescale their weights then
    with torch.no_grad():
        if (folder / "decision_phases" / "intervention.json").exists():
            del hf
            model = _with_sidecar(folder, expected["like"].dtype)
            under = model.intervention.key
            run, generate = of_model(model, model.intervention)
        else:
            run, generate = of_plain(hf)
        difference = (run(expected["tokens"]).float() - expected["logits"]).abs().max()
        cached, failure = cached_difference(run, generate, expected["tokens"])
    return {
        "logits": float(difference),
        "cached": cached,
        "failure": failure,
        "prints": found,
        "under": under,
    }


def prints(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Hash weights one by one.

    Args:
        weights: Name → values.

    Returns:
        Name → hash of shape, number format and bits.

    Example:
        >>> one, other = torch.zeros(2), torch.tensor([0.0, -0.0])
        >>> prints({"w": one}) == prints({"w": one.clone()}), prints({"w": one}) == prints({"w": other})
        (True, False)
    """
    found = {}
    for name, values in weights.items():
        flat = values.detach().to("cpu").contiguous().view(-1)
        digest = hashlib.blake2b(f"{tuple(values.shape)}{flat.dtype}".encode(), digest_size=8)
        digest.update(flat.view(torch.uint8).numpy().data)
        found[name] = digest.hexdigest()
    return found


Run = Callable[[Tensor], Tensor]
Generate = Callable[[Tensor], tuple[Tensor, Tensor]]


def cached_difference(run: Run, generate: Generate, tokens: Tensor) -> tuple[float | None, str | None]:
    """Generate a few tokens with the key-value cache, and run the same tokens without.

    Args:
        run: From tokens to logits.
        generate: From a prompt to the whole sequence and the logits of every step.
        tokens: The first of them are the prompt.

    Returns:
        The largest difference between the logits of the two, None where generation fails; and how it fails.
    """
    try:
        made, stepwise = generate(tokens[:, :PROMPT])
    except FAILURES as error:
        return None, f"{type(error).__name__}: {error}"
    whole = run(made[:, :-1]).float()[:, PROMPT - 1 :]
    return float((whole - stepwise.float()).abs().max()), None


def of_plain(hf: Any) -> tuple[Run, Generate]:
    """Run a Hugging Face model, and have it generate with its own cache.

    Args:
        hf: The model.

    Returns:
        From tokens to logits; from a prompt to the whole sequence, generated greedily, and the logits of every step.
    """

    def run(tokens: Tensor) -> Tensor:
        logits: Tensor = hf(input_ids=tokens, use_cache=False).logits
        return logits

    def generate(prompt: Tensor) -> tuple[Tensor, Tensor]:
        out = hf.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_logits=True,
        )
        return out.sequences, torch.stack(out.logits, dim=1)

    return run, generate


def of_model(model: ModelAccess, under: Intervention) -> tuple[Run, Generate]:
    """Run a loaded model under an intervention, and have it generate with its own cache.

    Args:
        model: The model.
        under: The intervention.

    Returns:
        As from `of_plain`.
    """
    from decision_phases.engine import applied

    def run(tokens: Tensor) -> Tensor:
        with applied(model, under):
            return model.logits(tokens.to(model.device)).cpu()

    def generate(prompt: Tensor) -> tuple[Tensor, Tensor]:
        made, logits, cache = prompt.to(model.device), [], None
        with applied(model, under):
            for _ in range(NEW_TOKENS):
                last, cache = model.step(made if cache is None else made[:, -1:], cache)
                logits.append(last)
                made = torch.cat([made, last.argmax(-1, keepdim=True)], dim=1)
        return made.cpu(), torch.stack(logits, dim=1).cpu()

    return run, generate


def _plain(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    hf: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", attn_implementation="eager")
    return hf.eval()


def _with_sidecar(folder: Path, dtype: torch.dtype) -> ModelAccess:
    from decision_phases.models import load

    return load(folder, device="cpu", dtype=dtype, quiet=True)


if __name__ == "__main__":
    print(json.dumps(check(Path(sys.argv[1]), Path(sys.argv[2]))))  # noqa: T201 - read by the process that asked
