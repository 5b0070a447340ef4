"""Preparing on a Ray cluster of three nodes, of which one is killed."""

import threading
import time
from pathlib import Path

import pytest

from hypermeter.learn.prepare import prepare
from midi_folders import write_folder

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'hypermeter[ray]'")
STORE_BYTES = 80 << 20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning"),
]


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def cluster():
    """Yield a cluster of three nodes of one core each, on this machine."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    started = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    for _ in range(2):
        started.add_node(**node, wait=False)
    started.wait_for_nodes()
    yield started
    ray.shutdown()
    started.shutdown()


def test_a_node_that_is_killed_half_way_changes_no_byte(cluster, tmp_path, capfd):
    write_folder(tmp_path / "midi", 1600)
    out = tmp_path / "of_cluster"
    node = next(iter(cluster.worker_nodes))
    done = []

    def kill() -> None:
        while (count := len(list(out.glob(".prepare/*.records")))) < 20:
            time.sleep(0.01)
        node.kill_all_processes(check_alive=False, allow_graceful=False)
        done.extend([count, len(list(out.glob(".prepare/*.records")))])

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    options = {"engine": "ray", "address": cluster.address}
    manifest = prepare(tmp_path / "midi", out, packed=True, quiet=True, **options)
    killer.join(timeout=30)
    assert 20 <= done[0] <= done[1] < 50  # of 50 tasks
    assert not node.any_processes_alive()
    assert capfd.readouterr() == ("", "")
    prepare(tmp_path / "midi", tmp_path / "of_machine", packed=True, quiet=True)
    assert content_of(out) == content_of(tmp_path / "of_machine")
    assert len(manifest["files"]) == 1599
