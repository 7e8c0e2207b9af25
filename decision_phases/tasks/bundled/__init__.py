"""The question set that ships with the package: `facts.jsonl`, described in the `README.md` beside it."""
