"""Prepare on a Ray cluster of three nodes on this machine, kill one half-way, and compare with a run without Ray.

    python benchmarks/faults/kill_node.py MIDI WORK

Each node has one core. All files must have the bytes of the run without Ray, and no other file may be there.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import tyro
from kill_prepare import digests

from hypermeter.learn.prepare import prepare

STORE_BYTES = 80 << 20


def kill_node(
    source: Annotated[Path, tyro.conf.Positional], work: Annotated[Path, tyro.conf.Positional], packed: bool = True
) -> None:
    """Prepare twice, and compare.

    Args:
        source: what is prepared.
        work: new folder for what is written.
        packed: write shards.
    """
    from ray.cluster_utils import Cluster

    work.mkdir(parents=True)
    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(**node)
    out, killed = work / "cluster", {}

    def kill() -> None:
        while not (out / ".prepare" / "plan.json").exists():
            time.sleep(0.1)
        plan = json.loads((out / ".prepare" / "plan.json").read_bytes())
        while (done := len(list(out.glob(".prepare/*.records")))) < plan["num_tasks"] / 2:
            time.sleep(0.1)
        victim = next(iter(cluster.worker_nodes))
        victim.kill_all_processes(check_alive=False, allow_graceful=False)
        killed.update(tasks=plan["num_tasks"], done_when_killed=done, is_dead=not victim.any_processes_alive())

    threading.Thread(target=kill, daemon=True).start()
    started = time.monotonic()
    manifest = prepare(source, out, packed=packed, quiet=True, engine="ray", address=cluster.address)
    seconds = time.monotonic() - started
    cluster.shutdown()
    prepare(source, work / "machine", packed=packed, quiet=True)
    ours, theirs = digests(out), digests(work / "machine")
    differing = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    files = sum(split["files"] for split in manifest["splits"].values())
    result = {"files": files, "written": len(ours), **killed, "differing": len(differing), "seconds": round(seconds, 1)}
    print(json.dumps(result))
    sys.exit(bool(differing) or not killed.get("is_dead"))


if __name__ == "__main__":
    tyro.cli(kill_node)
