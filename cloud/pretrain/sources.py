"""What the bundled backbone learns from: file, how often a conversation enters stream A and stream B, and at most how
many are drawn. All are permissively licensed or in the public domain; MODEL_CARD.md lists the licences."""

import gzip
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Conversation = list[tuple[str, str]]


@dataclass(frozen=True)
class Source:
    file: str
    in_a: int
    in_b: int
    at_most: int | None = None


CHATS = [
    Source("persona_chat", 6, 6),
    Source("oasst_samples", 1, 2),
    Source("oasst_100", 1, 2),
    Source("halueval_general", 1, 2),
    Source("gpteacher", 1, 1),
    Source("misc_instruct", 3, 6),
    Source("taskmaster3", 1, 1),
    Source("taskmaster4", 1, 1),
    Source("tldr", 1, 1, at_most=14_000),
    Source("multiwoz", 1, 0, at_most=3_000),
    Source("t0_selfinstruct", 1, 0, at_most=6_000),
]
# The first conversations of these are never trained on.
VALIDATION = {"persona_chat": 60, "oasst_samples": 60}
# Tokenised punctuation is put back.
SPACED = {"multiwoz"}
PIECE, LONGEST_BOOK, PIECES = 6_000, 120_000, 4_500


def rows(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def conversations(folder: Path, source: Source, rng: random.Random) -> list[Conversation]:
    found = []
    for row in rows(folder / "chat" / f"{source.file}.jsonl.gz"):
        turns = [(turn["role"], tidy(turn["content"], source.file)) for turn in row["messages"]]
        if all(text for _, text in turns) and wanted(turns, source.file):
            found.append(turns)
    if source.at_most is not None and len(found) > source.at_most:
        return rng.sample(found, source.at_most)
    return found


def tidy(text: str, file: str) -> str:
    if file in SPACED:
        text = re.sub(r" +([.,!?;:]|'(?:s|re|d|ll|ve|m)\b|n't\b)", r"\1", text)
    return text.strip()


def wanted(turns: Conversation, file: str) -> bool:
    """Self-instruct is full of one-word answers and of long lists."""
    if file != "t0_selfinstruct":
        return True
    return len(turns[-1][1].split()) >= 3 and sum(len(text) for _, text in turns) < 1_200


def books(folder: Path, rng: random.Random) -> list[str]:
    """Books once, children's stories twice."""
    texts = [row["text"] for row in rows(folder / "text" / "books_easy.jsonl.gz")]
    texts += [row["text"] for row in rows(folder / "text" / "african_storybook.jsonl.gz")] * 2
    rng.shuffle(texts)
    return texts


def pieces(texts: list[str], rng: random.Random) -> list[str]:
    """The beginnings of books, cut into pieces of a few thousand characters."""
    cut = [book[at : at + PIECE] for book in texts for at in range(0, min(len(book), LONGEST_BOOK), PIECE)]
    rng.shuffle(cut)
    return cut[:PIECES]
