"""The page's model: its weights, rounded and packed, and what the page does not play."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest

from hypermeter.cli import main
from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit import load_kit
from hypermeter.core.parts import Parts
from hypermeter.io.checkpoint import find_checkpoint, read_checkpoint, write_checkpoint
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.share.page_model import MANTISSA_BITS, export_page_model, packed, rounded


def unpacked(content):
    planes = np.frombuffer(gzip.decompress(content), np.uint8).reshape(4, -1)
    return np.ascontiguousarray(planes.T).view("<f4").ravel()


@pytest.mark.parametrize("bits", [0, 7, 10, 15, 22])
def test_numbers_are_rounded_to_the_nearest(bits):
    numbers = np.random.default_rng(0).normal(size=4096).astype(np.float32)
    found = rounded(numbers, bits)
    assert (np.abs(found - numbers) <= 2.0 ** (-bits - 1) * np.exp2(np.floor(np.log2(np.abs(numbers)))) * 1.0001).all()
    assert (rounded(found, bits) == found).all() and (found != numbers).any()
    mantissa, _ = np.frexp(found)
    assert (mantissa * 2.0 ** (bits + 1) % 1 == 0).all()


def test_half_precision_is_that_of_numpy():
    numbers = np.random.default_rng(1).normal(size=4096).astype(np.float32)
    assert (rounded(numbers, 10) == numbers.astype(np.float16).astype(np.float32))[np.abs(numbers) > 1e-4].all()


def test_all_bits_are_kept_by_23():
    numbers = np.random.default_rng(2).normal(size=100).astype(np.float32)
    assert (unpacked(packed(numbers, 23)) == numbers).all()


@pytest.mark.parametrize("name", ["groove", "table"])
def test_a_model_is_written_whole_and_the_same_each_time(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"kit": load_kit("gm10"), "use_expression": True, "parts": Parts(place_table=True)}
    HierarchicalDrumModel(10, 16, 16, 16, num_components=4, **options).save("table.safetensors")
    name = name if name == "groove" else "table.safetensors"
    for folder in ("one", "other"):
        assert main(["export", str(tmp_path / folder), "--format", "page", "--model", name]) == 0
    meta = json.loads((tmp_path / "one" / "meta.json").read_text())
    content = (tmp_path / "one" / "weights.bin.gz").read_bytes()
    assert content == (tmp_path / "other" / "weights.bin.gz").read_bytes() and len(content) < 2_600_000
    tensors, numbers, start = read_checkpoint(find_checkpoint(name)).tensors, unpacked(content), 0
    for entry in meta["weights"]:
        size = int(np.prod(entry["shape"]))
        wanted = rounded(tensors[entry["name"]], MANTISSA_BITS).ravel()
        assert (numbers[start : start + size] == wanted).all(), entry["name"]
        start += size
    assert start == len(numbers) and meta["name"] == name.removesuffix(".safetensors")
    assert meta["serves_every_grid"] == (name == "groove") and len(meta["grids"]) == (14 if name == "groove" else 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cell": "lstm"}, "lstm encoders"),
        ({"use_transformer": True}, "Transformers"),
        ({"output": "softmax"}, "output softmax"),
        ({"encoders": {"step_rnn": "Mine"}}, "custom encoders"),
        ({"num_drums": 13}, "13 voices"),
        ({"tracks": [{"name": "bass"}]}, "tracks"),
    ],
)
def test_a_model_that_the_page_does_not_play_is_refused(change, reason, tmp_path):
    checkpoint = read_checkpoint(find_checkpoint("groove"))
    path = tmp_path / "other.safetensors"
    write_checkpoint(path, replace(checkpoint, config={**checkpoint.config, **change}), {})
    with pytest.raises(HypermeterError, match=reason):
        export_page_model(path, tmp_path / "model")
    assert not (tmp_path / "model" / "meta.json").exists()


def test_int8_is_of_graphs(tmp_path, capsys):
    assert main(["export", str(tmp_path / "page"), "--format", "page", "--int8"]) == 2
    assert "--format page" in capsys.readouterr().err
