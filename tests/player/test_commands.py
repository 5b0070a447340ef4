"""What a user does who only plays, each command in a process of its own; ``make test-player`` has no PyTorch."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from hypermeter.io.ascii import read_ascii
from hypermeter.io.midi import write_midi

PRIMER = """\
tempo 100, metre 4/4, 4 steps a beat, phrases of 4

closed_hat |x.x.x.x.x.x.x.x.|x.x.x.x.x.x.x.x.|
snare      |....X.......X...|....X.......X..o|
kick       |X.......X.X.....|X..x....X.x.....|
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}


def run(*arguments, code=0):
    """What a command prints; where it ends with another exit code than 0, its error."""
    command = [sys.executable, "-m", "hypermeter.cli", *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    if code:
        assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    return done.stderr if code else done.stdout


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with beat.mid and beat.txt, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    Path("beat.txt").write_text(PRIMER)
    write_midi(read_ascii(PRIMER), "beat.mid")


def is_midi(path):
    content = Path(path).read_bytes()
    return content.startswith(b"MThd") and len(content) > 200


def test_inspect_shows_a_file_and_its_metrics():
    shown = run("inspect", "beat.mid")
    assert "kick" in shown and "density" in shown and "syncopation" in shown


def test_analyse_measures_a_folder_and_names_what_it_leaves_out():
    Path("broken.mid").write_bytes(b"MThd")
    shown = run("analyse", ".", "--out", "report")
    assert "left out: " in shown and "broken.mid" in shown
    assert "density" in Path("report/metrics.csv").read_text()
    if find_spec("matplotlib"):
        assert Path("report/report.html").is_file()
    else:
        assert "report.html is left out: its pictures need matplotlib" in shown


def test_render_makes_sound_of_a_file():
    run("render", "beat.mid", "beat.wav")
    assert Path("beat.wav").read_bytes()[:4] == b"RIFF" and Path("beat.wav").stat().st_size > 100_000


def test_generate_plays_on_from_a_file_and_from_text():
    assert "kick" in run("generate", "beat.mid", "--out", "new.mid", "--bars", 2, "--seed", 3)
    assert is_midi("new.mid")
    run("generate", "beat.txt", "-o", "text.mid", "--bars", 1, "--no-picture")
    assert is_midi("text.mid")


def test_one_seed_gives_one_music():
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        run("generate", "--out", f"{name}.mid", "--bars", 2, "--seed", seed, "--no-picture")
    a, b, c = (Path(f"{name}.mid").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    "how",
    [
        ["--lock", "beat.txt", "--keep", "kick", "snare"],
        ["beat.txt", "--replace", "2"],
        ["beat.txt", "--vary", "0.5"],
        ["beat.txt", "--ending", "beat.txt", "--bars", "1"],
    ],
    ids=lambda how: next(word for word in how if word != "beat.txt"),
)
def test_generate_plays_around_what_is_kept(how):
    assert "effective sample size" in run("generate", "--out", "new.mid", *how, "--particles", 8, "--no-picture")
    assert is_midi("new.mid")


def test_generate_follows_its_options():
    run(
        "generate",
        "--out",
        "new.mid",
        "--sections",
        "verse:1 fill:1",
        "--style",
        "funk",
        "--density",
        "0.2",
        "--no-picture",
    )
    assert is_midi("new.mid")


def test_humanize_plays_the_hits_of_a_file_anew():
    run("humanize", "beat.mid", "played.mid", "--seed", 2)
    assert is_midi("played.mid") and Path("played.mid").read_bytes() != Path("beat.mid").read_bytes()


def test_play_writes_a_file_in_simulated_time():
    run("play", "live.mid", "--bars", 2, "--simulate")
    assert is_midi("live.mid")


def test_prepare_reads_a_folder_of_midi():
    run("prepare", ".", "npz")
    assert list(Path("npz").rglob("*.npz"))


def test_the_demo_plays_on_before_it_learns():
    if find_spec("torch"):
        pytest.skip("PyTorch is installed: the demo would learn too")
    assert 'learns needs torch; pip install "hypermeter[train]"' in run("demo", "--bars", 2)
    assert is_midi("demo/continued.mid") and Path("demo/continued.wav").exists()


def test_serve_answers_a_request():
    pytest.importorskip("uvicorn", reason="the server is an extra")
    command = [sys.executable, "-m", "hypermeter.cli", "serve", "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=ENVIRONMENT) as serving:
        try:
            line = serving.stdout.readline()
            assert line.startswith("http://"), serving.stderr.read()
            request = urllib.request.Request(
                f"{line.split()[0]}api/generate",
                json.dumps({"bars": 1, "seed": 1}).encode(),
                {"content-type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert len(json.load(answer)["groove"]["hits"]) == 10
            serving.send_signal(signal.SIGINT)
            _, err = serving.communicate(timeout=20)
        finally:
            serving.kill()
    assert serving.returncode == 0 and "Traceback" not in err
