"""What this experiment runs: sizes and seeds, nothing else."""

QUESTIONS = "facts"
SEED = 0
N_SEARCH = 64  # locate the transition
N_EVALUATION = 128  # measure what noise costs
VARIANCES = (0.01, 0.02, 0.05, 0.1, 0.2)  # relative to each token's variance over its channels
POSITIONS = ("answer", "all")
FIRST_BLOCKS = (
    0,
    1,
    2,
)  # left out, together with the last and the transition block, in the second comparison
PUBLISHED = (
    0.02,
    0.1,
)  # the Silent Phase is said to degrade at the first, the Decisive Phase to hold at the second

# The same on a small random model, as a check that the scripts still work.
QUICK = {"N_SEARCH": 12, "N_EVALUATION": 10, "VARIANCES": (0.02, 0.1), "FIRST_BLOCKS": (0,)}
