"""What this experiment runs: sizes and seeds, nothing else."""

TEXTS = "pydoc"
WINDOW = 64  # tokens in a text
LIMIT = 64  # texts
POSITIONS = "last"
SEED = 0
TEMPERATURES = (1.0, 0.5)
SHARES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of what a sublayer adds, taken away in every layer; 1 drops it
PARTS = ("attention", "mlp")
DROPPED = (1, 2, 4, 8)  # sublayers or blocks removed, evenly spaced
EDGES = 2  # layers at either end that are never among these
CLOSE = 0.1  # an estimate is close if it is within this share of the exact value
N_BOOT = 2000
BINS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of the exact value

# The same on a small random model, as a check that the scripts still work.
QUICK = {"WINDOW": 16, "LIMIT": 6, "TEMPERATURES": (1.0,), "SHARES": (0.01, 0.1, 1.0), "DROPPED": (1, 2)}
