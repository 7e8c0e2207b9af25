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
# # A first look
#
# Where in a language model does the answer to a question appear? We put multiple-choice questions to a model and read off at
# every layer which option it would choose.

# %%
# %matplotlib inline
import os

import decision_phases as dp

QUICK = os.environ.get("DECISION_PHASES_QUICK") == "1"
model = dp.load("tiny-llama" if QUICK else None, quiet=True)
model

# %% [markdown]
# Without an argument, `dp.load` gives the bundled SmolLM2-135M-Instruct. It was compared with plain transformers just now, and
# would have been refused had it deviated. The questions are bundled as well: 320 of common knowledge, four options each.

# %%
questions = dp.questions("facts", limit=24 if QUICK else 160)
questions[0].question, questions[0].options, questions[0].gold

# %% [markdown]
# `dp.read` runs the model once over all questions. The *Decision Margin* is the probability of the right option minus that of
# the best wrong one: positive exactly where the layer would answer right.

# %%
decisions = dp.read(model, questions)
decisions

# %% [markdown]
# Drawn by layer, with bootstrap intervals over questions. Guessing has an accuracy of one in four, but a mean margin well below
# zero: whoever is confident and knows nothing is wrong most of the time.

# %%
decisions.plot()

# %% [markdown]
# Is there one layer from which the right option leads? Before a layer is named, two things are tested: that the final decision is
# better than with shuffled labels, and that it was worse before. Only then are there a Silent and a Decisive Phase.

# %%
phases = dp.find_phases(decisions)
print(phases.verdict)
print(phases.agreement)

# %% [markdown]
# Single questions differ. This is how the least and the most certain one went, layer by layer.

# %%
last = decisions.final.margin
for row in (int(last.argmin()), int(last.argmax())):
    asked = questions[row]
    chosen = [asked.options[choice] for choice in decisions.choice[row]]
    print(f"{asked.question} (right: {asked.gold}; final margin {last[row]:+.2f})")
    print("   ", " → ".join(c for i, c in enumerate(chosen) if i == 0 or c != chosen[i - 1]))

# %% [markdown]
# Now leave something out. `dp.skip` is a value: it adds up with others, and holds only while something runs under it.

# %%
half = model.n_layers // 2
for cut in (dp.Intervention(), dp.skip(half), dp.skip(half, half + 1), dp.skip(model.n_layers - 2)):
    print(cut, dp.read(model, questions, under=cut).final.accuracy)

# %% [markdown]
# Next: which blocks can go, and how one knows that it was not luck, is the subject of the pruning study.
