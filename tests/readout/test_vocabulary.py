"""What one vocabulary encoded is refused by a model with another, before anything runs."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

import decision_phases as dp
from decision_phases.errors import InputError
from decision_phases.models import ModelAccess, load, tiny_hf, tiny_tokenizer
from decision_phases.readout.observe import FinalObserver
from decision_phases.tasks import encode_prompts

ALIKE = 2  # ids that begin the vocabulary and keep their words


def other_tokenizer(*extra: str) -> PreTrainedTokenizerFast:
    """The tiny tokenizer with every word at the id of the word before it, or only with words behind its own."""
    known = tiny_tokenizer()
    words = sorted(known.get_vocab(), key=known.get_vocab().__getitem__)
    table = [*words, *extra] if extra else [*words[:ALIKE], *words[ALIKE + 1 :], words[ALIKE]]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(table)}, unk_token="<unk>"))
    made.pre_tokenizer = known.backend_tokenizer.pre_tokenizer
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="<s>")


@pytest.fixture(scope="module")
def other() -> ModelAccess:
    """A model of another vocabulary."""
    return load(tiny_hf("llama"), tokenizer=other_tokenizer(), quiet=True)


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine cannot run, so that what is refused is refused before."""
    monkeypatch.setattr(import_module("decision_phases.engine.evaluate"), "walk_all", None)


COMMANDS: dict[str, Callable[[ModelAccess, Any], object]] = {
    "read": dp.read,
    "rank": lambda model, given: dp.rank(model, given, by="margin"),
    "attribute": dp.attribute,
    "compare_spaces": lambda model, given: dp.compare_spaces(model, given, under=dp.skip(2)),
    "circuit_faithfulness": lambda model, given: dp.circuit_faithfulness(
        model, given, dp.Circuit(dp.components_of(model), dp.components_of(model))
    ),
    "evaluate": lambda model, given: dp.evaluate(model, given, [dp.Intervention()], [FinalObserver()]),
    "capture": lambda model, given: dp.capture(model, given),
    "generate": lambda model, given: dp.generate(model, given, max_new_tokens=2),
    "restore": lambda model, given: dp.restore(model, given, dp.skip(2)),
}
ON_PAIRS: dict[str, Callable[[ModelAccess, dp.Pairs], object]] = {
    "patch_sweep": dp.patch_sweep,
    "attribution_patching": dp.attribution_patching,
    "causal_transition": dp.causal_transition,
    "restore": COMMANDS["restore"],
}


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("command", COMMANDS)
def test_encoded_questions_of_another_vocabulary_are_refused(
    command: str, tiny: ModelAccess, other: ModelAccess
) -> None:
    encoded = dp.ask(tiny, "facts")
    with pytest.raises(
        InputError, match=r"'facts' were encoded with another vocabulary.*encode them for this"
    ):
        COMMANDS[command](other, encoded)


@pytest.mark.parametrize("command", ON_PAIRS)
def test_pairs_of_another_vocabulary_are_refused(
    command: str, tiny: ModelAccess, other: ModelAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = dp.pairs(tiny, "facts", least=2)
    monkeypatch.setattr(import_module("decision_phases.engine.evaluate"), "walk_all", None)
    with pytest.raises(InputError, match="encoded with another vocabulary"):
        ON_PAIRS[command](other, found)


@pytest.mark.usefixtures("nothing_runs")
def test_encoded_prompts_of_another_vocabulary_are_refused(tiny: ModelAccess, other: ModelAccess) -> None:
    prompts = encode_prompts(["Is water wet?"], tiny.tokenizer)
    with pytest.raises(InputError, match="the prompts 'prompts' were encoded with another vocabulary"):
        dp.generate(other, prompts, max_new_tokens=2)


def test_the_message_counts_and_shows_an_example(tiny: ModelAccess, other: ModelAccess) -> None:
    encoded = dp.ask(tiny, "facts")
    words = sorted(tiny.tokenizer.get_vocab(), key=tiny.tokenizer.get_vocab().__getitem__)
    changed = [token for token in encoded.pieces if token >= ALIKE]
    told = (
        f"{len(changed)} of their {len(encoded.pieces)} token ids mean something else to this model "
        f"(id {changed[0]} is {words[changed[0]]!r} there and {words[changed[0] + 1]!r} here)"
    )
    with pytest.raises(InputError) as error:
        dp.ask(other, encoded)
    assert told in str(error.value)


def test_ids_beyond_the_other_vocabulary_mean_nothing_there(tiny: ModelAccess) -> None:
    model = load(tiny_hf("llama"), tokenizer=other_tokenizer(" zebra"), quiet=True)
    encoded = dp.ask(model, [dp.Question((" zebra".strip(), "cat"), 0, prompt="The")], scoring="first_token")
    with pytest.raises(InputError, match="is ' zebra' there and nothing here"):
        dp.ask(tiny, encoded)


def test_what_agrees_on_all_ids_in_use_is_taken(tiny: ModelAccess) -> None:
    """A vocabulary with words added behind, as chat models have them, means the same by the ids before."""
    more = load(tiny_hf("llama"), tokenizer=other_tokenizer(" zebra"), quiet=True)
    encoded = dp.ask(tiny, "facts")
    assert dp.ask(more, encoded) is encoded
    found = dp.pairs(tiny, "facts", least=2)
    assert found.enough(more) == found.sides
