"""What a claim of a paper is, and what can become of it here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Results = dict[str, Any]
#: What was found, in words and numbers, and the verdict.
Judgement = tuple[str, str]

HOLDS, PARTLY, FAILS, DEPENDS = (
    "holds here",
    "holds here in part",
    "fails here",
    "depends on what is compared",
)
OPEN, UNTESTABLE, NOT_RUN = "cannot be told", "not testable here", "not run yet"
VERDICTS = (HOLDS, PARTLY, FAILS, DEPENDS, OPEN, UNTESTABLE, NOT_RUN)


@dataclass(frozen=True)
class Claim:
    """Something that a paper says.

    Attributes:
        says: The claim.
        experiment: The experiment that tests it, a folder beside this file; "" if none does.
        judge: Takes its results.json; gives what was found and a verdict.
        command: What is typed to test it, where that is no experiment.
        why: Why nothing here can test it, where that is so.
    """

    says: str
    experiment: str = ""
    judge: Callable[[Results], Judgement] | None = None
    command: str = ""
    why: str = ""


@dataclass(frozen=True)
class Paper:
    """A paper and what is to be tested of it.

    Attributes:
        page: Name of its page in docs/papers.
        title: Its title.
        arxiv: Its number.
        claims: What it says.
    """

    page: str
    title: str
    arxiv: str
    claims: tuple[Claim, ...]
