"""See at which layer a language model decides, and what pruning, ablating or patching does to that decision."""
