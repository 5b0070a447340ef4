"""A flat LSTM over combinations of voices, after Magenta's drums_rnn, as a baseline: bits of each held-out performance.

    python benchmarks/quality/drums_rnn.py NPZ --learning-rate 3e-3 [--out bench/out/drums_rnn.csv]
    hypermeter evaluate groove NPZ/validation --beside bench/out/drums_rnn.csv

As there: one symbol a step for all voices together, with those of one and two bars ago (look-back), whether the last
step repeated them, and a binary counter of the step; two LSTM layers of 256, dropout. Otherwise than there: the voices
are those of the data, so that bits compare with ours; combinations that were not seen in training go through an escape
with independent voices, so that every performance has a likelihood; and it is trained as ours is (Muon and AdamW or, on
demand, AdamW alone, with weight decay, warm-up and cosine, averaged weights, the best look kept).
"""

import copy
import math
import sys
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
import tyro
from ngram import grid_of, read, write_bits
from rich.progress import track
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.learn.dataset import CompleteHierarchicalDrumDataset
from hypermeter.learn.evaluate import performance_bits
from hypermeter.learn.train import TrainConfig, batches
from hypermeter.learn.train.module import schedule
from hypermeter.learn.train.optimizer import MuonAndAdamW
from hypermeter.learn.train.run import EMA_DECAY, GRADIENT_CLIP
from hypermeter.model.heads import SoftmaxHead, SoftmaxWithEscape, find_known, known_combinations
from hypermeter.model.losses import masked_mean

COUNTER_BITS = 6


class DrumsRnn(nn.Module):
    """p(step t | steps before) over combinations.

    Args:
        known: combinations seen in training.
        grid: the metre.
        hidden_dim: of each of the two layers.
        dropout: before, between and after them.
    """

    def __init__(self, listed: list[list[int]], grid: Grid, hidden_dim: int = 256, dropout: float = 0.5):
        super().__init__()
        self.lags = (grid.steps_per_bar, 2 * grid.steps_per_bar)
        self.head = SoftmaxHead(hidden_dim, len(listed[0]), listed)
        self.symbols = nn.ModuleList(nn.Embedding(len(listed) + 2, hidden_dim) for _ in range(1 + len(self.lags)))
        self.flags = nn.Linear(COUNTER_BITS + len(self.lags), hidden_dim, bias=False)
        self.drop = nn.Dropout(dropout)
        self.rnn = nn.LSTM(hidden_dim, hidden_dim, 2, batch_first=True, dropout=dropout)

    def forward(self, hits: Tensor) -> SoftmaxWithEscape:
        """Hits (B, T, V) to the distributions of steps 0..T-1."""
        steps, offset, unknown = hits.shape[1], max(self.lags), len(self.head.known)
        which, is_listed = find_known(self.head.known, hits)
        symbol = F.pad(torch.where(is_listed, which, unknown), (offset, 0), value=unknown + 1)  # before the first step

        def back(lag: int) -> Tensor:
            return symbol[:, offset - lag : offset - lag + steps]

        last = back(1)
        # as there: what stood a bar before the step to come, and whether the last step was what stood a bar before it
        ago = [back(lag) for lag in self.lags]
        repeats = [(last == F.pad(hits_then, (1, 0), value=-1)[:, :-1]).float() for hits_then in ago]
        bits = torch.arange(steps)[:, None] >> torch.arange(COUNTER_BITS) & 1
        counter = (2.0 * bits - 1).expand(len(hits), -1, -1)
        entered = sum(table(hits_then) for table, hits_then in zip(self.symbols, (last, *ago), strict=True))
        entered = entered + self.flags(torch.cat([torch.stack(repeats, -1), counter], -1))
        return self.head(self.drop(self.rnn(self.drop(entered))[0]))

    def log_prob(self, hits: Tensor) -> Tensor:
        return self(hits).log_prob(hits)


def optimizer_of(model: DrumsRnn, kind: str, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Muon does not change embeddings and the output, as in ours."""
    if kind == "muon":
        named = [
            (f"output_layer.{n}" if n.startswith(("head", "symbols")) else n, w) for n, w in model.named_parameters()
        ]
        return MuonAndAdamW(named, learning_rate, weight_decay)
    matrices, others = (
        [w for w in model.parameters() if (w.dim() > 1) is of_matrices] for of_matrices in (True, False)
    )
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), fused=True)


def main(
    npz_dir: tyro.conf.Positional[Path],
    out: Path = Path("bench/out/drums_rnn.csv"),
    learning_rate: float = 8e-3,
    dropout: float = 0.5,
    weight_decay: float = 0.3,
    optimizer: Literal["muon", "adamw"] = "muon",
    max_steps: int = 600,
    evaluate_every: int = 100,
    seed: int = 0,
) -> None:
    """Train, and write the bits of each held-out performance at the best look.

    Args:
        npz_dir: folder that prepare wrote, with train and validation.
        out: CSV of name and bits of each performance.
        learning_rate: at its highest.
        dropout: before, between and after the layers.
        weight_decay: on matrices; .05 was better with AdamW alone.
        optimizer: Muon for the layers' matrices and AdamW for the rest, or AdamW for all.
        max_steps: updates of 16 windows of 512 steps.
        evaluate_every: updates between looks.
        seed: of weights, order and dropout.
    """
    torch.manual_seed(seed)
    config = TrainConfig.of(
        npz_dir, out, learning_rate=learning_rate, weight_decay=weight_decay, max_steps=max_steps, seed=seed
    )
    names, held_out = read(npz_dir / "validation")
    grid = grid_of(npz_dir / "validation")
    dataset = CompleteHierarchicalDrumDataset(
        npz_dir / "train", config.seq_len, grid.steps_per_bar, grid.bars_per_phrase, with_metrics=False
    )
    model = DrumsRnn(known_combinations(torch.from_numpy(dataset.packed).float()), grid, dropout=dropout)
    average = copy.deepcopy(model).eval()
    scheme = optimizer_of(model, optimizer, learning_rate, weight_decay)
    scheduler = schedule(scheme, config)
    steps, best, best_bits = sum(map(len, held_out)), math.inf, None
    source = batches([dataset], config)
    for update in track(
        range(1, max_steps + 1), f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters"
    ):
        batch = next(source)
        loss = masked_mean(-model.log_prob(batch["step"]), batch["mask"])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
        scheme.step()
        scheme.zero_grad()
        scheduler.step()
        with torch.no_grad():
            for mean, now in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(now, 1 - min(EMA_DECAY, update / (update + 9)))
        if update % evaluate_every == 0 or update == max_steps:
            bits = performance_bits(average, held_out)  # type: ignore[arg-type]
            print(
                f"{update}: training {loss.item() / math.log(2):.3f}, held out {bits.sum() / steps:.3f} bits per step"
            )
            if bits.sum() < best:
                best, best_bits = bits.sum(), bits
    write_bits(out, names, best_bits)
    print(f"best {best / steps:.3f} bits per step, {out}")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"drums_rnn: {error}", file=sys.stderr)
        sys.exit(2)
