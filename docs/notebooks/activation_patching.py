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
# # An activation-patching study
#
# At which layer does the residual stream carry the answer? We give every question the activations of another one, at one layer,
# and see whose answer comes out.

# %%
# %matplotlib inline
import os

import numpy as np
import pandas as pd

import decision_phases as dp

QUICK = os.environ.get("DECISION_PHASES_QUICK") == "1"
model = dp.load("tiny-llama" if QUICK else None, quiet=True)

# %% [markdown]
# Categories with one closed set of options make this clean: all questions choose among the same four words, so the answer of
# another question is one of the options of this one.

# %%
questions = dp.questions("facts", category="kinds")
order = [*range(1, len(questions)), 0]  # every question gets the next one's activations
gold = np.array([item.gold for item in questions])
partner = gold[order]
keep = gold != partner
print(f"{keep.sum()} of {len(questions)} pairs have different right answers")

# %% [markdown]
# `dp.capture` keeps activations at the answer position, the last token of the prompt.

# %%
layers = range(model.n_layers) if QUICK else range(0, model.n_layers, 2)
captured = dp.capture(model, questions, sites=["resid_post", "attn_out", "mlp_out"])
captured

# %% [markdown]
# First the check that every patching study should begin with: patched with its own activations, nothing may change.

# %%
intact = dp.read(model, questions)
own = dp.read(model, questions, under=dp.patch("resid_post", layers[len(layers) // 2], captured))
print("largest change of an option's logit:", np.nanmax(np.abs(own.scores - intact.scores)))

# %% [markdown]
# Then the study. For every site and layer: how often is the answer that of the partner, and how often still the own one?

# %%
others = captured.reordered(order)


def answers(under):
    choice = dp.read(model, questions, under=under).final.choice
    said = np.array([item.options[c] for item, c in zip(questions, choice, strict=True)])
    return (said == gold)[keep].mean(), (said == partner)[keep].mean()


rows = []
for site in ("resid_post", "attn_out", "mlp_out"):
    for layer in layers:
        own_answer, partner_answer = answers(dp.patch(site, layer, others))
        rows.append(
            {"site": site, "layer": layer, "own answer": own_answer, "partner's answer": partner_answer}
        )
table = pd.DataFrame(rows)
table.pivot(index="layer", columns="site", values="partner's answer").round(2)

# %% [markdown]
# Read it like this. Where the own answer survives, the stream at the answer position is still rewritten by what later blocks fetch
# from the question. Where the partner's comes out, the answer is in the stream already. An attention or MLP whose patch moves
# answers by itself would be a place where the answer is written.

# %%
stream = table[table["site"] == "resid_post"].set_index("layer")[["own answer", "partner's answer"]]
axes = stream.plot(ylim=(0, 1), ylabel="share of questions", title="residual stream patched")

# %% [markdown]
# Does the crossing agree with where the lens sees the decision?

# %%
print("lens:", dp.find_phases(intact).verdict)
moved = stream.index[stream["partner's answer"] > stream["own answer"]]
print("patching: the partner's answer leads from layer", int(moved.min()) if len(moved) else "nowhere")

# %% [markdown]
# With sixteen questions of one category single percentages are rough. `dp.pairs` and `dp.patch_sweep` do the same for pairs of all
# categories, head by head where one likes, with intervals.
