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
# # Comparing circuits before and after pruning
#
# Activation patching asks what one activation carries. A *circuit* is a stronger claim: a set of heads and MLPs that is enough for
# a decision, when everything else is made to say nothing about the question. If blocks are removed and the model still answers,
# does it answer with the same parts?

# %%
# %matplotlib inline
import os

import numpy as np
import pandas as pd

import decision_phases as dp
from decision_phases.readout.observe import FinalObserver

QUICK = os.environ.get("DECISION_PHASES_QUICK") == "1"
model = dp.load("tiny-llama" if QUICK else None, quiet=True)

# %% [markdown]
# Two blocks are left out; how to choose them well is the subject of the pruning study. A question that a model gets wrong has no
# decision that could be carried, so we keep those that both models answer. All prompts have the same number of tokens, so that
# later each question can be given the activations of another, position by position.

# %%
cuts = {"dense": dp.Intervention(), "pruned": dp.skip(3) if QUICK else dp.skip(10, 14)}
everything = dp.questions("facts")
read = {name: dp.read(model, everything, under=cut) for name, cut in cuts.items()}
right = {name: decisions.final.correct for name, decisions in read.items()}
print({name: float(answered.mean().round(2)) for name, answered in right.items()})

# %%
length = np.array([len(sequence) for sequence in read["dense"].encoded.sequences])
both = right["dense"] & right["pruned"]
keep = both & (length == np.bincount(length[both]).argmax())
known = dp.questions(
    [item for item, kept in zip(everything, keep, strict=True) if kept],
    name="known",
    scoring=everything.scoring,
)
known = known.limit(32, seed=0)
search, held_out = known.split(0.5, seed=0)
print(len(search), "questions choose,", len(held_out), "others measure")

# %% [markdown]
# The same split is made inside `dp.find_circuit`. Whatever helps to choose, scores included, may see the first half only.
#
# ## Attribution: what the margin is the sum of
#
# The logit margin of the right option over its rival is a sum over heads and MLPs, once the scale of the final norm is held.

# %%
parts = {name: dp.attribute(model, search, under=cut) for name, cut in cuts.items()}
parts["dense"].plot()

# %%
parts["pruned"].plot()

# %% [markdown]
# Whether the two sums are made of the same parts: a rank correlation over the heads that both models have.

# %%
there = dp.components_of(model, cuts["pruned"])
direct = {
    name: np.column_stack([found.heads.mean(axis=0), found.mlp.mean(axis=0)]) for name, found in parts.items()
}
pd.DataFrame({name: values[there] for name, values in direct.items()}).corr("spearman").round(2)

# %% [markdown]
# ## Scores: what happens without each part
#
# Attribution is direct: it counts what a part writes into the answer position itself. What a part does by way of later parts is
# theirs, so an early MLP that everything builds on gets next to nothing. Knocking out one part after the other counts both.


# %%
def knocked_out(questions, under):
    """By how much the logit margin falls without each head and MLP: [layer, component], the MLP last."""
    asked, present = dp.ask(model, questions), dp.components_of(model, under)
    gone = [
        dp.zero("mlp_out", layer) if head == model.n_heads else dp.zero("head_out", layer, head=head)
        for layer, head in np.argwhere(present).tolist()
    ]
    margins = []
    for run in dp.evaluate(model, asked, [under, *(under + edit for edit in gone)], [FinalObserver()]):
        scores, rows = run["final"].scores.copy(), np.arange(len(asked))
        own = scores[rows, asked.gold]
        scores[rows, asked.gold] = -np.inf
        margins.append(float((own - scores.max(axis=1)).mean()))
    fall = np.full(present.shape, np.nan)
    fall[present] = margins[0] - np.array(margins[1:])
    return fall


falls = {name: knocked_out(search, cut) for name, cut in cuts.items()}

# %%
rows = [
    {
        "model": name,
        "layer": layer,
        "part": "MLP" if head == model.n_heads else f"head {head}",
        "fall": fall[layer, head],
    }
    | {"direct": direct[name][layer, head]}
    for name, fall in falls.items()
    for layer, head in np.argwhere(np.isfinite(fall)).tolist()
]
table = pd.DataFrame(rows).sort_values("fall", ascending=False)
table.groupby("model").head(5).sort_values(["model", "fall"], ascending=[True, False]).round(2)

