"""Running tasks on a Ray cluster of this machine."""

import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from hypermeter import HypermeterError
from hypermeter.learn.engines import LocalEngine, open_engine
from hypermeter.learn.prepare import prepare
from hypermeter.learn.ray_engine import RayEngine
from midi_folders import write_folder

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'hypermeter[ray]'")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning"),
]


def square(number: int) -> int:
    return number * number


def refuse(number: int) -> int:
    raise HypermeterError(f"{number}: refused")


def die_once(path: str) -> str:
    """Kill the worker the first time, and return the path the second time."""
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path


def folder_of_worker(_: int) -> str:
    return os.getcwd()


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def engine():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")]))
        with RayEngine(workers=2) as started:
            yield started


def test_each_result_comes_once_whatever_the_number_of_tasks(engine):
    for number in (0, 1, 3, 40):
        assert sorted(engine.run(square, iter(range(number)))) == [square(i) for i in range(number)]


def test_tasks_are_taken_when_there_is_room_for_them(engine):
    taken = []
    results = engine.run(square, (taken.append(number) or number for number in range(100)))
    next(results)
    assert len(taken) <= 2 * engine.workers
    results.close()


def test_an_error_of_a_task_is_the_error_that_it_raised(engine):
    with pytest.raises(HypermeterError, match="^3: refused$"):
        list(engine.run(refuse, [3]))


def test_a_task_whose_worker_is_killed_is_done_again(engine, tmp_path, capfd):
    paths = [str(tmp_path / f"{number}") for number in range(3)]
    assert sorted(engine.run(die_once, paths)) == paths
    assert capfd.readouterr() == ("", "")


def test_tasks_run_in_the_folder_of_the_driver(engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert set(engine.run(folder_of_worker, range(4))) == {str(tmp_path)}


def test_a_node_with_another_version_is_refused_in_one_line(engine, monkeypatch):
    monkeypatch.setattr("hypermeter.learn.ray_engine.__version__", "0.0.1")
    with pytest.raises(HypermeterError, match=r"a node has hypermeter .*, expected 0\.0\.1 as here; install it on all"):
        list(engine.run(square, [1]))


def test_a_module_that_a_node_does_not_have_is_one_line(engine, monkeypatch):
    module = types.ModuleType("only_here")
    exec("def double(number): return 2 * number", vars(module))
    monkeypatch.setitem(sys.modules, "only_here", module)
    module.double.__module__ = "only_here"
    with pytest.raises(HypermeterError, match="a node of the cluster cannot import only_here; install hypermeter"):
        list(engine.run(module.double, [1]))


def test_prepare_writes_the_same_bytes_as_on_this_machine(engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # The paths are relative.
    write_folder(tmp_path, 100)
    for packed in (False, True):
        prepare(".", f"../local{packed}", packed=packed, workers=1, quiet=True)
        prepare(".", f"../ray{packed}", packed=packed, engine="ray", quiet=True)
        ours, theirs = content_of(tmp_path.parent / f"ray{packed}"), content_of(tmp_path.parent / f"local{packed}")
        assert ours == theirs


def test_evaluate_gives_the_same_card_as_on_this_machine(engine, tmp_path):
    pytest.importorskip("torch", reason="needs PyTorch: pip install 'hypermeter[train]'")
    from hypermeter.learn.evaluate.command import evaluate_command

    prepare(write_folder(tmp_path / "midi", 60), tmp_path / "npz", workers=1, quiet=True)
    options = {"pieces": 70, "bars": 8, "long_bars": 0}
    for name in ("local", "ray"):
        evaluate_command("groove", tmp_path / "npz" / "validation", out=tmp_path / name, engine=name, **options)
    assert (tmp_path / "ray.json").read_text() == (tmp_path / "local.json").read_text()


def test_no_cluster_at_an_address_is_one_line_at_once():
    code = "from hypermeter.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", code, "prepare", ".", "never", "--engine", "ray", "--address", "127.0.0.1:1"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent / "engines")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1


def test_without_ray_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(HypermeterError, match=r'needs ray; pip install "hypermeter\[ray\]"'), open_engine("ray"):
        pass
    assert isinstance(open_engine("local", 1), LocalEngine)
