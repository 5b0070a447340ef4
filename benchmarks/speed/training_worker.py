"""What ``training.py`` runs in a process of its own, by the interpreter of either build.

    python benchmarks/speed/training_worker.py KIND NPZ BATCH_SIZE

KIND is ``model`` or ``bare``. A line of standard input with a number asks for as many updates, and the answer is a line
of JSON: seconds of wall and processor time an update. The line ``parts`` asks for seconds of the parts of an update.
Under torchrun no line is read: the answer is of five rounds of two updates, with the time of one sum over processes.
"""

import json
import os
import sys
import warnings
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import nn

warnings.simplefilter("ignore")
torch.set_num_threads(1)
kind, npz_dir, batch_size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
try:
    place = "hypermeter.learn.train"
    import_module(place)
except ModuleNotFoundError:  # a build before layers
    place = "hypermeter.train"
TrainConfig = import_module(f"{place}.config").TrainConfig
batches, _Run = import_module(f"{place}.material").batches, import_module(f"{place}.run")._Run

processes = int(os.environ.get("WORLD_SIZE", "1"))
fabric = Fabric(accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto")
fabric.launch()
config = TrainConfig(npz_dir, npz_dir / "no such run", batch_size=batch_size, accelerator="cpu", devices=processes)
run = _Run(fabric, config)
run.module.train()
endless = batches(
    run.datasets if hasattr(run, "datasets") else run.dataset, run.config, 0, fabric.global_rank, fabric.world_size
)
drawn = [next(endless) for _ in range(4)]


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.GRU(10, 128, 2, batch_first=True), nn.Linear(128, 10)

    def forward(self, step):
        return self.out(self.rnn(F.pad(step, (0, 0, 1, 0))[:, :-1])[0])


bare = Bare()
optimizer = torch.optim.AdamW(bare.parameters(), lr=1e-3)


def update(batch):
    if kind != "bare":
        return run._update(batch)
    optimizer.zero_grad()
    F.binary_cross_entropy_with_logits(bare(batch["step"]), batch["step"]).backward()
    optimizer.step()


PARTS = {
    "step_rnn": "step level",
    "bar_rnn": "bar and phrase levels",
    "phrase_rnn": "bar and phrase levels",
    "bar_attention": "bar attention",
    "feature_norm": "features",
    "mix": "features",
    "activation": "features",
    "unmix": "features",
    "output_layer": "output layer",
}
clock = [0.0, "glue between parts"]
spent = {}


def mark(label):
    now = process_time()
    spent[clock[1]] = spent.get(clock[1], 0.0) + now - clock[0]
    clock[:] = [now, label]


def hook():
    rest = "glue between parts"
    for name, label in PARTS.items():
        part = getattr(run.model, name)
        part.register_forward_pre_hook(lambda *_, label=label: mark(label))
        part.register_forward_hook(lambda *_, name=name: mark("likelihood" if name == "output_layer" else rest))
        part.register_full_backward_pre_hook(lambda *_, label=label: mark(label))
        part.register_full_backward_hook(lambda *_, name=name: mark("step level" if name == "step_rnn" else rest))
    backward, clip = fabric.backward, fabric.clip_gradients

    def marked_backward(loss):
        mark("likelihood")
        backward(loss)

    def marked_clip(*values, **options):
        mark("clipping, AdamW, averaged weights")
        return clip(*values, **options)

    vars(fabric).update(backward=marked_backward, clip_gradients=marked_clip)


def timed(count):
    begin = perf_counter(), process_time()
    for index in range(count):
        update(drawn[index % len(drawn)])
    return (perf_counter() - begin[0]) / count, (process_time() - begin[1]) / count


def parts():
    hook()
    timed(len(drawn))
    spent.clear()
    for batch in drawn:
        clock[:] = [process_time(), "glue between parts"]
        update(batch)
        mark("")
    return {name: value / len(drawn) for name, value in spent.items()}


def sum_over_processes():
    """Return the seconds of a sum over processes as large as the gradient."""
    gradient = torch.zeros(sum(weights.numel() for weights in run.model.parameters()))
    times = []
    for _ in range(20):
        torch.distributed.barrier()
        begin = perf_counter()
        torch.distributed.all_reduce(gradient)
        times.append(perf_counter() - begin)
    return sorted(times)[len(times) // 2]


timed(2)
if processes == 1:
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(parts() if line.strip() == "parts" else timed(int(line))), flush=True)
else:
    answer = [timed(2) for _ in range(5)], sum_over_processes()
    if fabric.is_global_zero:
        print(json.dumps(answer))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()  # Processes that leave one by one may take each other down.
