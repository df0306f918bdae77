"""Trains the tokenizer and writes the token streams.

    python prepare.py DATA_FOLDER WORK_FOLDER

Writes `tokenizer.json`, `a.bin` (prose and chat), `b.bin` (chat only) and `validation.bin`: token ids as u16. The same
data give the same files. `--limit N` takes N documents of each source, for a trial run.
"""

import argparse
import random
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from sources import CHATS, VALIDATION, Conversation, books, conversations, pieces

SPECIAL = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
VOCABULARY = 6144
SEED = 7


def render(conversation: Conversation) -> str:
    return "".join(f"<|{role}|>{text}<|end|>" for role, text in conversation) + SPECIAL[0]


def train_tokenizer(chats: dict[str, list[Conversation]], prose: list[str]) -> Tokenizer:
    """Byte-level BPE over message texts and the beginnings of books."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )

    def texts():
        for chat in chats.values():
            for conversation in chat[:6_000]:
                yield from (text for _, text in conversation)
        yield from (book[:60_000] for book in prose[:120])

    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def write_stream(tokenizer: Tokenizer, documents: list[str], path: Path) -> None:
    ids = []
    for at in range(0, len(documents), 2_000):
        for encoding in tokenizer.encode_batch(documents[at : at + 2_000]):
            ids.extend(encoding.ids)
    np.array(ids, dtype="<u2").tofile(path)
    print(f"{path.name}: {len(documents)} documents, {len(ids) / 1e6:.2f}M tokens", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with chat/*.jsonl.gz and text/*.jsonl.gz")
    parser.add_argument("work", type=Path, help="folder for tokenizer and streams")
    parser.add_argument("--limit", type=int, help="documents of each source, for a trial run")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)

    chats = {source.file: conversations(args.data, source, rng)[: args.limit] for source in CHATS}
    prose = books(args.data, rng)[: args.limit]
    tokenizer = train_tokenizer(chats, prose)
    tokenizer.save(str(args.work / "tokenizer.json"))

    held_out, stream_a, stream_b = [], [], []
    for source in CHATS:
        first = min(VALIDATION.get(source.file, 0), len(chats[source.file]) // 2)
        documents = [render(conversation) for conversation in chats[source.file]]
        held_out += documents[:first]
        stream_a += documents[first:] * source.in_a
        stream_b += documents[first:] * source.in_b
    stream_a += [piece + SPECIAL[0] for piece in pieces(prose, rng)]
    rng.shuffle(stream_a)
    rng.shuffle(stream_b)
    for name, documents in (("validation", held_out), ("a", stream_a), ("b", stream_b)):
        write_stream(tokenizer, documents, args.work / f"{name}.bin")


if __name__ == "__main__":
    main()
