"""Pre-trains the backbone on the token streams: once through A, then over and over B, until the time is up.

    python train.py WORK_FOLDER MODEL_FOLDER --minutes 82

Writes a Hugging Face folder that `pack.py` and `aside cloud serve --model` take. The learning rate is constant for the
first 55 % of the time and falls linearly to a fiftieth, so a longer run is simply a better model. Widths stay
multiples of 256, so that the 8-bit kernels take every matrix.
"""

import argparse
import json
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

LENGTH, BATCH = 512, 16
TOP_RATE, WARM_UP, FLAT, LOWEST = 2e-3, 100, 0.55, 0.02
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def new_model(width: int, layers: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=6144,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 128,
        max_position_embeddings=2 * LENGTH,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        bos_token_id=0,
        eos_token_id=4,
        attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config)
    # What is added to the residual stream starts smaller, the more layers add to it.
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            torch.nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers))
    return model


def windows(path: Path) -> np.ndarray:
    ids = np.fromfile(path, dtype="<u2")
    count = len(ids) // LENGTH
    return ids[: count * LENGTH].reshape(count, LENGTH).astype(np.int64)


def batches(work: Path) -> Iterator[torch.Tensor]:
    def shuffled(stream: np.ndarray, seed: int) -> Iterator[torch.Tensor]:
        order = np.random.default_rng(seed).permutation(len(stream))
        for at in range(0, max(len(order) - BATCH, 0) + 1, BATCH):
            yield torch.from_numpy(stream[order[at : at + BATCH]])

    yield from shuffled(windows(work / "a.bin"), 1)
    chat, seed = windows(work / "b.bin"), 2
    while True:
        yield from shuffled(chat, seed)
        seed += 1


def rate(step: int, done: float) -> float:
    decay = 1.0 if done < FLAT else max(LOWEST, (1 - done) / (1 - FLAT))
    return TOP_RATE * min(1.0, (step + 1) / WARM_UP) * decay


def loss_of(model: torch.nn.Module, tokens: torch.Tensor, device: str) -> torch.Tensor:
    tokens = tokens.to(device)
    with torch.autocast(device, torch.bfloat16):
        return model(input_ids=tokens, labels=tokens).loss


@torch.no_grad()
def validate(model: torch.nn.Module, work: Path, device: str) -> float:
    model.eval()
    held_out = torch.from_numpy(windows(work / "validation.bin"))
    losses = [loss_of(model, part, device).item() for part in held_out.split(BATCH)]
    model.train()
    return sum(losses) / len(losses)


def save(model: LlamaForCausalLM, work: Path, folder: Path) -> None:
    model.save_pretrained(folder)
    shutil.copy(work / "tokenizer.json", folder / "tokenizer.json")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|end|>",
        "model_max_length": model.config.max_position_embeddings,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))


def optimiser(model: torch.nn.Module) -> torch.optim.Optimizer:
    """Matrices decay, norms do not."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=TOP_RATE, betas=(0.9, 0.95))


def train(args: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = new_model(args.width, args.layers).to(device)
    fast = torch.compile(model) if args.compile else model
    steps = optimiser(model)
    start, tokens = time.monotonic(), 0
    for step, batch in enumerate(batches(args.work)):
        done = (time.monotonic() - start) / (60 * args.minutes)
        if done >= 1:
            break
        for group in steps.param_groups:
            group["lr"] = rate(step, done)
        loss = loss_of(fast, batch, device)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        steps.step()
        steps.zero_grad(set_to_none=True)
        tokens += batch.numel()
        if step % args.report == 0:
            print(f"{100 * done:5.1f} %  step {step}  {tokens / 1e6:.2f}M tokens  loss {loss.item():.3f}", flush=True)
    save(model, args.work, args.model)
    print(f"{tokens / 1e6:.2f}M tokens, validation loss {validate(model, args.work, device):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder that prepare.py filled")
    parser.add_argument("model", type=Path, help="Hugging Face folder to write")
    parser.add_argument("--minutes", type=float, default=82)
    parser.add_argument("--width", type=int, default=256, help="hidden size, a multiple of 256")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--report", type=int, default=20, help="steps between two lines")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="start at once, run slower")
    args = parser.parse_args()
    if args.width % 256:
        parser.error("--width must be a multiple of 256")
    torch.manual_seed(args.seed)
    train(args)


if __name__ == "__main__":
    main()
