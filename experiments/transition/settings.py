"""What this experiment runs: sizes and seeds, nothing else."""

QUESTIONS = "facts"
SEED = 0
N_SEARCH = 160  # set the boundaries
BOUNDARIES = (
    "zero_crossing",
    "change_point",
)  # detectors; cuts are drawn from the phases that each of them gives
N_EVALUATION = 128  # measure the cuts
DRAWS = 20  # random cuts of each kind, or all where there are fewer
SIZES = (1, 2, 3, 4)  # blocks removed, as far as the smaller phase allows
RANDOM_MODELS = 3  # models of the same shape with random weights
LABEL_SHUFFLES = 20  # gold labels redrawn within each question
FIRST_BLOCKS = (0, 1, 2)  # left out, together with the transition block, in the second half of the comparison
LAST_BLOCKS = 2  # depth of the second lens
EQUALITY_LAYERS = (5, 12, 20, 24, 27)  # where the lens is compared with removing all later blocks
EXAMPLE_LETTERS = 96  # questions asked in the letter format

# The same on a small random model, as a check that the scripts still work.
QUICK = {"N_SEARCH": 20, "N_EVALUATION": 20, "DRAWS": 2, "SIZES": (1, 2), "RANDOM_MODELS": 1, "LABEL_SHUFFLES": 3,
         "EQUALITY_LAYERS": (1, 3), "EXAMPLE_LETTERS": 20}  # fmt: skip
