"""The papers that have a page in docs/papers, and what is tested of each."""

from __future__ import annotations

import judges as c
from claims import Claim, Paper

LISTS = "uv run pytest -n0 -rs tests/pruning/test_published_orders.py"
ON_ARC = "strategies/arc_easy_validation"
_LARGE = "published on models of 7 billion parameters and more, of which none is at hand"

PAPERS = (
    Paper(
        "decision-transitions", "Decision transitions", "2605.07271",
        (
            Claim("there is one transition in depth, before which the right option is not favoured", "transition",
                  c.one_transition),
            Claim("pruning the Decisive Phase costs little, pruning the Silent Phase collapses accuracy", "transition",
                  c.cheaper_decisive),
            Claim("the Silent Phase is more sensitive to noise (it degrades at variance 0.02, the other holds at 0.1)", "noise",
                  c.noise_by_phase),
            Claim("models that decide late are less prunable (r = −0.96)", "depth", c.depth_and_prunability),
            Claim("similarity of hidden states (CKA) does not foretell what a removal costs (here: of what enters and leaves a block)", "criteria",
                  c.foretells("cka", "cka, texts", expected=False)),
            Claim("fine-tuning gives back part of the margin, and not all of it", "trained_repairs", c.training_is_bounded),
            Claim("beyond 40.6% removed its gains level off", why="blocks are trained around one cut only"),
        ),
    ),
    Paper(
        "representation-hierarchies", "Representation hierarchies", "2603.24652",
        (
            Claim("residuals and logits hardly turn, and the softmax amplifies", "amplification", c.softmax_amplifies),
            Claim("options lie where the shift is small, so multiple choice survives", "amplification", c.options_are_steady),
            Claim("Theorem 1 tracks 1 − cos", "theorems", c.theorem("theorem_1", "cosine")),
            Claim("Theorem 2 tracks 1 − cos of probabilities", "theorems", c.theorem("theorem_2", "cosine")),
            Claim("Theorem 3 tracks the KL divergence", "theorems", c.theorem("theorem_3", "kl_dense_from_pruned")),
            Claim("choosing and retrieving survive pruning that writing does not", "contrast", c.choosing_outlasts_writing),
            Claim("deviations compound while text is written", "open_decisions", c.deviation_compounds),
            Claim("the table of Mistral-7B under 8 removed attentions or MLPs", why=_LARGE),
        ),
    ),
    Paper(
        "cooperative-game", "Pruning as a cooperative game", "2602.07804",
        (
            Claim("a small network learns from masks what others are worth", "surrogates", c.surrogate_knows),
            Claim("its averages order blocks as Shapley values would", "surrogates", c.order_of_shapley),
            Claim("removing the least valuable layers keeps more than SLEB and ShortGPT",
                  command="decision-phases compare --by shapley_perplexity,sleb,block_influence --texts pydoc"),
            Claim("the same with the Decision Margin as what masks are worth", "strategies",
                  c.keeps_more("shapley", "sleb", "block_influence")),
            Claim("the same on ARC-Easy", ON_ARC, c.keeps_more("shapley", "sleb", "block_influence")),
            Claim("the list of 12 blocks of LLaMA-2-7B", command=LISTS),
        ),
    ),
    Paper(
        "linear-patch", "LinearPatch", "2505.24680",
        (
            Claim("scaling channels behind a rotation gives back part of what a cut costs", "repairs",
                  c.repair_helps("linear_patch")),
            Claim("the rotation helps: better than scaling raw channels", "repairs", c.repair_beats("linear_patch", "diagonal")),
            Claim("the tables of LLaMA-2-7B and LLaMA-3-8B", why=_LARGE),
        ),
    ),
    Paper(
        "ghosted-layers", "Ghosted Layers", "2605.15491",
        (
            Claim("any linear map by least squares gives back part of what a cut costs", "repairs", c.repair_helps("ghost")),
            Claim("it gives back more than LinearPatch", "repairs", c.repair_beats("ghost", "linear_patch")),
            Claim("the tables of LLaMA-3-8B and LLaMA-3.1-8B", why=_LARGE),
        ),
    ),
    Paper(
        "restore-lcc", "RestoreLCC", "2510.21834",
        (
            Claim("directions per head restore models with sparse weights",
                  why="built (`lost_components`, `learned_components`), but no experiment asks it yet"),
            Claim("its limit for removed blocks, one bias a gap, gives back part of what a cut costs", "repairs",
                  c.repair_helps("mean_bias")),
        ),
    ),
    Paper(
        "short-gpt", "ShortGPT (Block Influence)", "2403.03853",
        (
            Claim("blocks of low Block Influence cost little when removed", "criteria",
                  c.foretells("block_influence", "block_influence, texts")),
            Claim("removing those of lowest Block Influence is better than luck", "strategies",
                  c.beats_random("block_influence")),
            Claim("so it is on ARC-Easy", ON_ARC, c.beats_random("block_influence")),
            Claim("the list of 9 blocks of LLaMA-2-7B", command=LISTS),
        ),
    ),
    Paper(
        "deeper-layers", "The unreasonable ineffectiveness of the deeper layers", "2403.17887",
        (
            Claim("blocks that turn the residual least cost little when removed", "criteria",
                  c.foretells("angular_distance", "angular_distance, texts")),
            Claim("removing the run of neighbours across which it turns least is better than luck", "strategies",
                  c.beats_random("angular")),
            Claim("so is removing the deepest", "strategies", c.beats_random("deepest")),
            Claim("the run of neighbours on ARC-Easy", ON_ARC, c.beats_random("angular")),
            Claim("the deepest on ARC-Easy", ON_ARC, c.beats_random("deepest")),
            Claim("accuracy breaks down sharply at 40 to 50% removed, on Llama-2-70B", why=_LARGE),
        ),
    ),
    Paper(
        "sleb", "SLEB", "2402.09025",
        (
            Claim("the rise of perplexity shows which blocks are redundant", "criteria",
                  c.foretells("perplexity", "perplexity, texts")),
            Claim("ranking anew after every removal is better than ranking once", "strategies",
                  c.keeps_more("sleb", "perplexity")),
            Claim("it is better than luck", "strategies", c.beats_random("sleb")),
            Claim("ranking anew is better than ranking once, on ARC-Easy", ON_ARC, c.keeps_more("sleb", "perplexity")),
            Claim("it is better than luck on ARC-Easy", ON_ARC, c.beats_random("sleb")),
        ),
    ),
    Paper(
        "shortened-llama", "Shortened LLaMA", "2402.02834",
        (
            Claim("Taylor scores show which blocks cost little", "criteria", c.foretells("taylor", "taylor, texts")),
            Claim("so does perplexity, one block removed at a time", "criteria", c.foretells("perplexity", "perplexity, texts")),
            Claim("weight magnitude does not", "criteria", c.foretells("magnitude_l2", expected=False)),
            Claim("the orders of all 32 blocks of LLaMA-2-7B and Llama-3-8B", command=LISTS),
        ),
    ),
    Paper(
        "llm-pruner", "LLM-Pruner", "2305.11627",
        (
            Claim("the first-order change of the loss shows what can go (here: whole blocks)", "criteria",
                  c.foretells("taylor", "taylor, texts", "taylor_vector", "taylor_vector, texts")),
            Claim("coupled heads and channels can be removed together", why="width pruning is not built"),
        ),
    ),
    Paper(
        "llm-drop", "LLM-Drop", "2406.15786",
        (
            Claim("attentions are more redundant than MLPs", "contrast", c.attention_is_spare),
            Claim("removing the attentions that turn the residual least is better than luck", "strategies",
                  c.beats_random("cosine_attention")),
            Claim("so it is for MLPs, and for both in one list", "strategies", c.beats_random("cosine_mlp", "cosine_joint")),
        ),
    ),
    Paper(
        "calibration-objective", "The objective matters more than the search", "2604.24938",
        (
            Claim("perplexity and task accuracy rank blocks differently", "criteria", c.perplexity_disagrees),
            Claim("at a fixed objective, searches differ little",
                  command="decision-phases compare --by margin:greedy,margin:beam,margin:swaps --splits 3"),
        ),
    ),
    Paper(
        "shape-of-wisdom", "The shape of wisdom", "2606.01202",
        (
            Claim("the choice becomes final late: the median question at 0.85 to 1.00 of the depth", "transition",
                  c.late_commitment(0.85, 1.0)),
            Claim("most right answers are reached by unstable ways", why="the four types of trajectories are not built"),
        ),
    ),
    Paper(
        "hyperlens", "HyperLens", "2605.05741",
        (
            Claim("running a residual through the last blocks magnifies small changes of confidence",
                  why="its confidence and its effort are published without formulas"),
        ),
    ),
    Paper(
        "tuned-lens", "Tuned lens", "2303.08112",
        (Claim("a trained map for each layer brings what is read closer to what the model says", "lenses", c.tuned_is_closer),),
    ),
    Paper(
        "answer-assemble-ace", "Answer, Assemble, Ace", "2407.15018",
        (Claim("attentions of middle depth promote the answer's letter", "transition", c.letters),),
    ),
    Paper(
        "decide-and-bind", "When models decide and when they bind", "2601.03914",
        (Claim("the content is chosen early, its symbol only near the answer", "transition", c.letters),),
    ),
    Paper(
        "calibration-and-faithfulness", "Calibration and faithfulness under dropped attention", "2606.24970",
        (Claim("confidence is less calibrated while accuracy holds", why="calibration error is not built"),),
    ),
    Paper(
        "reasoning-after-pruning", "Reasoning does not come back", "2602.01997",
        (Claim("generative reasoning does not return after depth pruning, however long one fine-tunes", why="the model at hand is too small to ask"),),
    ),
)  # fmt: skip
