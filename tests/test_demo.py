import subprocess
import sys

import numpy as np
import pytest

from hypermeter.cli.demo import demo, read_corpus
from hypermeter.io.midi import read_midi
from hypermeter.io.notation import read_text
from hypermeter.share.sound.wav import from_wav_bytes


def test_the_corpus_is_some_two_dozen_different_performances_of_four_to_sixteen_bars():
    corpus = read_corpus()
    assert len(corpus) == 24
    assert {groove.num_bars for groove in corpus.values()} <= set(range(4, 17))
    assert len({groove.hits.tobytes() for groove in corpus.values()}) == len(corpus)
    for groove in corpus.values():
        assert groove.hits.any(1).mean() > 0.3 and len(groove) % groove.grid.steps_per_bar == 0


@pytest.mark.slow
def test_without_torch_the_demo_plays_on_and_says_what_learning_needs(tmp_path):
    blocked = (
        "import sys\nclass NoTorch:\n    def find_spec(self, name, *_):\n        if name == 'torch':\n"
        "            raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
        "sys.meta_path.insert(0, NoTorch())\nfrom pathlib import Path\nfrom hypermeter.cli.demo import demo\n"
        "demo(Path(sys.argv[1]), bars=1)"
    )
    command = [sys.executable, "-c", blocked, str(tmp_path / "demo")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert '2. A small model that learns needs torch; pip install "hypermeter[train]"' in printed
    assert read_midi(tmp_path / "demo" / "continued.mid").num_bars > 1
    assert not (tmp_path / "demo" / "corpus").exists()


@pytest.mark.slow
def test_the_demo_ends_with_a_sound_a_picture_and_code_of_one_piece(tmp_path, capsys):
    demo(tmp_path / "demo", bars=2, max_steps=2)
    printed = capsys.readouterr().out
    for stem in ("continued", "learnt"):
        paths = {suffix: tmp_path / "demo" / f"{stem}{suffix}" for suffix in (".mid", ".svg", ".wav", ".tidal")}
        for path in paths.values():
            assert f"  {path}\n" in printed
        groove = read_midi(paths[".mid"])
        samples, rate = from_wav_bytes(paths[".wav"].read_bytes())
        assert np.abs(samples).max() > 0.3 and len(samples) / rate >= groove.num_bars * 4 * 60 / groove.tempo_bpm - 0.01
        np.testing.assert_array_equal(read_text(paths[".tidal"]).hits, groove.hits)
        assert paths[".svg"].read_text("utf-8").startswith("<svg")
    wav, svg = (tmp_path / "demo" / f"continued{suffix}" for suffix in (".wav", ".svg"))
    assert printed.endswith(f"\nListen to {wav} and look at {svg}.\n")
