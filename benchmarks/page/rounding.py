"""Measure what rounding the page's weights costs: python benchmarks/page/rounding.py NPZ [--model groove]

NPZ is a folder of `hypermeter prepare`, as bench/out/npz/validation. For each number of bits that are kept of the
fraction of a weight: the megabytes of the file, the bits per step of the hits, and the greatest change of a step's.
"""

import argparse
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hypermeter import load
from hypermeter.io.checkpoint import find_checkpoint, read_checkpoint, write_checkpoint
from hypermeter.share.page_model import export_page_model, rounded

BITS = (23, 15, 10, 7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("npz", type=Path)
    parser.add_argument("--model", default="groove")
    options = parser.parse_args()
    checkpoint = read_checkpoint(find_checkpoint(options.model))
    pieces = []
    for path in sorted(options.npz.glob("*.npz")):
        with np.load(path) as arrays:
            pieces.append(torch.from_numpy(arrays["sequence"].astype(np.float32)))
    whole: list[np.ndarray] = []
    for bits in BITS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rounded.safetensors"
            tensors = {
                name: rounded(np.asarray(tensor, np.float32), bits) for name, tensor in checkpoint.tensors.items()
            }
            write_checkpoint(path, replace(checkpoint, tensors=tensors), {})
            export_page_model(path, Path(folder) / "model", bits)
            size = (Path(folder) / "model" / "weights.bin.gz").stat().st_size / 1e6
            model = load(path)
        with torch.inference_mode():
            log_probs = [model.log_prob(piece[None])[0].numpy().astype(np.float64) for piece in pieces]
        whole.append(np.concatenate(log_probs) / -math.log(2))
        change = np.abs(whole[-1] - whole[0])
        print(
            f"{bits:3} bits {size:6.2f} MB {whole[-1].mean():9.5f} bits per step, changed by at most {change.max():.5f}"
        )


if __name__ == "__main__":
    main()
