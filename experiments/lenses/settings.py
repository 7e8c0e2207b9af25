"""What this experiment runs: sizes and seeds, nothing else."""

QUESTIONS = "facts"
SEED = 0
N_QUESTIONS = 320  # of the transition
LAST_BLOCKS = 2  # depth of the last-blocks lens
TEXTS = "pydoc"  # one half fits the lens, the other measures it
WINDOW = 128  # tokens
N_FIT = 128  # windows that fit the lens
N_MEASURE = 16  # windows that measure it
STEPS = 200  # of training
BATCH = 256  # tokens a step
SAMPLED = 512  # tokens of the vocabulary drawn in every step, besides the most probable ones
N_BOOT = 2000

# The same on a small random model, as a check that the scripts still work.
QUICK = {"N_QUESTIONS": 24, "WINDOW": 32, "N_FIT": 16, "N_MEASURE": 4, "STEPS": 4, "BATCH": 64, "SAMPLED": 64,
         "N_BOOT": 100}  # fmt: skip
