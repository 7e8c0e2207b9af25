"""What this experiment runs: sizes and seeds, nothing else."""

QUESTIONS = "facts"
SEED = 0
LIMIT = 64  # questions, and prompts of the continuations
SHOTS = 3  # solved examples in front of each question, so that an answer follows
ANSWER_STEPS = 8  # tokens of an answer
PROMPT_TOKENS = 12  # of each bundled passage, of which the continuations begin
STEPS = 32  # tokens of a continuation
TEXTS = "pydoc"  # the removal order is set on these
WINDOWS = 16
CRITERIA = {"attention": "cosine", "mlp": "cosine", "block": "block_influence"}
SIZES = {"attention": (2, 4, 8), "mlp": (2, 4), "block": (1, 2, 4)}
MEASURES = ("h", "z", "p", "kl_dense_from_pruned")  # whose growth over steps is tested

# The same on a small random model, as a check that the scripts still work.
QUICK = {
    "LIMIT": 4,
    "ANSWER_STEPS": 2,
    "STEPS": 4,
    "WINDOWS": 2,
    "SIZES": {"attention": (1,), "mlp": (1,), "block": (1, 2)},
}
