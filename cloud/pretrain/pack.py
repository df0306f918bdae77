"""Packs a Hugging Face folder into the one file that Aside embeds.

    python pack.py MODEL_FOLDER ../assets/backbone.safetensors --name aside-8m --window 512

Matrices become Q8_0: a row is cut into blocks of 32 values, a block is an f16 scale and 32 signed bytes. They are
stored as U8 tensors of the shape [rows, columns / 32 * 34]. Norms and biases stay f32. Configuration and tokenizer
ride along as texts in the metadata. The same folder always gives the same bytes.
"""

import argparse
import json
import struct
from pathlib import Path

import numpy as np
from safetensors import safe_open

GROUP = 32
FORMAT = "aside-backbone-1"


def q8_0(matrix: np.ndarray) -> np.ndarray:
    """Rows of f32 as rows of blocks (uint8)."""
    rows, columns = matrix.shape
    groups = matrix.reshape(rows, columns // GROUP, GROUP)
    step = np.abs(groups).max(axis=2, keepdims=True) / np.float32(127)
    inverse = np.where(step > 0, 1 / np.maximum(step, np.float32(1e-30)), 0).astype(np.float32)
    scaled = groups * inverse
    # Half away from zero, as ggml rounds.
    values = (np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))).astype(np.int8)
    blocks = np.concatenate([step.astype("<f2").view(np.uint8), values.view(np.uint8)], axis=2)
    return blocks.reshape(rows, -1)


def tensors(folder: Path):
    """Name and packed array of every tensor, sorted by name."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="np") as file:
            for name in file.keys():
                array = file.get_tensor(name).astype(np.float32)
                found[name] = q8_0(array) if array.ndim == 2 else array
    return sorted(found.items())


def texts(folder: Path, name: str, window: int) -> dict:
    """The metadata: what the folder says about itself, without white space."""
    compact = lambda file: json.dumps(
        json.loads((folder / file).read_text("utf-8")), ensure_ascii=False, separators=(",", ":")
    )
    return {
        "config": compact("config.json"),
        "format": FORMAT,
        "generation_config": compact("generation_config.json"),
        "name": name,
        "tokenizer": compact("tokenizer.json"),
        "tokenizer_config": compact("tokenizer_config.json"),
        "window": str(window),
    }


def write(path: Path, metadata: dict, arrays: list) -> None:
    """A safetensors file, written by hand so that its bytes are reproducible."""
    header, offset = {"__metadata__": metadata}, 0
    for name, array in arrays:
        kind = "U8" if array.dtype == np.uint8 else "F32"
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, array in arrays:
            file.write(np.ascontiguousarray(array).tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="Hugging Face folder, as train.py writes it")
    parser.add_argument("output", type=Path)
    parser.add_argument("--name", required=True, help="name of the model, for people")
    parser.add_argument("--window", type=int, required=True, help="length in tokens it was trained on")
    args = parser.parse_args()
    write(args.output, texts(args.folder, args.name, args.window), tensors(args.folder))
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
