"""What ships with the package: `facts.jsonl` and `passages.jsonl`, described in the `README.md` beside them."""
