"""Write what the pages of docs/papers state, from what the experiments left behind.

uv run python experiments/pages.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from claims import NOT_RUN, UNTESTABLE, Claim, Judgement, Paper
from papers import PAPERS

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "papers"
BEGIN, END = "<!-- claims: written by experiments/pages.py -->", "<!-- end of claims -->"


def main() -> None:
    """Replace what stands between the two marks on every page."""
    for path, text in written(FOLDER).items():
        path.write_text(text, encoding="utf-8")


def written(folder: Path) -> dict[Path, str]:
    """All pages with their newest results.

    Args:
        folder: docs/papers.

    Returns:
        File → its text.
    """
    pages = {folder / f"{paper.page}.md": claims_of(paper) for paper in PAPERS}
    pages[folder / "index.md"] = overview()
    return {path: replaced(path.read_text("utf-8"), text) for path, text in pages.items()}


def replaced(page: str, text: str) -> str:
    """Put text between the two marks of a page."""
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{text}\n{END}{tail}"


def results(experiment: str) -> Any:
    """The results.json of an experiment, or of one on a file of questions ("strategies/arc_easy"); None if not run."""
    path = ROOT / "experiments" / experiment / "results.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def judged(claim: Claim) -> Judgement:
    """What was found, and the verdict."""
    if claim.why:
        return claim.why, UNTESTABLE
    r = results(claim.experiment) if claim.judge else None
    return ("", NOT_RUN) if claim.judge is None or r is None else claim.judge(r)


def claims_of(paper: Paper) -> str:
    """The claims of a paper as a table, then how each was tested.

    Args:
        paper: The paper.

    Returns:
        Markdown.
    """
    rows = [(claim.says, *judged(claim)) for claim in paper.claims]
    lines = ["| claim | found here | verdict |", "| --- | --- | --- |"]
    lines += [f"| {says} | {found} | **{verdict}** |" for says, found, verdict in rows]
    run = dict.fromkeys(claim.experiment for claim in paper.claims if claim.experiment)
    own = dict.fromkeys(claim.command for claim in paper.claims if claim.command)
    ways = [f"- {conditions(name, results(name))}" for name in run] + [
        f"- `{command}`: not run yet." for command in own
    ]
    return "\n".join(lines) + ("\n\nTested by:\n\n" + "\n".join(ways) if ways else "")


def conditions(experiment: str, r: Any) -> str:
    """How an experiment is run, and on what it was."""
    script, _, file = experiment.partition("/")
    own = f" --questions {file}.jsonl" if file else ""
    if file and r is not None:
        own = f" --questions {r['questions']['name']} --scoring {r['settings']['SCORING']}"
    command = f"`uv run python experiments/{script}/run.py{own}`"
    if r is None:
        return f"{command}: not run yet."
    one = r["pairs"][0] if experiment == "depth" else r
    asked = one.get("questions")
    name = asked["name"] if isinstance(asked, dict) else one.get("task", "")
    on = f", questions `{name}`" if name else ""
    return (
        f"{command}: {one['model']} ({one['weights']}, fingerprint `{one['fingerprint']}`){on}, seed {one['seed']}; "
        f"[all of it](../generated/experiments/{experiment.replace('/', '-')}.md)."
    )


def overview() -> str:
    """All papers and what became of their claims.

    Returns:
        Markdown.
    """
    lines = ["| paper | arXiv | verdicts |", "| --- | --- | --- |"]
    for paper in PAPERS:
        verdicts = [judged(claim)[1] for claim in paper.claims]
        counts = ", ".join(f"{verdict}: {verdicts.count(verdict)}" for verdict in dict.fromkeys(verdicts))
        lines.append(f"| [{paper.title}]({paper.page}.md) | {paper.arxiv} | {counts} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
