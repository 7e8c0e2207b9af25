"""What this experiment runs: sizes and seeds, nothing else."""

QUESTIONS = "facts"
TEXTS = "pydoc"
SEED = 0
N_SEARCH = 160  # choose the cuts and set the boundary
N_EVALUATION = 128  # measure
CRITERIA = ("margin", "block_influence")  # strategies whose cuts are repaired
UP_TO = 24  # blocks removed in search of the collapse
BEYOND = 2  # blocks removed after it
METHODS = ("mean_bias", "diagonal", "linear_patch", "hadamard_diagonal", "ghost", "affine", "relative_ghost",
           "relative_affine", "bottleneck")  # fmt: skip
PUBLISHED = (
    "linear_patch",
    "ghost",
    "relative_ghost",
)  # fitted once more on the intact model, gap by gap, as published
PHASE_METHODS = ("mean_bias", "linear_patch", "ghost", "relative_ghost")  # on cuts inside the phases
PHASE_SIZES = (2, 4)  # blocks removed from one phase
PHASE_DRAWS = 3  # random cuts of each kind, or all where there are fewer
FIRST_BLOCKS = (0, 1, 2)  # left out, together with the transition block
MAIN = "relative_ghost"  # the repair that the phases are compared by
WINDOW = 128  # tokens in a window of text
WINDOWS = 64  # windows to fit to
HELD_OUT = 32  # windows to measure perplexity on

# The same on a small random model, as a check that the scripts still work.
QUICK = {"N_SEARCH": 20, "N_EVALUATION": 20, "UP_TO": 3, "BEYOND": 1, "METHODS": ("mean_bias", "relative_ghost"),
         "PUBLISHED": ("relative_ghost",), "PHASE_METHODS": ("mean_bias", "relative_ghost"), "PHASE_SIZES": (1,), "PHASE_DRAWS": 1,
         "FIRST_BLOCKS": (0,), "WINDOW": 32, "WINDOWS": 16, "HELD_OUT": 8}  # fmt: skip
