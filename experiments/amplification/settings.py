"""What this experiment runs: sizes and seeds, nothing else."""

QUESTIONS = "facts"
N_QUESTIONS = 64
TEXTS = "pydoc"
WINDOW = 64  # tokens in a text
N_TEXTS = 64
N_RANKING = 32  # texts that the sublayers are ranked on, of the other half
SEED = 0
TEMPERATURE = 1.0
COUNTS = (1, 2, 4, 8)  # attentions, MLPs or blocks removed
CRITERIA = {"attention": "cosine", "mlp": "cosine", "block": "block_influence"}  # least important first
RANDOM_SETS = 16
PARTNERS = 4

# The same on a small random model, as a check that the scripts still work.
QUICK = {
    "N_QUESTIONS": 10,
    "WINDOW": 16,
    "N_TEXTS": 6,
    "N_RANKING": 4,
    "COUNTS": (1, 2),
    "RANDOM_SETS": 2,
    "PARTNERS": 2,
}
