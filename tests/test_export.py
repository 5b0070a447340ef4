"""Exported graphs against the models that they are of."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import hypermeter
from exported import Playing, embed, exports, folder, model, run, shapes_unchecked  # noqa: F401
from hypermeter.cli import main
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.plan import Plan, make_plan
from hypermeter.play.exported import Folder
from hypermeter.play.loading import load_player
from hypermeter.play.plan import make_plan as make_numpy_plan
from hypermeter.play.request import SamplingOptions
from hypermeter.play.steering import SETTLED
from hypermeter.share.export import export
from hypermeter.share.export.int8 import quantized
from hypermeter.share.export.write import to_onnx

pytestmark = pytest.mark.slow  # an export takes seconds

NAMES = ("groove", "gru", "lstm", "transformer", "plain")
WITH_PLANS = ("groove", "gru", "lstm", "transformer")
STEPS = 72
"""Nine phrases of the small models; of the shipped one a phrase and the beginning of another."""
TOLERANCE = 1e-5


def hits_for(name: str, rows: int, steps: int = STEPS) -> torch.Tensor:
    """A bar of each row, over and over, some of it changed."""
    generator = torch.Generator().manual_seed(1)
    size, width = model(name).grid.steps_per_bar, model(name).width
    bar = torch.rand(rows, size, width, generator=generator) < 0.25
    hits = bar.repeat(1, -(-steps // size), 1)[:, :steps]
    return (hits ^ (torch.rand(hits.shape, generator=generator) < 0.05)).float()


def plans_for(name: str) -> Plan:
    """Of three rows: a full one, one of a density and a change of section, and one that asks nothing."""
    labels = model(name).labels
    style = labels["style"][0]
    full = make_plan(labels, 9, style=style, density=(0.1, 0.4), offbeat=0.5, tempo_bpm=93.0)
    named = make_plan(labels, sections=f"{style}:3 fill:1 {labels['style'][1]}:5", density=0.2)
    free = Plan.free(1, 9)
    return Plan(torch.cat([full.labels, named.labels, free.labels]), torch.cat([full[1], named[1], free[1]]))


def difference(actual: np.ndarray, wanted: torch.Tensor | np.ndarray) -> float:
    """The greatest, of numbers above 1 relative to them."""
    wanted = np.asarray(wanted)
    assert actual.shape == wanted.shape
    return float((np.abs(actual - wanted) / np.maximum(np.abs(wanted), 1)).max())


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_steps_are_those_of_pytorch_in_rows_at_different_positions(name):
    in_torch = model(name)
    hits, plan = hits_for(name, 3), plans_for(name) if name in WITH_PLANS else None
    state = in_torch.init_state(3, plan)
    embedded = None if plan is None else embed(name, plan, 3)
    playing = Playing(name, 3, embedded)
    begin_again = {13: 1, 30: 0}
    for step in range(STEPS):
        dist, features = in_torch.predict(state), in_torch.features(state)
        assert difference(playing.expected["log_weights"], dist.log_weights) < TOLERANCE
        assert difference(playing.expected["logits"], dist.logits) < TOLERANCE
        assert difference(playing.expected["features"], features) < TOLERANCE
        state = in_torch.advance(hits[:, step], state)
        playing.advance(hits[:, step].numpy())
        if step in begin_again:
            row = begin_again[step]
            state = state.reset(torch.arange(3) == row)
            playing.put(row, Playing(name, 1, None if embedded is None else embedded[row : row + 1]))
        assert playing.state["position"].tolist() == state.position.tolist()
    assert len(set(state.position.tolist())) == 3


@pytest.mark.parametrize("name", WITH_PLANS)
@torch.no_grad()
def test_a_row_that_asks_nothing_has_the_free_distribution_to_the_last_bit(name):
    hits = hits_for(name, 3, 40).numpy()
    playing = Playing(name, 3, embed(name, plans_for(name), 3))
    for step in range(40):
        outputs = playing.expected
        for of_plan, free in (("log_weights", "free_log_weights"), ("logits", "free_logits")):
            assert (outputs[of_plan][2] == outputs[free][2]).all()
            assert np.abs(outputs[of_plan][:2] - outputs[free][:2]).max() > 1e-3
        playing.advance(hits[:, step])


@pytest.mark.parametrize("name", WITH_PLANS)
@torch.no_grad()
def test_plans_are_embedded_as_in_pytorch(name):
    in_torch, generator = model(name), torch.Generator().manual_seed(2)
    sizes = torch.tensor([1 + len(in_torch.labels[kind]) for kind in ("section", "style", "fill")])
    labels = (torch.rand(4, 11, 3, generator=generator) * sizes).long()
    numbers = torch.rand(4, 11, 3, generator=generator) * torch.tensor([300.0, 0.6, 1.0])
    numbers = numbers.masked_fill(torch.rand(4, 11, 3, generator=generator) < 0.4, torch.nan)
    labels[0], numbers[1] = 0, torch.nan
    labels[2], numbers[2] = 0, torch.nan
    plan = Plan(labels, numbers)
    assert difference(embed(name, plan, 4), in_torch.init_state(4, plan).plan) < TOLERANCE
    assert (embed(name, plan, 4)[2] == 0).all()
    assert embed(name, Plan.free(1, 1), 2).shape == (2, 1 + SETTLED, 48)


@pytest.mark.parametrize("name", ("groove", "gru"))
@torch.no_grad()
def test_expression_is_that_of_pytorch(name):
    in_torch, read = model(name).expression, Folder.read(folder(name))
    session, about = read.session("expression.onnx"), read.meta["expression"]
    generator = torch.Generator().manual_seed(3)
    hits, steps = hits_for(name, 2, 70), 70
    velocity = hits * torch.rand(hits.shape, generator=generator)
    offset = hits * (torch.rand(hits.shape, generator=generator) - 0.5)
    features = torch.randn(2, steps, read.meta["features"], generator=generator)
    tempo = torch.tensor([97.0, torch.nan])
    state = in_torch.init_state(2, tempo)
    carried = {f"state_{tensor['name']}": np.zeros((2, *tensor["shape"]), np.float32) for tensor in about["state"]}
    last = torch.zeros(3, 2, hits.shape[2])
    for step in range(steps):
        dist, state = in_torch.step(features[:, step], hits[:, step], state)
        last_inputs = {f"last_{kind}": values.numpy() for kind, values in zip(("hits", "velocity", "offset"), last)}
        feeds = {"features": features[:, step].numpy(), "hits": hits[:, step].numpy(), "tempo_bpm": tempo.numpy()}
        outputs = run(session, feeds | last_inputs | carried)
        for actual, wanted in vars(dist).items():
            assert difference(outputs[actual], wanted) < TOLERANCE
        carried = {tensor: outputs[tensor.replace("state_", "next_")] for tensor in carried}
        state = in_torch.advance(hits[:, step], velocity[:, step], offset[:, step], state)
        last = torch.stack([hits[:, step], velocity[:, step], offset[:, step]])


# ---------------------------------------------------------------------- the folder


def test_the_description_has_what_a_player_needs():
    meta = json.loads((folder("groove") / "meta.json").read_text())
    shipped = hypermeter.load("groove")
    assert meta["labels"] == shipped.labels
    assert [voice["write"] for voice in meta["kit"]["voices"]] == [voice.write for voice in shipped.kit.voices]
    assert meta["kit"]["voices"][2]["label"] == "closed hat"
    assert (meta["width"], meta["components"], meta["features"], meta["plan_dim"]) == (10, 32, 128, 48)
    assert meta["files"] == {file: (folder("groove") / file).stat().st_size for file in meta["files"]}
    inputs = {tensor.name: tensor.shape for tensor in Folder.read(folder("groove")).step_session().get_inputs()}
    assert inputs == {
        "x": ["batch", 10],
        "asked": ["batch", 48],
        "memory": ["batch", meta["memory"]["window"], meta["memory"]["size"]],
        **{f"state_{tensor['name']}": ["batch", *tensor["shape"]] for tensor in meta["state"]},
    }


def test_a_model_without_plans_expression_or_memory_has_no_files_for_them():
    meta = json.loads((folder("plain") / "meta.json").read_text())
    assert set(meta["files"]) == {"step.onnx"}
    assert (meta["plan_dim"], meta["labels"], meta["memory"], meta["expression"], meta["kit"]) == (0,) + (None,) * 4


def test_int8_is_about_a_third_of_the_size_and_costs_little(tmp_path):
    shutil.copytree(folder("groove"), tmp_path, dirs_exist_ok=True)
    onnx.save(quantized(onnx.load(tmp_path / "step.onnx")), tmp_path / "step.onnx")
    assert (tmp_path / "step.onnx").stat().st_size < 0.36 * (folder("groove") / "step.onnx").stat().st_size
    whole, small = load_player(folder("groove")), load_player(tmp_path)
    plan = make_numpy_plan(whole.labels, 8, style="rock", tempo_bpm=110.0)
    hits = whole.generate(128, sampling=SamplingOptions(guidance=0), plan=plan, rows=8)
    bits = [player.log_prob(hits).mean() / np.log(2) for player in (whole, small)]
    assert 0 < abs(bits[0] - bits[1]) < 0.02


def test_the_command_writes_the_same_files_for_the_same_model_and_they_name_no_place(tmp_path, capsys):
    path = tmp_path / "plain.safetensors"
    model("plain").save(path)
    with shapes_unchecked():
        assert main(["export", str(tmp_path / "out"), "--model", str(path), "--int8"]) == 0
    printed = capsys.readouterr()
    assert "step.onnx" in printed.out and " MB" in printed.out and printed.err == ""
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert (meta["name"], meta["precision"]) == ("plain", "int8")
    files = {file: (tmp_path / "out" / file).read_bytes() for file in meta["files"]}
    assert {file: len(content) for file, content in files.items()} == meta["files"]
    assert set(files) == {"step.onnx"}
    small = quantized(onnx.load(folder("plain") / "step.onnx"))
    assert files["step.onnx"] == small.SerializeToString(deterministic=True)
    for content in files.values():
        for place in (str(Path(hypermeter.__file__).parent), "site-packages", ".py", tempfile.gettempdir()):
            assert place.encode() not in content
    assert load_player(tmp_path / "out").generate(4).shape == (1, 4, 4)


def test_a_place_that_is_no_folder_is_refused_before_anything_is_loaded(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for out in ("file", "file/below/it"):
        assert main(["export", str(tmp_path / out), "--model", "nothing"]) == 2
        assert f"{out}: cannot be written" in capsys.readouterr().err


def test_what_cannot_be_exported_is_refused_in_one_line(tmp_path):
    with pytest.raises(HypermeterError, match="has output softmax, expected mixture or sigmoid"):
        export(HierarchicalDrumModel(3, output="softmax"), tmp_path, "soft")
    with pytest.raises(HypermeterError, match="one step a bar"):
        export(HierarchicalDrumModel(3, grid=Grid(1, 1)), tmp_path, "short")
    assert not list(tmp_path.iterdir())


def test_an_axis_that_the_exporter_fixes_is_refused():
    class Fixing(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.ones(len(x), 1)

    with pytest.raises(HypermeterError, match="axis batch of x came out fixed"):
        to_onnx(Fixing(), lambda module, inputs: {"y": module(inputs["x"])}, {"x": torch.zeros(2, 3)}, {})
