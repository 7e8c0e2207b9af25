"""What the benchmark runs: sizes, seeds, tolerances and goals, nothing else."""

QUESTIONS = "facts"
N_QUESTIONS = 96
SHOTS = (0, 5)  # solved examples in front of every question: short prompts, and long ones that begin alike
SEED = 0
REPETITIONS = 3  # ours and the baselines in turn; every ratio is the median of so many
STEPS = 6  # blocks that the greedy search removes
MASKS = 200  # random masks
KEPT = (0.6, 0.9)  # share of the blocks that a random mask keeps, from and to: 18 to 27 of 30
# By shots: variants that a baseline is timed on, others in each repetition; then scaled to all.
SAMPLED = {0: 6, 5: 2}
RATE_SECONDS = 0.5  # for which the rate of matrix products is measured after each repetition, at least
BATCH = 32  # sequences in a baseline's batch, sorted by length
WORKLOADS = ("leave_one_out", "greedy", "random_masks", "dense")
BASELINES = ("transformers", "transformer_lens")

# Largest difference in a Decision Margin, and in an option's logit, that counts as rounding. A choice must be the same
# wherever the best two options are further apart than that. Where a mask takes much of the model away, float32 itself
# can be further than that from float64: then as much is allowed as ROUNDING times what the baseline is away. Half precision keeps 8 or 11 bits: after tens of blocks, two
# kernels that add in another order differ in the second or third digit of a logit.
TOLERANCE = {
    "float32": (1e-4, 1e-2),
    "bfloat16": (0.3, 1.0),
    "float16": (0.05, 0.25),
    "float64": (1e-8, 1e-6),
}

ROUNDING = 4

# Least ratio to "transformers", by workload and shots; against "transformer_lens" it should be more.
GOALS = {
    "leave_one_out": {0: 2.5, 5: 8.0},
    "greedy": {0: 2.5, 5: 8.0},
    "random_masks": {0: 1.3, 5: 5.0},
    "dense": {0: 1.5, 5: 5.0},
}
FLOOR_SHARE = 0.6  # least share of the floor, on the largest workload

# Fewer of everything, by the same code.
QUICK = {"N_QUESTIONS": 24, "STEPS": 2, "MASKS": 20, "SAMPLED": {0: 2, 5: 2}, "RATE_SECONDS": 0.05}
