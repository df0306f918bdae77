"""LoRA r 8 on every linear layer of the backbone: the ceiling that the side path is measured against.

usage: lora.py BACKBONE_FOLDER DATA_FOLDER RESULTS.jsonl [SEEDS] [persona|irc]

The backbone is a Hugging Face folder, in f32. Lessons, windows and the held-out turns are those of `aside-personal`;
the epoch with the lowest loss on held-out turns is kept. One JSON object a line is appended to the results, with the
loss of every unseen token under `open`: LoRA has no gate.
"""
import copy
import gzip
import json
import sys
import time

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

RANK, ALPHA, DROPOUT, RATE, EPOCHS, PATIENCE = 8, 16.0, 0.05, 1e-3, 8, 2
WINDOW, END = 512, 4
ROLES = {"system": 1, "user": 2, "assistant": 3}
IRC_TURNS, IRC_TALKS = 6, (60, 20)


class Lora(torch.nn.Module):
    """A frozen linear layer and its low-rank change, zero at birth."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.down = torch.nn.Linear(inner.in_features, RANK, bias=False)
        self.up = torch.nn.Linear(RANK, inner.out_features, bias=False)
        torch.nn.init.zeros_(self.up.weight)
        self.dropout = torch.nn.Dropout(DROPOUT)

    def forward(self, x):
        return self.inner(x) + self.up(self.down(self.dropout(x))) * (ALPHA / RANK)


def with_lora(model):
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for layer in model.model.layers:
        for block in (layer.self_attn, layer.mlp):
            for name, child in list(block.named_children()):
                if isinstance(child, torch.nn.Linear):
                    setattr(block, name, Lora(child))
    return model


def read(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def persona(folder):
    people = {}
    for row in read(f"{folder}/persona_users.jsonl.gz"):
        talk = [(m["role"], m["content"].strip(), True) for m in row["messages"]]
        people.setdefault(row["user"], []).append((row["split"] == "train", talk))
    return people


def irc(folder):
    people = {}
    for row in read(f"{folder}/irc_users.jsonl.gz"):
        talks = people.setdefault(row["user"], [])
        train = row["split"] == "train"
        if not (talks and talks[-1][0] == row["day"] and talks[-1][1] == train and len(talks[-1][2]) < 2 * IRC_TURNS):
            talks.append((row["day"], train, []))
        talks[-1][2].extend([("assistant", row["input"].strip(), False), ("user", row["target"].strip(), True)])
    out = {}
    for name, talks in people.items():
        learned = [(True, t) for _, train, t in talks if train][: IRC_TALKS[0]]
        measured = [(False, t) for _, train, t in talks if not train][: IRC_TALKS[1]]
        out[name] = learned + measured
    return out


def windows(ids, spans):
    """(start, end, [(turn, from, to)]): every target once, a new window with up to a quarter of context."""
    out = []
    for turn, (start, end) in spans:
        at = max(start, 1)
        while at < end:
            room = out[-1][0] + WINDOW if out else -1
            if out and (end <= room or (at < room and end - at > WINDOW * 3 // 4)):
                window = out[-1]
            else:
                first = 0 if not out and end <= WINDOW else max(0, at - WINDOW // 4)
                if first:
                    bounds = [s - 1 for _, (s, _) in spans if first <= s - 1 < at]
                    first = bounds[0] if bounds else first
                window = [first, at, []]
                out.append(window)
            stop = min(end, window[0] + WINDOW)
            window[2].append((turn, at, stop))
            window[1] = stop
            at = stop
    return out


def encode(tokenizer, talks):
    """Windows of all talks: (ids, [(position of the target, part, own)]); the part is decided turn by turn."""
    train, test, number = [], [], 0
    for learned, talk in talks:
        ids, spans, parts = [], [], {}
        for turn, (role, text, counts) in enumerate(talk):
            ids.append(ROLES[role])
            start = len(ids)
            ids += tokenizer.encode(text, add_special_tokens=False).ids + [END]
            if counts:
                spans.append((turn, (start, len(ids))))
                if learned:
                    parts[turn] = {4: "stop", 9: "held", 14: "held", 19: "held"}.get(number % 20, "train")
                    number += 1
        for first, last, targets in windows(ids, spans):
            marks = [(p - first, parts.get(turn, "test"), talk[turn][0] == "user") for turn, a, b in targets for p in range(a, b)]
            (train if learned else test).append((torch.tensor([ids[first:last]]), marks))
    return train, test


def losses(model, ids, marks):
    logits = model(input_ids=ids).logits[0]
    places = torch.tensor([p for p, _, _ in marks])
    return torch.nn.functional.cross_entropy(logits[places - 1], ids[0][places], reduction="none")


@torch.no_grad()
def mean(model, data, wanted):
    model.eval()
    total, count = 0.0, 0
    for ids, marks in data:
        keep = torch.tensor([wanted(m) for m in marks])
        if keep.any():
            found = losses(model, ids, marks)[keep]
            total, count = total + found.sum().item(), count + len(found)
    return total / max(count, 1), count


def numbers(base, model, data, wanted):
    (before, tokens), (after, _) = mean(base, data, wanted), mean(model, data, wanted)
    return {"tokens": tokens, "base": before, "open": after, "gated": after, "rate": 1.0}


def learn(base, train, seed):
    torch.manual_seed(seed)
    model = with_lora(copy.deepcopy(base))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01)
    held = lambda m: m[1] in ("stop", "held")
    best, kept, since = mean(model, train, held)[0], [p.detach().clone() for p in trained], 0
    for _ in range(EPOCHS):
        model.train()
        for at in torch.randperm(len(train)).tolist():
            ids, marks = train[at]
            keep = torch.tensor([m[1] == "train" for m in marks])
            if not keep.any():
                continue
            optimiser.zero_grad()
            losses(model, ids, marks)[keep].mean().backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
        now = mean(model, train, held)[0]
        since += 1
        if now < best:
            best, kept, since = now, [p.detach().clone() for p in trained], 0
        if since >= PATIENCE:
            break
    with torch.no_grad():
        for parameter, value in zip(trained, kept):
            parameter.copy_(value)
    return model


def main():
    folder, data, results = sys.argv[1:4]
    seeds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    only = sys.argv[5] if len(sys.argv) > 5 else ""
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    done = set()
    try:
        with open(results, encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
            done = {(r["user"], r["seed"]) for r in rows if r["arm"] == "lora"}
    except FileNotFoundError:
        pass
    kinds = [(kind, of) for kind, of in (("persona", persona), ("irc", irc)) if only in ("", kind)]
    for seed in range(1, seeds + 1):
        for kind, of in kinds:
            for name, talks in sorted(of(data).items()):
                if (name, seed) in done:
                    continue
                train, test = encode(tokenizer, talks)
                started = time.time()
                model = learn(base, train, seed)
                row = {"kind": kind, "user": name, "arm": "lora", "seed": seed}
                row["lessons"] = sum(len(marks) for _, marks in train)
                row["seconds"] = time.time() - started
                row["all"] = numbers(base, model, test, lambda m: True)
                row["own"] = numbers(base, model, test, lambda m: m[2])
                row["replies"] = numbers(base, model, test, lambda m: not m[2])
                with open(results, "a", encoding="utf-8") as out:
                    out.write(json.dumps(row) + "\n")
                change = 100 * (row["all"]["open"] / row["all"]["base"] - 1)
                print(kind, name, seed, f"{change:.2f} %", f"{row['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
