"""What this experiment runs: sizes and seeds, nothing else."""

TASKS = ("facts",)
SEED = 0
N_QUESTIONS = 192
SPLIT = 1 / 3  # locate the transition; the others measure
STRATEGIES = ("block_influence", "random", "deepest")
UP_TO = 0.5  # share of the blocks that is removed at most
DRAWS = 8
LEAST_PAIRS = 5  # with fewer no correlation is given
N_BOOT = 2000

# The same on a small random model, as a check that the scripts still work.
QUICK = {"N_QUESTIONS": 24, "DRAWS": 2, "N_BOOT": 50}
