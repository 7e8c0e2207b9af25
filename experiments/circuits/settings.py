"""What this experiment runs: sizes and seeds, nothing else."""

QUESTIONS = "facts"
SEED = 0
N_SEARCH = 128  # locate the transition, from which the cuts follow; pairs are made of the others
N_PAIRS = 32
LEAST_PAIRS = 8
POSITIONS = ("answer", "question")
SITES = ("resid_pre", "attn_out", "mlp_out", "head_out")  # single heads at the answer only
DIRECTIONS = ("denoise", "noise")
CUT_SIZES = (3, 6)  # neighbouring blocks in the middle of a phase that is longer
RESTORED = ("attn_out", "mlp_out", "resid_post")  # at the answer
DRAWS = 2  # random cuts beside each
N_ATTRIBUTED = 192
TARGET = 0.8  # of the margin that a circuit keeps on the questions that find it
LEAST_CIRCUIT = 16  # questions, half to find a circuit and half to report

# The same on a small random model, as a check that the scripts still work.
QUICK = {
    "N_SEARCH": 24,
    "N_PAIRS": 4,
    "LEAST_PAIRS": 2,
    "CUT_SIZES": (1,),
    "DRAWS": 1,
    "N_ATTRIBUTED": 12,
    "LEAST_CIRCUIT": 4,
}
