"""What this experiment runs: sizes and seeds, nothing else."""

QUESTIONS = "facts"
SEED = 0
N_SEARCH = 32  # every mask is run on these
OBJECTIVE = "margin"
N_MASKS = 1650  # cuts, about 1500 of them different, of the random pool that keep as many blocks as the published code's masks
N_HELD_OUT = 300  # of them, never trained on
GRID = (75, 150, 300, 600, 1200)  # masks trained on
REPEATS = 5  # subsets of the training masks at each point
SURROGATES = ("linear", "ridge", "pairwise", "network", "published", "trees")
GROUP = 3  # blocks in a group, for the game in which every mask is run
FITTED = ("linear", "ridge", "pairwise", "network", "trees")  # surrogates that estimators fit there
BUDGETS = (60, 120, 250, 500)  # masks that estimators may draw there
ORDERS = 10  # of all blocks, by permutation sampling
TIMED = 12  # masks whose time is taken without a store

# The same on a small random model, as a check that the scripts still work.
QUICK = {"N_SEARCH": 6, "N_MASKS": 60, "N_HELD_OUT": 4, "GRID": (5, 6), "REPEATS": 2, "GROUP": 1,
         "BUDGETS": (20, 40), "ORDERS": 2, "TIMED": 2}  # fmt: skip