# %% [markdown]
# ## Two circuits
#
# Parts are taken in the order of their scores until the circuit keeps 80% of the margin on the search questions, while everything
# else is held at its mean. `selection="greedy"`, the default, goes on to leave out every part that is not needed; it takes many
# times as long, and gives smaller circuits.

# %%
circuits = {
    name: dp.find_circuit(model, known, falls[name], under=cut, selection="threshold", target=0.8)
    for name, cut in cuts.items()
}
for name, found in circuits.items():
    print(f"{name}: {found.circuit}")

# %% [markdown]
# On the questions that did not choose: *faithfulness* is the margin that the circuit keeps by itself (0: everything ablated, 1:
# nothing ablated), *completeness* what is lost when the circuit itself is ablated. Mean ablation puts a constant in the place of
# everything else; resampling puts in what another question gives, which speaks for that question's answer and is harder to bear.
# A circuit that looks faithful only under the ablation that found it has been fitted to that ablation.

# %%
columns = ["half", "ablation", "components", "faithfulness", "faithfulness_low", "faithfulness_high"]
columns += ["completeness", "completeness_low", "completeness_high"]
pd.concat([found.to_pandas()[columns].assign(model=name) for name, found in circuits.items()]).round(2)

# %% [markdown]
# ## Are they the same circuit?
#
# Two large sets share much by chance, and more if both sit at the same depth. So the null keeps how many heads and MLPs either
# circuit has in each band of layers, and moves them within it. Parts that were cut are not compared. With `model=`, each circuit
# is also measured where the other was found: the circuit of the dense model in the pruned one, and the other way round.

# %%
overlap = dp.compare_circuits(circuits["dense"], circuits["pruned"], model=model, names=("dense", "pruned"))
print(overlap)
overlap.to_pandas()[["circuit", "on", *columns[2:]]].round(2)

# %% [markdown]
# Each row on its own ground is the yardstick for the other one there: a circuit carries over as far as it keeps what the model's
# own keeps.
#
# ## One topic against another
#
# Is there one circuit for all questions? The same in the dense model for two topics of four categories each, with scores of their
# own. These are few questions, so expect wide intervals.

# %%
topics = {
    "geography": ("capitals", "countries", "languages", "continents"),
    "things": ("jobs", "kinds", "tools", "materials"),
}
if QUICK:  # what the random model gets right by chance
    topics = {"first": ("animals", "classes", "senses"), "second": ("opposites", "order", "seasons")}
found = {}
for topic, chosen in topics.items():
    answered = [
        item for item, ok in zip(everything, right["dense"], strict=True) if ok and item.category in chosen
    ]
    own = dp.questions(answered, name=topic, scoring=everything.scoring)
    own = own.limit(32, seed=0)
    scores = knocked_out(own.split(0.5, seed=0)[0], cuts["dense"])
    found[topic] = dp.find_circuit(model, own, scores, selection="threshold", target=0.8, report=("mean",))
between = dp.compare_circuits(*found.values(), model=model, names=tuple(found))
print(between)
between.to_pandas()[["circuit", "on", *columns[2:]]].round(2)

# %% [markdown]
# ## What may be concluded, and what not
#
# If the overlap is beyond the null and each circuit keeps the other's decision, the pruned model answers these questions largely
# with parts that the dense one uses. If the overlap is what the null expects but faithfulness carries over, either set is enough
# and neither is *the* circuit: there are many ways to choose a sufficient set of this size. If nothing carries over, the decision
# has moved.
#
# None of this says that a circuit is the smallest one, or that the parts outside are idle: completeness says how much is left
# without it. A circuit belongs to its questions, its template, its scoring, its ablation and its target; change one, and find it
# again. Only questions that both models answer were asked, so nothing is said of those that pruning lost. And whether a large set
# that keeps most of a margin *explains* it is a question of size: keeping two parts in three is a weak explanation, whatever its
# faithfulness.
