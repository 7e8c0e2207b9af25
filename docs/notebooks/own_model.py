# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own model and your own data
#
# Everything takes a TransformerLens object that you hold already, and questions that you wrote yourself.

# %%
# %matplotlib inline
import os

import torch

import decision_phases as dp

QUICK = os.environ.get("DECISION_PHASES_QUICK") == "1"

# %% [markdown]
# ## A TransformerBridge
#
# Here one is built from a Hugging Face model; yours may come from anywhere. Give the tokenizer as it was published, because the one
# that TransformerLens keeps may put a BOS token in front.

# %%
from transformer_lens.model_bridge.sources import build_bridge_from_module

source = dp.load("tiny-llama" if QUICK else None, quiet=True)
hf = source.fresh_hf()
bridge = build_bridge_from_module(hf, type(hf).__name__, hf_config=hf.config, tokenizer=None)
model = dp.load(bridge, tokenizer=source.tokenizer, quiet=True)
model

# %% [markdown]
# Your hooks keep working, with the numbers of the intact model, also while something is left out.

# %%
lengths = {}


def note(value, hook):
    lengths[hook.name] = float(value.detach().norm(dim=-1).mean())


tokens = torch.tensor([model.tokenizer("Is water wet?")["input_ids"]])
with dp.applied(model, dp.skip(2)), torch.no_grad():
    bridge.run_with_hooks(
        tokens, fwd_hooks=[(f"blocks.{layer}.hook_resid_post", note) for layer in (1, 2, 3)]
    )
lengths  # block 2 is left out: what leaves it is what left block 1

# %% [markdown]
# ## Questions
#
# A question has options, the index of the right one, and perhaps a category. Scoring says how an option becomes a number: by its
# first token, by a letter, or by its whole text (`cloze`, which always fits).

# %%
things = {"fire": "hot", "ice": "cold", "water": "wet", "rain": "wet", "snow": "cold", "the sun": "hot"}
options = ("hot", "cold", "wet")
mine = dp.questions(
    [
        dp.Question(options, options.index(right), f"What is {thing}?", category="things", id=thing)
        for thing, right in things.items()
    ],
    name="things",
    scoring="cloze",
)
dp.ask(model, mine)  # everything is put into tokens before anything runs

# %%
decisions = dp.read(model, mine)
decisions.to_pandas().query("layer == layer.max()")[["question", "gold_text", "choice_text", "margin"]]

# %% [markdown]
# Six questions are too few to say where the decision forms, and the toolkit says so.

# %%
print(dp.find_phases(decisions).verdict)

# %% [markdown]
# ## Texts
#
# What needs no labels takes texts: a list, a file, the help topics of Python ("pydoc"). One half fits or chooses, the other
# measures.

# %%
texts = dp.texts("pydoc")
ranking = dp.rank(model, texts=texts.fit, by="block_influence", limit=4 if QUICK else 16)
for count in range(3):
    found = dp.perplexity(
        model, texts.evaluation, under=ranking.cut(count), window=64, limit=4 if QUICK else 16
    )
    print(count, "blocks removed:", f"perplexity {found.value:.1f}")
