"""What this experiment runs: sizes and seeds, nothing else."""

SEED = 0
LIMIT = 64  # items of each family
SHOTS = 4  # solved examples in front of questions, with options as rivals and without
TEXTS = "pydoc"  # the removal order is set on these, on which nothing is scored
WINDOWS = 16  # windows of these texts
CRITERIA = {"attention": "cosine", "mlp": "cosine", "block": "block_influence"}
SIZES = {"attention": (1, 2, 4, 6, 8, 12), "mlp": (1, 2, 4, 6, 8), "block": (1, 2, 4, 6, 8)}
RANDOM_SIZE = 4  # random cuts beside them
RANDOM_DRAWS = 3
SPARSITY = ("magnitude:0.5", "wanda:0.5", "wanda:2:4")  # weights set to zero, where dp.sparsify is there

# The same on a small random model, as a check that the scripts still work.
QUICK = {"LIMIT": 3, "WINDOWS": 2, "SIZES": {"attention": (1,), "mlp": (1,), "block": (1,)}, "RANDOM_SIZE": 2,
         "RANDOM_DRAWS": 1, "SPARSITY": ("magnitude:0.5",)}  # fmt: skip
