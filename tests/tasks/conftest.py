"""Real tokenizers, trained or listed here, so that no test needs a download."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "Question: What is the capital of France?\nA. Paris\nB. Rome\nC. Berlin\nAnswer: A",
    "Question: What is the capital of Italy?\nA. Rome\nB. Paris\nC. Berlin\nAnswer: A",
    "Question: Which animal barks?\nA. dog\nB. cat\nC. duck\nAnswer: B",
    "Question: Which animal quacks?\nA. dog\nB. duck\nC. cat\nAnswer: C",
] * 5


def byte_level(*, bos: bool = False, eos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that has seen ` A`, ` B` and ` C`, but not ` D`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if bos or eos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=("<s> " if bos else "") + "$A" + (" </s>" if eos else ""),
            special_tokens=[("<s>", 0), ("</s>", 1)],
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="session")
def bpe() -> PreTrainedTokenizerFast:
    """Without BOS in front of a text, though there is such a token."""
    return byte_level()


@pytest.fixture(scope="session")
def bpe_bos() -> PreTrainedTokenizerFast:
    return byte_level(bos=True)


@pytest.fixture(scope="session")
def bpe_eos() -> PreTrainedTokenizerFast:
    return byte_level(eos=True)


@pytest.fixture(scope="session")
def words() -> PreTrainedTokenizerFast:
    """One token per word; what is not listed is unknown. There is no BOS token."""
    listed = [
        "[unk]",
        "Question",
        ":",
        "Answer",
        "?",
        "Is",
        "fire",
        "water",
        "hot",
        "cold",
        "wet",
        ".",
        "A",
        "B",
        "C",
        "yes",
        "no",
    ]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(listed)}, unk_token="[unk]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[unk]")
