"""What this experiment runs: sizes and seeds, nothing else."""

QUESTIONS = "facts"
TEXTS = "pydoc"
SEED = 0
N_SEARCH = 64  # scores
N_EVALUATION = 200  # measure what removals cost
WINDOWS = 8  # windows of text that score, and as many others that measure
WINDOW = 128  # tokens in a window
CRITERIA = (
    "margin", "accuracy", "trajectory", "trajectory_local", "perplexity", "kl", "shapley", "shapley_perplexity",
    "block_influence", "angular_distance", "cka", "update_norm", "relative_norm", "taylor", "taylor_vector",
    "gradient_norm", "activation_gradient", "activation_taylor", "magnitude_l2", "deepest", "shallowest",
)  # fmt: skip
COMPARED = (
    ("trajectory", "margin"), ("trajectory", "block_influence"), ("trajectory_local", "block_influence"),
    ("trajectory_local", "taylor_vector"), ("shapley", "margin"), ("margin", "perplexity, texts"),
)  # fmt: skip
SIZES = (1, 2, 3, 4, 6, 8, 10, 12, 15)  # blocks removed
DRAWS = 12  # random orders; their first blocks are the random cuts of every size
FIRST_BLOCKS = (
    0,
    1,
    2,
)  # left out, together with the last and the transition block, in the strictest comparison
N_SPLITS = 200  # halves of the questions, for ceilings
N_BOOT = 1000

# The same on a small random model, as a check that the scripts still work.
QUICK = {"N_SEARCH": 10, "N_EVALUATION": 12, "WINDOWS": 2, "WINDOW": 24, "SIZES": (1, 2), "DRAWS": 2,
         "CRITERIA": ("margin", "trajectory", "trajectory_local", "perplexity", "shapley", "block_influence", "deepest"),
         "FIRST_BLOCKS": (0,), "N_SPLITS": 4, "N_BOOT": 20}  # fmt: skip
