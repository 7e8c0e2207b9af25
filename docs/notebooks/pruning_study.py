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
# # A pruning study
#
# From a ranking of blocks to a smaller model on disk, with the controls that tell a good choice from luck.

# %%
# %matplotlib inline
import os

import decision_phases as dp

QUICK = os.environ.get("DECISION_PHASES_QUICK") == "1"
model = dp.load("tiny-llama" if QUICK else None, quiet=True)
questions = dp.questions("facts", limit=24 if QUICK else 160)

# %% [markdown]
# ## Rank
#
# A criterion gives one number a block, and the lowest goes first. Some compare with right answers, others look at what a block
# does to the residual stream. They need not agree.

# %%
rankings = dp.rank(model, questions, by=["margin", "block_influence", "kl"])
rankings.plot()

# %%
rankings.agreement().round(2)

# %% [markdown]
# ## Compare
#
# One half of the questions chooses what to remove, the other measures. Random cuts of the same sizes run along: without them a
# curve says little.

# %%
curves = dp.prune(
    model,
    questions,
    by=["margin", "block_influence"],
    up_to=3 if QUICK else 6,
    draws=2 if QUICK else 3,
)
curves.plot()

# %% [markdown]
# The area under each curve is 1 if nothing is lost and 0 at chance. The last columns are the lead over random cuts on the same
# questions, with p-values adjusted for the number of strategies.

# %%
columns = ["strategy", "area", "area_low", "area_high", "difference", "low", "high", "p_holm"]
curves.summary()[columns].round(3)

# %% [markdown]
# ## Repair
#
# A linear map in place of the removed blocks, fitted on half of a text without labels, may give back part of what they did. All
# repairs stand beside doing nothing and the intact model, on the half of the questions that chose nothing: on the other half
# every cut looks better than it is.

# %%
_, measuring = questions.split(0.5, seed=0)  # the halves of dp.prune
removed = 2 if QUICK else 4
(step,) = [step for step in curves.of("margin") if step.step == removed]
cut = dp.skip(*step.cut)
compared = dp.compare_repairs(
    model,
    cut,
    methods=["mean_bias", "relative_ghost"],
    questions=measuring,
    limit=16 if QUICK else 128,
    held_out=8 if QUICK else 32,
)
compared

# %% [markdown]
# ## Certify
#
# How far can one go with a guarantee? `dp.safe_cut` chooses on one part of the questions, tests the cuts on the other, smallest
# first, and stops at the first that could lose too much. That none is certified is a result too.

# %%
safe = dp.safe_cut(model, questions, max_drop=0.5 if QUICK else 0.2, up_to=2 if QUICK else 4)
safe.to_pandas().round(3)

# %% [markdown]
# ## Export
#
# Removed blocks are really gone: what is saved is an ordinary Hugging Face model. It was loaded again in a fresh process and
# compared before it appeared.

# %%
from pathlib import Path
from tempfile import mkdtemp

folder = Path(mkdtemp()) / "pruned"
saved = dp.export(model, cut, folder)
print(saved.kind, saved.kept)
print(f"{saved.parameters:,} parameters; largest difference of a logit {saved.difference:.1e}")
sorted(path.name for path in folder.iterdir())

# %%
smaller = dp.load(folder, quiet=True)
print(dp.read(model, measuring, under=cut).final.accuracy)
print(dp.read(smaller, measuring).final.accuracy)
