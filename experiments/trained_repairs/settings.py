"""What this experiment runs: sizes and seeds, nothing else."""

QUESTIONS = "facts"
TEXTS = "pydoc"  # one half fits and trains, the other measures perplexity
SEED = 0
N_SEARCH = 128  # choose the cut and the best linear repair
N_EVALUATION = 128  # measure
BY = "margin"  # the greedy order
SCREEN = (
    "bfloat16"  # number format in which it looks at all candidates; those that may be the best are confirmed
)
UP_TO = 24  # blocks removed in search of the collapse, which is the cut that is repaired
WINDOW = 128  # tokens in a window of text
HELD_OUT = 48  # windows to measure perplexity on
LINEAR = (
    "ghost",
    "relative_ghost",
)  # the better of these on the search questions stands for all linear repairs
LINEAR_WINDOWS = 64  # windows to fit these to
TRAINED = (
    "patch_distil",
    "lora",
    "lora_distil",
    "lora_trajectory",
    "lora_lens",
)  # on the same text in the same order
TRAINED_WINDOWS = 800  # windows to train on: about as many as all steps see
SEEDS = (0, 1)  # of the adapters' start and the order of the text
PATCH = {"steps": 200, "batch": 512, "rate": 1e-4, "autocast": "bfloat16"}
LORA = {"steps": 200, "batch": 512, "rank": 8, "rate": 1e-3, "neighbours": 2, "autocast": "bfloat16"}

# The same on a small random model, as a check that the scripts still work.
QUICK = {"N_SEARCH": 16, "N_EVALUATION": 20, "UP_TO": 2, "WINDOW": 32, "HELD_OUT": 4, "LINEAR_WINDOWS": 4,
         "TRAINED_WINDOWS": 8, "PATCH": {"steps": 3, "batch": 64, "rate": 1e-4},
         "LORA": {"steps": 3, "batch": 64, "rank": 2, "rate": 1e-3, "neighbours": 1}}  # fmt: skip
