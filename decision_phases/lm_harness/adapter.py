"""`harness`: a model under an intervention as a model of lm-evaluation-harness, run by the engine."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

from decision_phases.engine import Store, as_store, evaluate
from decision_phases.engine.generating import check_generation, continued
from decision_phases.engine.lower import check_variant
from decision_phases.errors import InputError, MissingPackageError
from decision_phases.interventions import Intervention
from decision_phases.lm_harness.likelihood import LikelihoodObserver, Likelihoods
from decision_phases.lm_harness.writing import Writing
from decision_phases.models import ModelAccess, as_model
from decision_phases.tasks import OpenPrompts, TokenSequence

#: What lm-evaluation-harness asks: (what to name it by, tokens of the context, tokens of the continuation).
Request: TypeAlias = tuple[Any, list[int], list[int]]

_DEFAULT_LENGTH = 2048  # what lm-evaluation-harness takes where a model has no limit


def harness(
    model: object,
    *,
    under: Intervention | None = None,
    max_length: int | None = None,
    store: Store = None,
    seed: int = 0,
    progress: bool = False,
) -> Any:
    """Give a model under an intervention to lm-evaluation-harness, so that its tasks run on it.

    Context and continuation are divided into tokens by lm-evaluation-harness itself, as for its own Hugging Face
    models, and the tokenizer's own rule says whether a text begins with a BOS token (one that stands in the text is not
    doubled). An empty context is the BOS token, or the end token where there is none. What is longer than `max_length`
    loses its beginning, with a warning. What several requests begin with is computed once.

    Args:
        model: What `load` gives or takes.
        under: An intervention that treats all positions and questions alike; the intact model by default.
        max_length: Most tokens that the model is given at once; by default its context length, or 2048 if it has none.
        store: Where log-likelihoods are kept and found again.
        seed: Of tasks that sample what is written.
        progress: Show bars.

    Returns:
        A `lm_eval.api.model.TemplateLM`, for `lm_eval.simple_evaluate(model=...)`.

    Raises:
        MissingPackageError: If lm-evaluation-harness is not installed.
        InputError: If the model has no tokenizer, or the intervention does not fit.

    Example:
        >>> import lm_eval  # doctest: +SKIP
        >>> from decision_phases.interventions import skip
        >>> lm = harness("tiny-llama", under=skip(2, 3))  # doctest: +SKIP
        >>> lm_eval.simple_evaluate(model=lm, tasks=["arc_easy"])["results"]  # doctest: +SKIP
    """
    template = _template_class()
    access, variant = as_model(model), under or Intervention()
    if access.tokenizer is None:
        msg = f"{access.name} has no tokenizer, so no task can be put to it; load it with tokenizer="
        raise InputError(msg)
    for edit in variant.edits:
        if edit.positions != "all" or edit.per_question:
            msg = (
                f"'{edit}' depends on the question or on positions in it, and lm-evaluation-harness gives texts "
                "without either; use an intervention that treats all positions alike"
            )
            raise InputError(msg)
    check_variant(access, variant)
    _check_length(access, max_length)
    return template(access, variant, max_length, as_store(store), seed, progress=progress)


def _check_length(model: ModelAccess, given: int | None) -> None:
    longest = model.context_length
    if given is not None and (given < 2 or (longest is not None and given > longest)):
        most = "" if longest is None else f" and at most {longest}, which {model.name} takes"
        msg = f"max_length={given}: it must be at least 2{most}"
        raise InputError(msg)


@cache
def _template_class() -> Any:
    """The class that lm-evaluation-harness is given; made once that is known to be there."""
    try:
        template = import_module("lm_eval.api.model").TemplateLM
    except ImportError as error:
        msg = (
            "dp.harness needs the package lm-eval; install it with: pip install 'decision-phases[lm-eval]' "
            f"({error})"
        )
        raise MissingPackageError(msg) from error
    return type("HarnessModel", (EngineModel, template), {"__doc__": EngineModel.__doc__})


class EngineModel:
    """A model under an intervention, as lm-evaluation-harness asks it; see `harness`."""

    backend = "causal"

    def __init__(
        self,
        model: ModelAccess,
        under: Intervention,
        max_length: int | None,
        store: Store,
        seed: int,
        *,
        progress: bool,
    ) -> None:
        super().__init__()
        self.access, self.under, self.store = model, under, store
        self.max_length = max_length or model.context_length or _DEFAULT_LENGTH
        self.seed, self.progress = seed, progress
        self.tokenizer: Any = model.tokenizer

    def __repr__(self) -> str:
        return f"<{self.access.name} under {self.under}, for lm-evaluation-harness>"

    # -- tokens ------------------------------------------------------------------------------------------------

    @property
    def eot_token_id(self) -> int | None:
        """The token that ends a text."""
        found: int | None = self.tokenizer.eos_token_id
        return found

    @property
    def prefix_token_id(self) -> int:
        """What stands for an empty context: the BOS token, or the end token where there is none."""
        found: int | None = self.tokenizer.bos_token_id
        found = self.eot_token_id if found is None else found
        if found is None:
            msg = (
                f"the tokenizer of {self.access.name} has neither a BOS nor an end token for an empty context"
            )
            raise InputError(msg)
        return found

    @property
    def tokenizer_name(self) -> str:
        """By which requests that lm-evaluation-harness keeps are told apart."""
        return str(self.tokenizer.name_or_path or self.access.name).replace("/", "__")

    def tok_encode(self, string: str, *, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Tokens of a text, under the tokenizer's own BOS rule.

        Args:
            string: The text.
            add_special_tokens: Whether the tokenizer may put its special tokens around it; by default unless the text
                begins with the BOS token, as chat templates make it.

        Returns:
            Token ids.
        """
        bos = self.tokenizer.bos_token
        special = not (bos and string.startswith(bos)) if add_special_tokens is None else add_special_tokens
        return list(self.tokenizer.encode(string, add_special_tokens=special))

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], *, add_generation_prompt: bool = True
    ) -> str:
        """Turn a conversation into text by the tokenizer's own template.

        Args:
            chat_history: What was said by whom.
            add_generation_prompt: Whether the model is to answer, instead of going on with the last message.

        Returns:
            The text.
        """
        found: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return found

    # -- log-likelihoods ---------------------------------------------------------------------------------------

    def loglikelihood_rolling(self, requests: Sequence[Any], **_: Any) -> list[float]:
        """Log-likelihood of whole texts, in windows of `max_length` tokens of which each token is predicted once.

        Args:
            requests: What lm-evaluation-harness asks.

        Returns:
            One number a text.
        """
        utils = import_module("lm_eval.utils")
        windows: list[Request] = []
        owners: list[int] = []
        for owner, (text,) in enumerate(request.args for request in requests):
            parts = utils.get_rolling_token_windows(
                token_list=self.tok_encode(text),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            for context, continuation in map(utils.make_disjoint_window, parts):
                windows.append((text[:40], list(context), list(continuation)))
                owners.append(owner)
        totals = [0.0] * len(requests)
        for owner, (total, _greedy) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            totals[owner] += total
        return totals

    def _loglikelihood_tokens(self, requests: Sequence[Request], **_: Any) -> list[tuple[float, bool]]:
        """Log-likelihood of continuations, and whether each is what the model itself would write."""
        if not requests:
            return []
        sequences = self._sequences(requests)
        place = {sequence: i for i, sequence in enumerate(dict.fromkeys(sequences))}
        inputs = [replace(sequence, owner=i) for sequence, i in place.items()]
        look = LikelihoodObserver()
        (run,) = evaluate(self.access, inputs, [self.under], [look], store=self.store, progress=self.progress)
        found: Likelihoods = run[look.name]
        return [(float(found.log_likelihood[place[s]]), bool(found.greedy[place[s]])) for s in sequences]

    def _sequences(self, requests: Sequence[Request]) -> list[TokenSequence]:
        """Contexts with their continuations but for the last token, which is only predicted."""
        made, cut = [], 0
        for name, context, continuation in requests:
            if not context or not continuation:
                missing = "context" if not context else "continuation"
                msg = f"the {missing} of {name!r} has no tokens for this tokenizer; the task must give some text"
                raise InputError(msg)
            if len(continuation) > self.max_length:
                msg = (
                    f"the continuation of {name!r} has {len(continuation)} tokens, but {self.access.name} is given at "
                    f"most {self.max_length}"
                )
                raise InputError(msg)
            tokens = (*context, *continuation)[-(self.max_length + 1) : -1]
            cut += len(context) + len(continuation) - 1 > len(tokens)
            first = len(tokens) - len(continuation)
            made.append(TokenSequence(tokens, tuple(range(first, len(tokens))), tuple(continuation), 0))
        self._warn_of(cut, len(requests), self.max_length)
        return made

    @staticmethod
    def _warn_of(cut: int, requests: int, most: int) -> None:
        if cut:
            msg = f"{cut} of {requests} requests are longer than {most} tokens and lost their beginning"
            warnings.warn(msg, stacklevel=4)

    # -- writing -----------------------------------------------------------------------------------------------

    def generate_until(self, requests: Sequence[Any], **_: Any) -> list[str]:
        """Let the model write after contexts, as far as one of the strings that end a text.

        Args:
            requests: What lm-evaluation-harness asks.

        Returns:
            What was written, without the string that ends it.

        Raises:
            InputError: If a task asks for a way of sampling that there is not.
        """
        written = [""] * len(requests)
        alike: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            alike.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(place)
        for places in alike.values():
            asked = Writing.of(requests[places[0]].args[1], self.max_length)
            contexts = [
                self.tok_encode(requests[place].args[0]) or [self.prefix_token_id] for place in places
            ]
            most = self.max_length - asked.steps
            self._warn_of(sum(len(context) > most for context in contexts), len(contexts), most)
            rows = [tuple(context[-most:]) for context in contexts]
            for place, text in zip(places, self._written(rows, asked), strict=True):
                written[place] = text
        return written

    def _written(self, rows: Sequence[tuple[int, ...]], asked: Writing) -> list[str]:
        labels = tuple(f"#{i}" for i in range(len(rows)))
        prompts = OpenPrompts("lm-evaluation-harness", tuple(rows), labels)
        check_generation(self.access, prompts, self.under, steps=asked.steps, temperature=asked.temperature)
        texts = [""] * len(rows)

        def finished(place: int, tokens: Sequence[int]) -> bool:
            texts[place], ended = self._ended(tokens, asked.until)
            return ended

        continued(
            self.access, rows, self.under, steps=asked.steps, temperature=asked.temperature, seed=self.seed,
            finished=finished, progress=self.progress,
        )  # fmt: skip
        return texts

    def _ended(self, tokens: Sequence[int], until: Iterable[str]) -> tuple[str, bool]:
        """What was written as far as its end, and whether it has one."""
        ended = self.eot_token_id in tokens
        kept = tokens[: tokens.index(self.eot_token_id)] if ended else tokens
        whole: str = self.tokenizer.decode(kept, skip_special_tokens=False)
        text: str = self.tokenizer.decode(kept, skip_special_tokens=True)
        for stop in until:
            text, ended = text.partition(stop)[0], ended or stop in whole
        return text, ended
