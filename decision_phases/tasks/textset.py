"""An immutable set of texts with two disjoint halves, one to fit on and one to evaluate on."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from decision_phases.errors import InputError

_SHARED_PARAGRAPH = 80  # characters; shorter paragraphs recur without being the same text


@dataclass(frozen=True)
class TextSet:
    """Documents, in order.

    `fit` and `evaluation` are two disjoint halves of about the same number of characters. Documents of a
    running text (consecutive paragraphs) are cut in the middle: the first half fits. Other documents are
    dealt out by a hash of `seed` and their text, and documents that share a paragraph of 80 characters or
    more stay together, so that no half contains what the other was fitted on.

    Attributes:
        name: Name in results.
        documents: The texts.
        running: Whether the documents are consecutive paragraphs of one text.
        seed: Seed of the halves.
        source: Where the texts came from.
        half: "" for a whole set, "fit" or "evaluation" for a half of one.

    Raises:
        InputError: If there is no document with text.
    """

    name: str
    documents: tuple[str, ...]
    running: bool = False
    seed: int = 0
    source: str = ""
    half: str = ""

    def __post_init__(self) -> None:
        if not any(document.strip() for document in self.documents):
            raise InputError(f"text set {self.name!r} is empty; give at least one document with text.")

    def __len__(self) -> int:
        return len(self.documents)

    def __iter__(self) -> Iterator[str]:
        return iter(self.documents)

    def __repr__(self) -> str:
        half = f", {self.half} half" if self.half else ""
        size = f"{len(self)} documents, {self.characters} characters"
        return f"TextSet({self.name!r}{half}, {size}, {self.content_hash})"

    @property
    def characters(self) -> int:
        """Number of characters of all documents."""
        return sum(map(len, self.documents))

    @cached_property
    def content_hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the documents in order; the name is not in it."""
        return hashlib.sha256(json.dumps([self.running, self.documents]).encode()).hexdigest()[:16]

    @cached_property
    def fit(self) -> "TextSet":
        """The half to fit on; `InputError` for a set that is a half or cannot be divided."""
        return self._part("fit", 0)

    @cached_property
    def evaluation(self) -> "TextSet":
        """The half to evaluate on; `InputError` for a set that is a half or cannot be divided."""
        return self._part("evaluation", 1)

    def _part(self, half: str, side: int) -> "TextSet":
        if self.half:
            raise InputError(
                f"text set {self.name!r} is the {self.half} half already; use the whole set's .{half}."
            )
        sides = _cut(self.documents) if self.running else _deal(self.documents, self.seed)
        if set(sides) != {0, 1}:
            raise InputError(
                f"text set {self.name!r} cannot be divided into a fit and an evaluation half: its "
                f"{len(self)} document(s) are one text or share paragraphs; give several documents."
            )
        chosen = tuple(text for text, where in zip(self.documents, sides, strict=True) if where == side)
        return replace(self, documents=chosen, half=half)


def _cut(documents: tuple[str, ...]) -> list[int]:
    """Side of each document where the set is cut once, after half of the characters."""
    total, before, sides = sum(map(len, documents)), 0, []
    for document in documents:
        sides.append(int(before + len(document) / 2 > total / 2))
        before += len(document)
    return sides


def _deal(documents: tuple[str, ...], seed: int) -> list[int]:
    """Side of each document where groups of related documents are dealt to the smaller side.

    Larger groups come first (by powers of two in characters, so that the sides come out even), groups of
    like size in the order of their hash.
    """
    groups: dict[int, list[int]] = {}
    for index, group in enumerate(_related(documents)):
        groups.setdefault(group, []).append(index)

    def rank(members: list[int]) -> tuple[int, str]:
        text = json.dumps([seed, *sorted(documents[i] for i in members)])
        size = sum(len(documents[i]) for i in members)
        return -size.bit_length(), hashlib.sha256(text.encode()).hexdigest()

    sides, load = [0] * len(documents), [0, 0]
    for members in sorted(groups.values(), key=rank):
        side = int(load[1] < load[0])
        for index in members:
            sides[index] = side
            load[side] += len(documents[index])
    return sides


def _related(documents: tuple[str, ...]) -> list[int]:
    """Group of each document: the same for documents connected by equal texts or shared long paragraphs."""
    group = list(range(len(documents)))

    def root(index: int) -> int:
        while group[index] != index:
            index = group[index]
        return index

    first: dict[str, int] = {}
    for index, document in enumerate(documents):
        paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", document))
        for key in {document, *(part for part in paragraphs if len(part) >= _SHARED_PARAGRAPH)}:
            group[root(index)] = root(first.setdefault(key, index))
    return [root(index) for index in range(len(documents))]
