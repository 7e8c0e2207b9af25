"""What this experiment runs: sizes and seeds, nothing else."""

QUESTIONS = "facts"
SCORING = None  # that of the questions
TEXTS = "pydoc"  # for criteria that need no labels
WINDOW = 128  # tokens in a window of text
WINDOWS = 16  # windows that choose
SEED = 0
N_SEARCH = 64  # choose
N_EVALUATION = 200  # measure
UP_TO = 0.5  # share of the blocks that is removed at most
DRAWS = 5  # random orders
EVERY_LAYER = True  # read cuts at all layers, not only at the end
DTYPE = "auto"  # number format of the model, as for dp.load
BLOCKS = (
    "margin", "accuracy", "sleb", "within_silent", "within_decisive", "angular", "block_influence", "perplexity",
    "taylor", "magnitude", "activation_magnitude", "gradient_norm", "cka", "kl", "shapley", "trajectory",
    "trajectory_local", "shallowest",
)  # fmt: skip
SUBLAYERS = ("cosine_attention", "cosine_mlp", "cosine_joint")  # each beside random cuts of its own kind
REFERENCE = "margin"  # what every other strategy is compared with

# A file of questions whose options have several tokens costs more: each of these tokens is unembedded. Cuts are read at
# their end alone, in bfloat16.
ON_FILES = {
    "N_SEARCH": 32,
    "N_EVALUATION": 96,
    "DRAWS": 3,
    "SUBLAYERS": (),
    "DTYPE": "bfloat16",
    "EVERY_LAYER": False,
}

# The same on a small random model, as a check that the scripts still work.
QUICK = {"N_SEARCH": 8, "N_EVALUATION": 10, "WINDOW": 24, "WINDOWS": 4, "UP_TO": 0.35, "DRAWS": 1,
         "BLOCKS": ("margin", "trajectory_local"), "SUBLAYERS": ("cosine_mlp",)}  # fmt: skip
