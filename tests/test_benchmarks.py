"""The scripts in benchmarks/: their parts, one quick round of each, and the plain metrics against the batched."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.tracks import BASS
from hypermeter.music.metrics import window_metrics

ROOT = Path(__file__).parents[1]


def script(place: str):
    name = f"benchmark_{Path(place).stem}"
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / place)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(ROOT / "benchmarks" / "quality"))
speed = script("speed/run.py")
ngram = script("quality/ngram.py")
drums_rnn = script("quality/drums_rnn.py")
ablations = script("quality/ablations.py")
finetune = script("quality/finetune.py")
steering = script("quality/steering.py")
context = script("quality/context.py")
tracks = script("quality/tracks.py")
naive = script("speed/naive_metrics.py")
metrics_speed = script("speed/metrics.py")
evaluate_speed = script("speed/evaluate.py")
training_speed = script("speed/training.py")


def test_a_ratio_is_taken_round_by_round():
    assert speed.ratio_of([2, 30, 4], [1, 10, 1]) == {"ratio": 3, "least": 2, "greatest": 4}


def test_actions_take_turns_and_the_first_round_is_not_counted():
    order = []
    times = speed.in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == ["a", "b"] * 3
    assert {name: len(durations) for name, durations in times.items()} == {"a": 2, "b": 2}


def test_builds_are_compared_round_by_round():
    seconds = {"before": [2.0, 4.0, 3.0], "now": [1.0, 1.0, 1.0], "bare": [0.5, 1.0, 0.5]}
    lines = training_speed.builds_table({"wall": seconds, "processor": seconds})
    assert "| now | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) | 0.50 (0.50 to 1.00) |" in lines
    assert "now / before, by processor: 3.00 (2.00 to 4.00)" in lines
    assert training_speed.parts_table({"now": {"a": 0.001, "b": 0.002}})[2:] == [
        "| b | 2.0 |",
        "| a | 1.0 |",
        "| all | 3.0 |",
    ]


@pytest.mark.slow
def test_a_worker_updates_when_asked_and_tells_the_parts_of_an_update(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    speed.write_hits(folder)
    for kind in ("model", "bare"):
        worker = training_speed.Worker(Path(sys.executable), kind, tmp_path, batch_size=2)
        wall, processor = worker.ask(1)
        assert wall > 0 and processor > 0
        if kind == "model":
            parts = worker.ask("parts")
            assert {"step level", "bar attention", "likelihood", "features", "output layer"} < set(parts)
            assert all(seconds > 0 for seconds in parts.values())
        worker.close()


def test_random_hits_repeat_a_bar():
    hits = speed.plausible_hits(4, 64)
    assert hits.shape == (4, 64, speed.VOICES)
    assert 0.1 < hits.mean() < 0.35
    assert (hits[:, 16:] == hits[:, :-16]).mean() > 0.9


def test_a_player_plays_on_for_as_many_steps_as_given():
    player = speed.Player(speed.HierarchicalDrumModel(speed.VOICES).eval())
    player.play(5)
    assert player.state.position.tolist() == [5]


@pytest.mark.slow
def test_a_short_round_of_every_speed_fills_the_tables_and_the_plot(tmp_path, monkeypatch):
    monkeypatch.delenv("HYPERMETER_GROOVE", raising=False)
    monkeypatch.setattr(speed, "QUICK", replace(speed.QUICK, bars=(4, 5), recomputed_steps=1))
    monkeypatch.setattr(speed, "BATCH", 2)
    monkeypatch.setattr(speed, "TIMED_STEPS", 16)
    monkeypatch.setattr(speed.torch, "set_num_threads", lambda number: None)
    speed.main(quick=True, out=tmp_path / "speed.json", plot=tmp_path / "img" / "cost.png")
    result = json.loads((tmp_path / "speed.json").read_text())
    assert result["preparing"] is None
    assert set(result["length"]) == set(speed.MODELS)
    for part in ("training", "generation", "loading"):
        assert all(value > 0 for value in result[part].values())
    assert all(list(of_bars) == ["4", "5"] for of_bars in result["length"].values())
    assert (tmp_path / "img" / "cost.png").read_bytes().startswith(b"\x89PNG")
    text = speed.markdown(result)
    assert f", {speed.torch.get_num_threads()} thread, load" in text
    assert "target at least 0.45" in text


def assert_same_values(actual, expected) -> None:
    if isinstance(actual, dict):
        assert set(actual) == set(expected)
        for name in actual:
            assert_same_values(actual[name], expected[name])
    elif isinstance(actual, list):
        assert len(actual) == len(expected)
        for mine, other in zip(actual, expected):
            assert_same_values(mine, other)
    else:
        np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps, voices", [(512, 10), (144, 5), (75, 10), (16, 3), (7, 2), (2, 2)])
@pytest.mark.parametrize("grid", [Grid(), Grid(steps_per_beat=2, beats_per_bar=6, bars_per_phrase=2, beat_unit=8)])
def test_the_metrics_timed_against_give_the_same_values(steps, voices, grid):
    random = np.random.default_rng(steps)
    # Voices from silent to busy, and bars from empty to full.
    hits = (random.random((steps, voices)) < np.linspace(0, 0.9, voices)).astype(np.uint8)
    hits[16:32] = 0
    hits[48:60] = 1
    sections = [(0, 16), (5, steps), (steps, steps + 8)]
    actual = window_metrics(torch.from_numpy(hits), grid, sections=sections, fast_threshold=3)
    assert_same_values(actual, naive.window_metrics(hits, grid, sections=sections, fast_threshold=3))


def test_a_short_round_of_the_speed_of_metrics_prints_and_writes_the_ratio(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(metrics_speed, "BATCH", 2)
    monkeypatch.setattr(metrics_speed.torch, "set_num_threads", lambda number: None)
    metrics_speed.main(before=Path(sys.executable), quick=True, out=tmp_path / "metrics.json")
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert result["metrics"]["ratio"] == pytest.approx(result["metrics"]["naive_ms"] / result["metrics"]["batched_ms"])
    printed = capsys.readouterr().out
    assert f"| times faster a window | {result['metrics']['ratio']:.2f} (" in printed
    assert "target at least 50)" in printed
    assert f"| times faster than the earlier build | {result['before']['ratio']:.2f} (" in printed


def test_cards_of_two_builds_are_compared_number_by_number():
    before = {"groove": {"all": {"bits": 2.0, "low": 1.0}, "voices": ["kick"], "calibration": [[1, 0.5]], "seed": 0}}
    now = {
        "groove": {"all": {"bits": 2.5, "low": 1.0}, "voices": ["snare"], "calibration": [[1, 0.5], [2, 1]], "seed": 0}
    }
    assert evaluate_speed.differences(before, now) == {"all": 0.2, "calibration": 0, "seed": 0}
    assert evaluate_speed.differences(now, before)["all"] == 0.2


# Quality.


@pytest.fixture
def npz(tmp_path):
    random = np.random.default_rng(0)
    for split, number in (("train", 6), ("validation", 2)):
        (tmp_path / split).mkdir()
        for index in range(number):
            hits = np.tile(random.random((16, 3)) < 0.3, (4, 1)) ^ (random.random((64, 3)) < 0.02)
            np.savez(tmp_path / split / f"{index}.npz", sequence=hits.astype(np.uint8))
    return tmp_path


@pytest.mark.parametrize("weight", [0.5, 4.0])
def test_the_ngram_is_a_distribution_over_combinations(npz, weight):
    hits = ngram.read(npz / "train")[1]
    model = ngram.Ngram(("bar", 1, 2), Grid(), np.full((16, 3), 0.3))
    for piece in hits:
        for step in range(len(piece)):
            model.add(ngram.codes_of(piece), step, 1)
    total = 0.0
    for combination in np.ndindex(2, 2, 2):
        other = hits[0].copy()
        other[20] = combination
        total += model.prob(ngram.codes_of(other), other, 20, weight)
    assert total == pytest.approx(1)


def test_the_ngram_forgets_a_performance_after_it(npz):
    hits = ngram.read(npz / "validation")[1]
    model = ngram.Ngram((1, 2), Grid(), np.full((16, 3), 0.3))
    before = model.bits(hits[0], 1.0, 16)
    model.bits(hits[1], 1.0, 16)
    assert model.bits(hits[0], 1.0, 16) == before
    assert not any(model.counts)
    assert before < 3 * 64  # it learns the bar as it repeats: below a coin for each cell


def test_the_ngram_writes_the_bits_of_its_best_setting(npz, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ngram, "WEIGHTS", (1.0,))
    monkeypatch.setattr(ngram, "OWN", (4,))
    ngram.main(npz, tmp_path / "ngram.csv", longest=2)
    rows = (tmp_path / "ngram.csv").read_text().split()
    assert [row.split(",")[0] for row in rows] == ["name", "0.npz", "1.npz"]
    best = sum(float(row.split(",")[1]) for row in rows[1:]) / 128
    assert f"best {best:.3f} bits per step" in capsys.readouterr().out


def test_drums_rnn_sees_only_what_came_before_and_is_a_distribution():
    torch.manual_seed(0)
    model = drums_rnn.DrumsRnn([[0, 0], [1, 0], [1, 1]], Grid(), hidden_dim=8, dropout=0.0)
    hits = (torch.rand(1, 70, 2) < 0.4).float()
    later = hits.clone()
    later[:, 40:] = 1 - later[:, 40:]
    torch.testing.assert_close(model.log_prob(hits)[:, :40], model.log_prob(later)[:, :40])
    total = 0.0
    for combination in torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]):
        other = hits.clone()
        other[:, 35] = combination
        total += model.log_prob(other)[0, 35].exp().item()
    assert total == pytest.approx(1, abs=1e-5)
    assert not torch.equal(model.log_prob(hits)[:, 33], model.log_prob(hits.roll(1, 1))[:, 33])  # it does see that


def test_drums_rnn_trains_and_writes_bits(npz, tmp_path):
    drums_rnn.main(npz, tmp_path / "rnn.csv", max_steps=2, evaluate_every=1)
    assert len((tmp_path / "rnn.csv").read_text().split()) == 3


def test_a_difference_between_rows_is_over_seeds_and_performances():
    steps = np.array([10, 30])
    ours, reference = np.array([[20.0, 60.0], [22.0, 66.0]]), np.array([[10.0, 30.0], [10.0, 30.0]])
    mean, low, high = ablations.difference(ours, reference, steps)
    assert mean == pytest.approx((40 + 48) / 2 / 40)
    assert low == pytest.approx(1.0) and high == pytest.approx(1.2)


def test_a_mean_over_seeds_and_pieces_leaves_out_what_is_undefined():
    mean, low, high = ablations.mean_and_interval(np.array([[1.0, np.nan, 3.0], [2.0, 2.0, np.nan]]))
    assert mean == 2 and 1 <= low < 2 < high <= 3


def make_small(monkeypatch, size):
    """Give the ablations levels of a size, short windows, and two pieces of four bars from each model."""
    levels = {f"{level}_hidden_dim": size for level in ("step", "bar", "phrase")}
    monkeypatch.setattr(ablations, "BASE", {**ablations.BASE, **levels, "seq_len": 64, "batch_size": 2})
    monkeypatch.setattr(ablations, "PIECES", 2)
    monkeypatch.setattr(ablations, "PIECE_BARS", 4)


@pytest.mark.slow
def test_ablations_train_what_is_missing_and_print_a_table(npz, tmp_path, monkeypatch, capsys):
    make_small(monkeypatch, 8)
    ablations.main(npz, tmp_path / "out", "parts", ("full", "nophrases"), seeds=2, updates=2)
    table = capsys.readouterr().out
    assert "| the model |" in table and "| no phrases: " in table
    made = ablations.read_checkpoint(tmp_path / "out" / "nophrases-0" / "best.safetensors")
    assert made.grid.bars_per_phrase == 1 and not made.config["use_phrase_level"]
    monkeypatch.setattr(ablations, "train", lambda config: pytest.fail("it was trained before"))
    ablations.main(npz, tmp_path / "out", "parts", ("full", "nophrases"), seeds=2, updates=2)
    assert capsys.readouterr().out.splitlines()[-4:] == table.splitlines()[-4:]
    with pytest.raises(ablations.HypermeterError, match="polka.*full"):
        ablations.main(npz, tmp_path / "out", "parts", ("polka",))


@pytest.mark.slow
def test_every_choice_trains_and_a_folder_of_more_is_learnt_from(npz, tmp_path, monkeypatch, capsys):
    make_small(monkeypatch, 32)
    with pytest.raises(ablations.HypermeterError, match="--more"):
        ablations.main(npz, tmp_path / "out", "choices", ("more",), seeds=1, updates=1)
    ablations.main(npz, tmp_path / "out", "choices", seeds=1, updates=1, more=npz / "train")
    assert len(capsys.readouterr().out.splitlines()[-len(ablations.CHOICES) :]) == len(ablations.CHOICES)
    assert len(list((tmp_path / "out" / "more" / "train").glob("*.npz"))) >= len(list((npz / "train").glob("*.npz")))


@pytest.mark.parametrize(
    "kind", sorted({row.model for row in ablations.CHOICES.values()}, key=lambda kind: kind.__name__)
)
def test_no_choice_sees_what_is_to_come(kind):
    torch.manual_seed(0)
    model, x = kind(4, 32, 32, 32).eval(), (torch.rand(2, 96, 4) < 0.3).float()
    other = x.clone()
    other[:, 70:] = 1 - other[:, 70:]
    assert torch.equal(model.log_prob(x)[:, :70], model.log_prob(other)[:, :70])


def test_long_performances_are_dealt_first_and_none_twice(npz, tmp_path):
    for name in ("train/0", "train/1", "train/2"):
        np.savez(npz / f"{name}.npz", sequence=np.ones((finetune.LONG, 3), np.uint8))
    finetune.deal(npz / "train", tmp_path / "dealt", 1, seed=0)
    parts = {part: ngram.read(tmp_path / "dealt" / part) for part in ("train", "validation", "test")}
    assert [len(parts[part][1][0]) for part in ("train", "validation")] == [finetune.LONG] * 2
    assert len(parts["test"][0]) == 4
    assert len({name for names, _ in parts.values() for name in names}) == 6
    with pytest.raises(ablations.HypermeterError, match="6 .npz.*at least 9"):
        finetune.deal(npz / "train", tmp_path / "other", 3, seed=0)


@pytest.mark.slow
def test_finetuning_is_judged_on_what_was_not_dealt(npz, tmp_path, capsys):
    torch.manual_seed(0)
    speed.HierarchicalDrumModel(3, 8, 8, 8).save(tmp_path / "start.safetensors")
    finetune.main(npz / "train", str(tmp_path / "start.safetensors"), tmp_path / "runs", files=1, max_steps=1)
    printed = capsys.readouterr().out
    assert all(f"| {row}" in printed for row in ("after", "from scratch")) and "before |" in printed
    assert "1 files of train to learn from, 4 held out, 256 steps; seed 0." in printed


def test_rank_correlation_knows_order_ties_and_what_is_undefined():
    assert steering.spearman(np.array([1.0, 2, 3, 4]), np.array([1.0, 10, 100, 1000])) == pytest.approx(1)
    assert steering.spearman(np.array([1.0, 2, 3, np.nan]), np.array([3.0, 2, 1, 9])) == pytest.approx(-1)
    assert steering.ranks(np.array([5.0, 1, 5])).tolist() == [1.5, 0, 1.5]


def test_area_under_the_curve_is_the_chance_that_a_positive_is_above():
    assert steering.area_under_curve(np.array([2.0, 3]), np.array([0.0, 1])) == 1
    assert steering.area_under_curve(np.array([0.0, 1]), np.array([1.0, 2])) == pytest.approx(0.125)
    assert steering.area_under_curve(np.array([1.0]), np.array([1.0, 1])) == 0.5


def test_the_classifier_of_styles_distinguishes_what_differs():
    random = torch.Generator().manual_seed(0)
    y = torch.arange(2).repeat(20)
    x = torch.randn(40, 3, generator=random) + 4 * y[:, None]
    assert (steering.Classifier(x, y, 2)(x) == y).all()


def small_model(**options):
    torch.manual_seed(0)
    return speed.HierarchicalDrumModel(3, 16, 8, 8, grid=Grid(2, 2, 2), **options).eval()


def test_how_well_a_model_obeys_is_measured_on_what_it_plays():
    model = small_model(labels={"section": [], "style": [], "fill": ["beat", "fill"]})
    result = steering.numbers(model, "density", np.linspace(0.1, 0.5, 9), 12, 0, 0.0)
    assert set(result) == {"pieces", "bars", "error"} and -1 <= result["pieces"] <= 1
    assert 0 <= steering.fills(model, 6, 0, 0.0) <= 1


def test_bits_after_all_earlier_bars_are_those_of_the_performance():
    model, hits = small_model(), (torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    whole = context.bits_of_bars(model, hits, 0, None)
    assert whole.shape == (10,)
    assert whole.sum() == pytest.approx(-model.log_prob(hits[None]).sum().item() / np.log(2), rel=1e-5)


def test_bits_after_some_bars_are_those_of_the_bar_that_ends_the_window():
    model, hits = small_model(), (torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    bits = context.bits_of_bars(model, hits, 6, 3)
    window = hits[None, 2 * 4 : 7 * 4]  # bar 6 after three bars, from the phrase on that they begin in
    assert bits[0] == pytest.approx(-model.log_prob(window)[0, -4:].sum().item() / np.log(2), rel=1e-5)
    np.testing.assert_allclose(
        context.bits_of_bars(model, hits, 8, 8)[0], context.bits_of_bars(model, hits, 8, None)[0], rtol=1e-5
    )


def test_bits_of_drums_and_of_the_bass_given_them_add_up_to_those_of_both(tmp_path):
    hits = (np.random.default_rng(0).random((40, 3)) < 0.3).astype(np.uint8)
    codes = np.where(hits[:, 0], 40, 1).astype(np.int16)
    (tmp_path / "test").mkdir()
    np.savez(tmp_path / "test" / "a.npz", sequence=hits, track_bass=codes, velocity=hits / 2)
    model = small_model(tracks=[BASS.to_dict()])
    drums, bass, before, steps = tracks.bits(model, tmp_path / "test")
    both = torch.from_numpy(tracks.with_tracks(tmp_path / "test" / "a.npz", hits, model.tracks)).float()[None]
    assert steps.tolist() == [40]
    assert (drums + bass)[0] == pytest.approx(-model.log_prob(both).sum().item() / np.log(2), rel=1e-5)
    assert drums[0] > 0 and bass[0] > 0 and before[0] > 0

    tracks.silence_drums(tmp_path / "test" / "a.npz", tmp_path / "silent.npz")
    with np.load(tmp_path / "silent.npz") as arrays:
        assert not arrays["sequence"].any() and np.array_equal(arrays["track_bass"], codes)
        assert "velocity" not in arrays


def test_each_song_is_held_out_once_with_what_is_like_it(tmp_path):
    random = np.random.default_rng(0)
    kept = {str(number): (random.random((64, 3)) < 0.3).astype(np.uint8) for number in range(10)}
    kept["3-again"] = kept["3"]
    for name, hits in kept.items():
        meta = np.array(json.dumps({"grid": Grid().to_dict(), "source": name}))
        for part in ("", "-2")[: 1 + (name == "5")]:  # a song in two parts
            np.savez(tmp_path / f"{name}{part}.npz", sequence=hits, track_bass=np.ones(64, np.int16), meta=meta)
    songs = tracks.songs_of(tmp_path)
    assert sorted(len(song) for song in songs) == [1] * 8 + [2, 2]
    dealt = tracks.deal(songs, 5, seed=0)
    names = [{path.stem for song in fold for path in song} for fold in dealt]
    assert sorted(name for fold in names for name in fold) == sorted([*kept, "5-2"])
    for together in ({"3", "3-again"}, {"5", "5-2"}):
        assert sum(together <= fold for fold in names) == 1

    tracks.lay_out(dealt, 1, tmp_path / "out")
    splits = {
        split: {path.stem for path in (tmp_path / "out" / "together" / split).iterdir()}
        for split in ("train", "validation", "test")
    }
    assert splits["test"] == names[1] and splits["validation"] and not splits["train"] & splits["validation"]
    assert set.union(*splits.values()) == {*kept, "5-2"} and not splits["test"] & (
        splits["train"] | splits["validation"]
    )
    for path in (tmp_path / "out" / "alone").rglob("*.npz"):
        with np.load(path) as arrays:
            assert not arrays["sequence"].any() and arrays["track_bass"].all()


@pytest.mark.slow
def test_drums_and_bass_are_compared_song_by_song(tmp_path, monkeypatch, capsys):
    small = {
        "max_steps": 2,
        "evaluate_every": 2,
        "num_components": 2,
        "seq_len": 32,
        "batch_size": 2,
        "step_hidden_dim": 8,
    }
    monkeypatch.setattr(tracks, "BASE", {**tracks.BASE, **small, "bar_hidden_dim": 8, "phrase_hidden_dim": 8})
    random = np.random.default_rng(0)
    for number in range(4):
        hits = (random.random((64, 10)) < 0.3).astype(np.uint8)
        meta = np.array(json.dumps({"grid": Grid().to_dict(), "source": str(number), "kit": "gm10"}))
        codes = np.where(hits[:, 0], 40, 1).astype(np.int16)
        np.savez(tmp_path / f"{number}.npz", sequence=hits, track_bass=codes, meta=meta)
    tracks.main(tmp_path, tmp_path / "out", folds=2)
    printed = capsys.readouterr().out
    assert "| together |" in printed and "| alone | - |" in printed and printed.count(" of 4\n") == 2
    runs = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").glob("*/result.json"))]
    assert len(runs) == 4 and all(run["steps"] == [64, 64] for run in runs)
    tracks.main(tmp_path, tmp_path / "out", folds=2)  # nothing is trained again
    assert capsys.readouterr().out.endswith(printed[printed.index("| bits") :])
    with pytest.raises(HypermeterError, match="fold 2.*0 to 1"):
        tracks.main(tmp_path, tmp_path / "out", folds=2, only=(2,))
