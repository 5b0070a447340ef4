"""The benchmark card: bits against hand-set numbers, whole performances, groups."""

import json
import math
import time
from collections import Counter
from dataclasses import fields
from importlib import import_module

import numpy as np
import pytest
import torch

from hypermeter.cli import main
from hypermeter.cli.demo import read_corpus
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit, Voice, load_kit
from hypermeter.core.strokes import Strokes
from hypermeter.core.tracks import BASS
from hypermeter.io.midi import write_midi
from hypermeter.learn.evaluate import (
    bits_of_parts,
    bits_per_step,
    card,
    compare_music,
    cut,
    evaluate,
    evaluate_bits,
    evaluate_music,
    floors,
    forecasts,
    generated_pieces,
    one_step_ahead,
    performance_bits,
    summarize,
)
from hypermeter.learn.evaluate.card import read_performances
from hypermeter.learn.evaluate.floors import FLOORS, fit
from hypermeter.learn.evaluate.music import (
    by_length,
    copied_share,
    cut_alike,
    distinct_share,
    drift,
    keeping,
    of_each,
    phrase_end,
    repetition,
    values_of,
)
from hypermeter.learn.evaluate.pieces import Beside, draw_pieces
from hypermeter.learn.evaluate.scores import Scores, score
from hypermeter.learn.prepare import prepare
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.music.beat_keeping import Roles
from hypermeter.music.metrics import METRICS
from hypermeter.play.request import SamplingOptions

held_out, music, pieces = (
    import_module(f"hypermeter.learn.evaluate.{name}") for name in ("held_out", "music", "pieces")
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return HierarchicalDrumModel(3, 16, 16, 16, grid=Grid(2, 2, 2)).eval()


def performances(*lengths):
    random = np.random.default_rng(0)
    return [(random.random((steps, 3)) < 0.3).astype(np.uint8) for steps in lengths]


def test_a_coin_for_each_voice_costs_a_bit_a_voice_and_step():
    model = HierarchicalDrumModel(3, 8, 8, 8, output="sigmoid").eval()
    for weights in model.output_layer.parameters():
        torch.nn.init.zeros_(weights)
    assert bits_per_step(model, performances(40, 7)) == pytest.approx(3.0, abs=1e-6)


def test_batching_does_not_change_the_bits_of_a_performance(model):
    sequences = performances(5, 64, 1, 33, 64)
    together = performance_bits(model, sequences)
    apart = [-model.log_prob(torch.from_numpy(hits).float()[None]).sum().item() / math.log(2) for hits in sequences]
    assert together == pytest.approx(apart, rel=1e-5)
    assert performance_bits(model, sequences, batch_steps=1) == pytest.approx(apart, rel=1e-5)


def test_the_summary_weighs_steps_and_its_interval_holds_the_mean():
    result = summarize(np.array([10.0, 90.0]), np.array([10, 30]))
    assert result["bits_per_step"] == 2.5
    assert result["mean_of_performances"] == 2.0
    assert (result["low"], result["high"]) == (1.0, 3.0)
    assert summarize(np.array([10.0, 90.0]), np.array([10, 30])) == result


def test_repeating_the_last_bar_is_scored_by_hand(model):
    sequence = np.zeros((12, 3), np.uint8)  # three bars of four steps
    sequence[4:8, 0] = 1  # bar 1 is all kick: repeating errs by 1 on its cell twice, of 2 x 3 cells
    result = forecasts(model, [sequence])
    assert result["bar"]["last_mse"] == pytest.approx(2 / 6)
    wrong, right = -math.log(0.02), -math.log(0.98)
    assert result["bar"]["last_bce"] == pytest.approx((2 * wrong + 4 * right) / 6, rel=1e-5)
    assert all(map(math.isnan, result["phrase"].values()))  # one whole phrase only: nothing to forecast


def always_the_first_voice():
    model = HierarchicalDrumModel(3, 8, 8, 8, output="sigmoid").eval()
    with torch.no_grad():
        model.output_layer.project.weight.zero_()
        model.output_layer.project.bias.copy_(torch.tensor([0.0, 5.0, -5.0, -5.0]))
    return model


def test_one_step_ahead_of_a_model_that_always_plays_the_first_voice():
    sequence = np.zeros((5, 3), np.uint8)
    sequence[:, 0] = [1, 1, 0, 1, 0]  # of the four steps after the first, two
    sequence[:, 1] = [0, 0, 0, 0, 1]
    result = one_step_ahead(always_the_first_voice(), [sequence])
    assert result["precision"] == 2 / 4
    assert result["recall"] == 2 / 3
    assert result["f1"] == pytest.approx(4 / 7)
    hit = 1 / (1 + math.exp(-5))
    # Twelve cells: four forecast at .993 of which two are hit, eight at .007 of which one is.
    assert result["calibration_error"] == pytest.approx((4 * hit - 2 + 1 - 8 * (1 - hit)) / 12, rel=1e-4)
    assert result["calibration"][-1] == pytest.approx([4, hit, 0.5], rel=1e-4)
    right, wrong = -math.log2(hit), -math.log2(1 - hit)
    bits = [(2 * right + 2 * wrong) / 4, (3 * right + wrong) / 4, right]
    assert result["voice_bits"] == pytest.approx(bits, rel=1e-4)


def test_bits_of_single_voices_sum_to_those_of_independent_voices(model):
    model = HierarchicalDrumModel(3, 8, 8, 8, output="sigmoid").eval()
    sequences = performances(30)
    model_bits = -model.log_prob(torch.from_numpy(sequences[0]).float()[None])[0, 1:].sum().item() / math.log(2)
    assert sum(one_step_ahead(model, sequences)["voice_bits"]) * 29 == pytest.approx(model_bits, rel=1e-4)


def test_the_card_groups_by_style_and_has_the_numbers(model, tmp_path):
    for number, (hits, style) in enumerate(zip(performances(16, 24, 32), ("jazz/funk", "rock", "jazz"))):
        meta = json.dumps({"style": style, "beat_type": "beat"})
        np.savez(tmp_path / f"{number}.npz", sequence=hits, meta=np.array(meta))
    np.savez(tmp_path / "other.npz", sequence=performances(9)[0])
    result = evaluate(model, tmp_path, pieces=2, bars=4, long_bars=8)
    assert result["all"]["performances"] == 4
    assert {name: bits["performances"] for name, bits in result["groups"].items()} == {
        "beat": 3, "style: jazz": 2, "style: rock": 1,
    }  # fmt: skip
    text = card("a model", {"a model": result})
    assert f"{result['all']['bits_per_step']:.3f}" in text
    assert "floors" not in result  # there is no train beside it
    assert set(result["drift"]) == {"bars 1-8"}
    json.dumps(result)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A prepared folder with train and validation, of 4/4 and gm10."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, groove in read_corpus().items():
        write_midi(groove, folder / "midi" / f"{name}.mid")
    prepare(folder / "midi", folder / "npz", quiet=True)
    return folder


@pytest.fixture(scope="module")
def small():
    """A model of the corpus's kit."""
    torch.manual_seed(0)
    return HierarchicalDrumModel(10, 8, 8, 8, 1, num_components=4, kit=load_kit("gm10")).eval()


def test_with_train_beside_it_the_card_has_floors_and_copied_bars(corpus, small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small.save(tmp_path / "small.safetensors")
    arguments = ["small.safetensors", str(corpus / "npz" / "validation"), "--beside", str(corpus / "midi")]
    assert main(["evaluate", *arguments, "--pieces", "3", "--bars", "8", "--long-bars", "0", "--out", "card"]) == 0
    printed, result = capsys.readouterr().out, json.loads((tmp_path / "card.json").read_text())
    assert (tmp_path / "card.md").read_text() in printed
    model, music = result["small.safetensors"], result[str(corpus / "midi")]
    assert set(model["floors"]) == {"voice marginals", "step of the bar", "previous bar"}
    for name, bits in model["floors"].items():
        assert f"| floor: {name} | - | {bits['bits_per_step']:.3f} |" in printed
    assert "all" not in music  # no likelihood of files
    assert music["music"]["copied"] > 0.5  # most of these files are the training files
    assert music["music"]["overlap"] > model["music"]["overlap"]  # music like it is nearer than noise
    people = music["music"]["human_keeping"]
    assert model["music"]["human_keeping"] == people
    assert f"| people, held out | {people['backbeat']:.3g} | {people['pulse']:.3g} |" in printed
    assert music["music"]["keeping"]["backbeat"] > model["music"]["keeping"]["backbeat"]


def test_the_same_seed_gives_the_same_card_and_temperature_and_seed_change_its_music(corpus, small):
    def evaluated(seed, temperature=1.0):
        options = {"pieces": 2, "bars": 8, "long_bars": 0, "temperature": temperature}
        return evaluate(small, corpus / "npz" / "validation", seed, **options)

    one, other, another, cool = evaluated(1), evaluated(1), evaluated(2), evaluated(1, 0.0)
    assert str(one) == str(other)
    assert one["music"]["metrics"] != another["music"]["metrics"]
    assert one["music"]["metrics"] != cool["music"]["metrics"]
    assert "played at temperature 0." in card("a model", {"a model": cool})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beside", "nope"], "nope: no such checkpoint"),
        (["--beside", "other.csv"], "other.csv: columns a, b"),
        (["--beside", "empty"], "empty: no MIDI"),
        (["--beside", "three.safetensors"], "10 voices, the model has 3"),
        (["--out", "other.csv/card"], "other.csv: cannot be written"),
    ],
)
def test_all_arguments_are_checked_before_anything_is_computed(
    corpus, small, model, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.csv").write_text("a,b\n")
    (tmp_path / "empty").mkdir()
    small.save(tmp_path / "small.safetensors")
    model.save(tmp_path / "three.safetensors")
    computed = []
    module = import_module("hypermeter.learn.evaluate.card")
    monkeypatch.setattr(module, "score", lambda *_: computed.append(1))
    assert main(["evaluate", "small.safetensors", str(corpus / "npz" / "validation"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1 and not computed


def write_bits(path, folder, bits):
    names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*.npz"))]
    path.write_text("\n".join(["name,bits", *(f"{name},{number}" for name, number in zip(names, bits))]))


def test_a_system_of_which_only_the_likelihoods_are_known_is_a_row(corpus, small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small.save(tmp_path / "small.safetensors")
    folder = corpus / "npz" / "validation"
    write_bits(tmp_path / "theirs.csv", folder, performance_bits(small, read_performances(folder)[0]))
    assert main(["evaluate", "small.safetensors", str(folder), "--beside", "theirs.csv", "--pieces", "0"]) == 0
    ours, theirs = (line for line in capsys.readouterr().out.splitlines() if line.startswith(("| small", "| theirs")))
    assert ours.split("|")[3:6] == theirs.split("|")[3:6]  # bits, interval, mean
    assert theirs.split("|")[2].strip() == "-"  # nobody knows its parameters


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,nats\na.npz,3\n", "columns file, nats; expected name .* and bits"),
        ("name,nats\n", "columns name, nats; expected"),
        ("", "columns none; expected"),
    ],
)
def test_a_csv_of_other_columns_is_named_with_those_that_came(corpus, tmp_path, content, message):
    (tmp_path / "theirs.csv").write_text(content)
    with pytest.raises(HypermeterError, match=rf"theirs\.csv: {message}"):
        evaluate_bits(tmp_path / "theirs.csv", corpus / "npz" / "validation")


@pytest.mark.parametrize("rows", [[], ["nan"], ["-1"], ["much"]])
def test_bits_that_do_not_fit_the_performances_are_refused(corpus, tmp_path, rows):
    write_bits(tmp_path / "theirs.csv", corpus / "npz" / "validation", rows)
    with pytest.raises(HypermeterError, match=r"theirs\.csv: (no finite bits for|cannot be read)"):
        evaluate_bits(tmp_path / "theirs.csv", corpus / "npz" / "validation")


def test_a_model_reads_each_performance_once_for_all_figures_of_the_card(corpus, small, monkeypatch):
    shapes, forward = [], HierarchicalDrumModel.forward

    def noted(self, step_seq, **given):
        shapes.append(step_seq.shape)
        return forward(self, step_seq, **given)

    monkeypatch.setattr(HierarchicalDrumModel, "forward", noted)
    result = evaluate(small, corpus / "npz" / "validation", pieces=0)
    assert sum(shape[0] for shape in shapes) == result["all"]["performances"]
    assert {"forecasts", "next_step", "all"} <= set(result)


def test_scores_of_performances_do_not_depend_on_those_beside_them(model, band):
    band_model, folder = band
    of_band = read_performances(folder, grid=model.grid, tracks=band_model.tracks)[0]
    for scored, sequences in ((model, performances(5, 64, 1, 33, 64)), (band_model, of_band)):
        together = score(scored, sequences)
        apart = [score(scored, [hits]) for hits in sequences]
        for field in fields(Scores):
            rows = np.concatenate([getattr(alone, field.name) for alone in apart])
            np.testing.assert_allclose(getattr(together, field.name), rows, rtol=1e-4, atol=1e-5)
    assert together.parts.sum(1) == pytest.approx(together.bits)


def test_the_floors_tables_are_the_shares_of_hits():
    train = performances(40, 7)
    for name, rule in FLOORS.items():
        table = fit(rule, train, 4)
        hits, steps = np.full(table.shape, 0.5), np.ones(table.shape)
        for sequence in train:
            for row, played in zip(rule(sequence, 4), sequence, strict=True):
                for voice in range(3):
                    hits[row[voice], voice] += played[voice]
                    steps[row[voice], voice] += 1
        assert table.tolist() == (hits / steps).tolist(), name


def test_systems_of_one_card_share_the_floors_and_the_statistics_of_people(corpus, small, tmp_path, monkeypatch):
    small.save(tmp_path / "one.safetensors")
    small.save(tmp_path / "two.safetensors")
    computed = []
    module, music = (import_module(f"hypermeter.learn.evaluate.{name}") for name in ("held_out", "music"))
    monkeypatch.setattr(module, "floors", lambda *given: computed.append("floors") or floors(*given))
    monkeypatch.setattr(music, "cut_alike", lambda pieces, human: computed.append("compared") or pieces)
    measured = music.music_statistics
    monkeypatch.setattr(music, "music_statistics", lambda *given: computed.append("music") or measured(*given))
    arguments = [str(tmp_path / "one.safetensors"), str(corpus / "npz" / "validation"), "--beside"]
    arguments += [str(tmp_path / "two.safetensors"), str(corpus / "midi"), "--pieces", "2", "--bars", "8"]
    assert main(["evaluate", *arguments, "--long-bars", "8"]) == 0
    assert Counter(computed) == {"floors": 1, "compared": 3, "music": 4}  # of three systems, and of people once


def test_long_pieces_begin_with_those_that_are_compared(corpus, small):
    folder = corpus / "npz" / "validation"
    alone, with_drift = (evaluate(small, folder, pieces=3, bars=8, long_bars=bars) for bars in (0, 32))
    assert str(alone["music"]) == str(with_drift["music"])
    assert set(with_drift["drift"]) == {"bars 1-8", "bars 25-32"}
    assert set(evaluate(small, folder, pieces=3, bars=16, long_bars=8)["drift"]) == {"bars 1-8"}


def test_a_call_beside_this_process_gives_what_it_gives_here(small):
    drawn = small.player(), 3, 20, 1
    with Beside(draw_pieces, *drawn) as beside:
        assert (beside._process is not None) == (pieces._cores() > 1)
        assert (beside.result() == draw_pieces(*drawn)).all()
    assert beside._process is None or beside._process.wait() is not None


def test_a_call_that_cannot_be_made_beside_is_made_here(monkeypatch):
    with Beside(lambda: 3) as beside:
        assert beside.result() == 3  # a function that cannot be pickled
    monkeypatch.setattr(pieces, "_cores", lambda: 1)
    with Beside(abs, -2) as beside:
        assert beside._process is None and beside.result() == 2
    monkeypatch.setattr(pieces, "_cores", lambda: 2)
    with Beside(math.sqrt, -1.0) as beside, pytest.raises(ValueError, match="math domain"):
        beside.result()  # the error is the one of the call


def test_a_call_beside_ends_with_its_context(monkeypatch):
    monkeypatch.setattr(pieces, "_cores", lambda: 2)
    with Beside(time.sleep, 600) as beside:
        pass
    assert beside._process.wait(10) != 0


def test_pieces_of_one_length_are_measured_together_and_stay_in_order():
    lengths = [32, 16, 32, 48, *[16] * 130]
    made = [np.full((length, 1), number) for number, length in enumerate(lengths)]
    groups = by_length(made)
    assert sorted(number for group in groups for number in group) == list(range(134))
    assert sorted(map(len, groups)) == [1, 2, 3, 64, 64]
    firsts = of_each(lambda hits, grid: hits[..., 0, 0], made, Grid())
    assert [int(first) for first in firsts] == list(range(134))


def test_a_custom_metric_is_in_the_card(corpus):
    METRICS["crowded"] = lambda hits, grid: (hits.sum(-1) > 2).float().mean(-1)
    try:
        pieces = [groove.hits for groove in read_corpus().values()][:3]
        assert "crowded" in compare_music(pieces, pieces, Grid())["metrics"]
    finally:
        del METRICS["crowded"]


def test_a_custom_metric_that_knows_no_batch_is_in_the_card_too(monkeypatch):
    monkeypatch.setitem(METRICS, "all_hits", lambda hits, grid: hits.sum())
    pieces = [groove.hits for groove in read_corpus().values()][:3]
    assert values_of(pieces, Grid())["all_hits"].tolist() == [hits.sum() for hits in pieces]


def test_human_music_is_cut_into_pieces_of_whole_bars():
    grid = Grid(1, 4, 2)
    sequence = np.arange(4 * 21 + 3)[:, None]
    pieces = cut([sequence, sequence[:7]], grid, 12)
    assert [len(piece) // 4 for piece in pieces] == [12, 9]  # 21 whole bars; seven steps are too few
    assert pieces[1][0] == 48
    assert [piece[0].item() // 4 for piece in cut([sequence], grid, 5)] == [0, 6, 12]  # where a phrase begins


def test_music_is_as_near_to_itself_as_can_be():
    pieces = [groove.hits for groove in read_corpus().values()][:5]
    result = compare_music(pieces, pieces, Grid(), pieces, load_kit("gm10").streams)
    assert result["overlap"] == pytest.approx(1, abs=1e-6)
    assert result["repetition_gap"] == 0
    assert result["copied"] == result["human_copied"] == 1
    assert {"witek", "lhl", "groove_similarity"} <= set(result["metrics"])
    assert not {"offset_ms", "velocity_range", "drum_density"} & set(result["metrics"])
    assert "avg_hits" not in result["metrics"]  # it would count density twice
    assert "witek" not in values_of(pieces[:1], Grid())  # no streams, no polyphonic syncopation


def test_lengths_are_cut_to_be_distributed_as_those_of_people():
    pieces = [np.full((length, 1), length) for length in (32, 12, 32, 32)]
    human = [np.zeros((length, 1)) for length in (32, 32, 8, 8, 32, 16, 32, 20)]  # in order 8 8 16 20 32 32 32 32
    made = cut_alike(pieces, human)
    # the shortest gets the first of eight, the others the third, fifth and seventh
    assert [len(piece) for piece in made] == [16, 8, 32, 32]
    assert [piece[0, 0] for piece in made] == [32, 12, 32, 32]
    assert [len(piece) for piece in cut_alike(human, human)] == [len(piece) for piece in human]
    assert [len(piece) for piece in cut_alike(pieces[:1], human[:2])] == [32]
    assert [len(piece) for piece in cut_alike(pieces[1:2], human[:2])] == [12]  # it has no more


def test_music_that_goes_on_after_the_end_is_as_near_as_what_it_goes_on_from():
    grid, random = Grid(), np.random.default_rng(0)
    bars = random.integers(8, 32, 8)
    human = [(random.random((16 * length, 3)) < 0.2).astype(np.uint8) for length in np.sort(bars)]
    longer = [np.concatenate([hits, np.ones((16 * 32 - len(hits), 3), np.uint8)]) for hits in human]
    result = compare_music(longer, human, grid, human)
    assert result["overlap"] == pytest.approx(1, abs=1e-6)
    assert (result["repetition_gap"], result["distinct"], result["copied"]) == (0, 1, 1)
    assert result["metrics"]["ngram_diversity"]["cohens_d"] == 0


def test_the_mean_overlap_is_of_the_metrics_that_differ_from_piece_to_piece():
    human = [groove.hits for groove in read_corpus().values()]
    result = compare_music(human[:4], human[4:8], Grid())
    overlaps = {name: comparison["overlap"] for name, comparison in result["metrics"].items()}
    assert overlaps.pop("dense_frac") == 1  # no bar of either side is dense
    overlaps = [overlap for overlap in overlaps.values() if not math.isnan(overlap)]
    assert result["overlap"] == pytest.approx(sum(overlaps) / len(overlaps))
    full, empty = [np.ones((32, 2), np.uint8)] * 2, [np.zeros((32, 2), np.uint8)] * 2
    assert compare_music(full, empty, Grid())["overlap"] == 0  # all bars dense against none tells them apart


def test_repetition_weighs_pairs_of_bars():
    grid = Grid(1, 1, 1)  # a bar is a step
    same, never = np.ones((5, 1), np.uint8), np.array([[1, 0], [0, 1], [1, 0]], np.uint8)
    assert repetition([same], grid)[:4] == [1, 1, 1, 1]
    assert repetition([never], grid)[:2] == [0, 1]
    two_voices = np.concatenate([same, same], 1)
    assert repetition([two_voices, never], grid)[:2] == pytest.approx([4 / 6, 4 / 4])


def test_repetition_does_not_weigh_pairs_of_empty_bars():
    grid = Grid(1, 1, 1)  # a bar is a step
    rests, same = np.array([[1], [0], [0], [1]], np.uint8), np.ones((2, 1), np.uint8)
    # a bar back: 0, left out, 0, and 1; three bars back: 1
    assert repetition([rests, same], grid)[:3] == pytest.approx([1 / 3, 0, 1])
    assert math.isnan(repetition([rests, same], grid)[3])


def test_a_phrase_ends_where_its_last_bar_breaks_with_the_others():
    groove, fill = np.zeros((16, 2), np.uint8), np.zeros((16, 2), np.uint8)
    groove[::4, 0], fill[1::4, 1] = 1, 1
    ends = np.concatenate([groove, groove, groove, fill] * 4)
    begins = np.concatenate([fill, groove, groove, groove] * 4)
    assert phrase_end(np.concatenate([groove] * 16), Grid()) == 0
    assert phrase_end(ends, Grid()) > 0.5 > 0 > phrase_end(begins, Grid())
    assert np.isnan(phrase_end(groove, Grid()))


def test_copies_and_distinct_bars_by_hand():
    bars = [np.array([1, 2, 2, 9], np.uint64), np.array([1, 1], np.uint64)]
    assert copied_share(bars, np.array([1, 5], np.uint64)) == 3 / 6
    assert distinct_share(bars) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert math.isnan(copied_share([], bars[0]))


def test_beat_keeping_is_the_mean_over_pieces_of_any_length():
    steady, silent = np.zeros((128, 2)), np.zeros((160, 2))
    steady[::8, 0] = steady[4::8, 1] = 1
    means = keeping([steady, silent], Grid(), Roles((0,), (1,), ()))
    assert (means["backbeat"], means["pulse"], means["density"]) == (0.5, 0.5, 4 / 32 / 2)
    assert means["distinct_bars"] == pytest.approx((1 / 8 + 1 / 10) / 2)


def test_drift_shows_where_a_piece_grows_denser():
    grid = Grid(1, 4, 2)
    piece = np.zeros((32 * 4, 2), np.uint8)
    piece[24 * 4 :] = 1
    stretches = drift([piece, piece], grid)
    assert list(stretches) == ["bars 1-8", "bars 25-32"]  # there are not 256 bars
    assert [means["avg_hits"] for means in stretches.values()] == [0, 2]


def test_pieces_have_the_given_number_and_length(model):
    made = generated_pieces(model, model.grid, 3, 5, seed=0)
    assert [piece.shape for piece in made] == [(5 * 4, 3)] * 3
    assert not np.array_equal(made[0], made[1])


def test_floors_are_fitted_on_train_only():
    train, held_out = performances(64, 32), performances(16, 48)
    alone = floors(train, held_out, 4)
    more = floors(train, [*held_out, np.ones((16, 3), np.uint8)], 4)
    assert all(summary["performances"] == 2 for summary in alone.values())
    assert all(more[name]["bits_per_step"] > alone[name]["bits_per_step"] for name in alone)


def test_music_of_others_must_be_on_the_same_grid(corpus, tmp_path):
    np.savez(tmp_path / "a.npz", sequence=np.zeros((200, 3), np.uint8))
    with pytest.raises(HypermeterError, match="none of 1 files.*3 voices, expected 10"):
        evaluate_music(tmp_path, corpus / "npz" / "validation")
    meta = np.array(json.dumps({"kit": "gm10", "grid": Grid(3).to_dict()}))
    np.savez(tmp_path / "a.npz", sequence=np.ones((480, 10), np.uint8), meta=meta)
    with pytest.raises(HypermeterError, match="no piece of at least 8 bars.*a.npz: of another kit or grid"):
        evaluate_music(tmp_path, corpus / "npz" / "validation")


def test_music_is_compared_with_pieces_of_eight_bars_or_more(tmp_path):
    for folder, steps in (("made", 160), ("held", 96)):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "a.npz", sequence=np.ones((steps, 10), np.uint8), meta=np.array('{"kit": "gm10"}'))
    with pytest.raises(HypermeterError, match="held: no performance of at least 8 bars"):
        evaluate_music(tmp_path / "made", tmp_path / "held")


@pytest.mark.parametrize(
    ("voices", "meta"),
    [(9, {}), (10, {"grid": Grid(3).to_dict()}), (10, {"kit": "gm10"})],
    ids=("voices", "grid", "kit"),
)
def test_train_beside_a_split_is_of_its_kit_and_grid(tmp_path, monkeypatch, voices, meta):
    for split, number, about in (("train", voices, meta), ("validation", 10, {})):
        (tmp_path / split).mkdir()
        np.savez(tmp_path / split / "a.npz", sequence=np.ones((96, number), np.uint8), meta=np.array(json.dumps(about)))
    monkeypatch.chdir(tmp_path / "validation")
    small = HierarchicalDrumModel(10, 8, 8, 8).eval()
    with pytest.raises(HypermeterError, match="train: of another kit or grid than validation beside it"):
        evaluate(small, ".", pieces=0)


def test_a_shipped_name_is_that_model_beside_a_folder_of_the_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "groove").mkdir()
    hits = np.zeros((32, 10), np.uint8)
    hits[::4, 0] = 1
    np.savez(tmp_path / "groove" / "a.npz", sequence=hits, meta=np.array('{"kit": "gm10"}'))
    assert main(["evaluate", "groove", "groove", "--pieces", "0"]) == 0
    assert "| groove | 1,016,337 |" in capsys.readouterr().out


def test_files_that_do_not_fit_are_left_out_reported_and_counted(corpus, tmp_path, capsys):
    groove = read_corpus()["rock-1"]
    for name in ("a", "b"):
        write_midi(groove, tmp_path / "made" / f"{name}.mid")
    alone = evaluate_music(tmp_path / "made", corpus / "npz" / "validation", bars=2)
    assert alone["rejects"] == []
    (tmp_path / "made" / "bad.mid").write_bytes(b"not MIDI")
    np.savez(tmp_path / "made" / "other.npz", sequence=np.zeros((200, 3), np.uint8))
    meta = np.array(json.dumps({"kit": "gm10", "grid": Grid(3).to_dict()}))
    np.savez(tmp_path / "made" / "triplets.npz", sequence=np.ones((480, 10), np.uint8), meta=meta)
    result = evaluate_music(tmp_path / "made", corpus / "npz" / "validation", bars=2)
    assert str(result["music"]) == str(alone["music"])
    assert [any(name in reason for reason in result["rejects"]) for name in ("bad.mid", "other.npz", "triplets.npz")]
    assert len(result["rejects"]) == 3
    arguments = [str(tmp_path / "made"), str(corpus / "npz" / "validation"), "--bars", "2"]
    assert main(["evaluate", *arguments]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.removeprefix("left out: ") for line in printed[:3]] == result["rejects"]
    assert f"Left out of {arguments[0]}: 3, which cannot be read or do not fit." in printed


def test_performances_of_several_kits_or_grids_are_refused_by_file_name(tmp_path):
    for name, meta in (("a", {"kit": "gm10"}), ("b", {"kit": "gm10", "grid": Grid().to_dict()}), ("c", {"grid": {}})):
        np.savez(tmp_path / f"{name}.npz", sequence=np.ones((16, 10), np.uint8), meta=np.array(json.dumps(meta)))
    with pytest.raises(HypermeterError, match=r"c\.npz: no kit, expected kit gm10"):
        read_performances(tmp_path)
    _, _, kit, grid = read_performances(tmp_path, load_kit("gm10"))
    assert (kit, grid) == (load_kit("gm10"), Grid())
    with pytest.raises(HypermeterError, match=r"b\.npz: Grid\(steps_per_beat=4"):
        read_performances(tmp_path, load_kit("gm10"), Grid(3))  # a tells no grid, so it is on the one given
    np.savez(tmp_path / "d.npz", sequence=np.ones((16, 9), np.uint8))
    with pytest.raises(HypermeterError, match=r"d\.npz: 9 voices, expected 10"):
        read_performances(tmp_path)


def test_a_model_of_another_kit_or_metre_is_refused(corpus):
    voices = tuple(Voice(f"voice_{pitch}", (pitch,), pitch) for pitch in range(10))
    for options, message in (({"kit": Kit("mine", voices)}, "kit gm10, the model has mine"), ({"grid": Grid(3)}, "12")):
        with pytest.raises(HypermeterError, match=message):
            evaluate(HierarchicalDrumModel(10, 8, 8, 8, **options).eval(), corpus / "npz" / "validation")


def test_a_folder_of_another_kit_or_of_nothing_is_refused(model, tmp_path):
    with pytest.raises(HypermeterError, match="no .npz in it"):
        evaluate(model, tmp_path)
    np.savez(tmp_path / "a.npz", sequence=np.zeros((4, 5), np.uint8))
    with pytest.raises(HypermeterError, match="5 voices, the model has 3"):
        evaluate(model, tmp_path)


@pytest.fixture
def band(tmp_path):
    """A model of three drums and a bass, and performances of both."""
    torch.manual_seed(0)
    grid = Grid(2, 2, 2)
    model = HierarchicalDrumModel(3, 16, 16, 16, num_components=3, grid=grid, tracks=[BASS.to_dict()]).eval()
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        for number, hits in enumerate(performances(32, 40)):
            codes = np.where(hits[:, 0], 40, 1).astype(np.int16)
            meta = np.array(json.dumps({"grid": grid.to_dict()}))
            np.savez(tmp_path / split / f"{number}.npz", sequence=hits, track_bass=codes, meta=meta)
    return model, tmp_path / "validation"


def test_a_model_with_a_track_is_judged_by_both_and_by_each(band):
    model, folder = band
    result = evaluate(model, folder, pieces=2, bars=4, long_bars=8)
    sequences = read_performances(folder, grid=model.grid, tracks=model.tracks)[0]
    assert sequences[0].shape == (32, model.width)
    assert result["all"]["bits_per_step"] == pytest.approx(bits_per_step(model, sequences))
    drums, bass = (result["parts"][name]["bits_per_step"] for name in ("drums", "bass"))
    assert drums + bass == pytest.approx(result["all"]["bits_per_step"], rel=1e-5)
    by_hand = 0.0
    for hits in sequences:
        step = torch.from_numpy(hits).float()[None]
        by_hand -= model(step).step_dist[:, :-1].voices.log_prob(step[..., :3]).sum().item() / math.log(2)
    assert drums == pytest.approx(by_hand / 72, rel=1e-5)
    assert len(result["next_step"]["voice_bits"]) == len(result["voices"]) == 3
    assert sum(cells[0] for cells in result["next_step"]["calibration"]) == 3 * (31 + 39)
    text = card("a band", {"band": result})
    assert f"| band: bass | - | {bass:.3f} |" in text and "of drums and tracks together" in text


def test_parts_of_a_track_that_is_alone_in_its_mixture_are_independent():
    torch.manual_seed(0)
    grid = Grid(2, 2, 2)
    model = HierarchicalDrumModel(3, 8, 8, 8, output="sigmoid", grid=grid, tracks=[BASS.to_dict()]).eval()
    for weights in model.output_layer.parameters():
        torch.nn.init.zeros_(weights)
    hits = performances(8)[0]
    parts = bits_of_parts(model, [np.concatenate([hits, BASS.encode(np.full(8, 40))], 1)])
    assert parts["drums"] == pytest.approx([3 * 8])
    assert parts["bass"] == pytest.approx([8 * math.log2(1 + BASS.size)])


def test_the_number_of_voices_is_reported_without_the_columns_of_tracks(band, tmp_path):
    model, _ = band
    (tmp_path / "other").mkdir()
    np.savez(tmp_path / "other" / "a.npz", sequence=np.zeros((4, 5), np.uint8))
    with pytest.raises(HypermeterError, match="5 voices, the model has 3"):
        evaluate(model, tmp_path / "other")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"pieces": -2}, "pieces is -2, expected at least 0"),
        ({"bars": 0}, "bars is 0, expected at least 1"),
        ({"long_bars": -3}, "long_bars is -3, expected at least 0"),
        ({"temperature": -1.0, "pieces": 0}, "temperature is -1.0, expected at least 0"),
        ({"temperature": math.nan}, "temperature is nan"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(model, corpus, capsys, options, message):
    with pytest.raises(HypermeterError, match=message):
        evaluate(model, corpus / "npz" / "validation", **options)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    assert main(["evaluate", "groove", str(corpus / "npz" / "validation"), *flags]) == 2
    assert message in capsys.readouterr().err
    for judge, taken in ((evaluate_bits, {"seed"}), (evaluate_music, {"seed", "bars"})):
        if set(options) <= taken:
            with pytest.raises(HypermeterError, match=message):
                judge("theirs", corpus / "npz" / "validation", **options)


def test_metres_that_were_mixed_in_training_are_judged_together(tmp_path):
    three, six = Grid.of_metre("3/4"), Grid.of_metre("6/8", 2)
    (tmp_path / "validation").mkdir()
    (tmp_path / "train").mkdir()
    for folder in ("train", "validation"):
        for name, grid in (("a", three), ("b", six)):
            meta = np.array(json.dumps({"grid": grid.to_dict(), "kit": "gm10"}))
            hits = np.tile(performances(12 * 8)[0], (1, 4))[:, :10]
            np.savez(tmp_path / folder / f"{name}.npz", sequence=hits, meta=meta)
    options = {"pieces": 2, "bars": 8, "long_bars": 0}
    for grid in (three, six):  # of the first file, or of the other
        torch.manual_seed(0)
        model = HierarchicalDrumModel(10, 8, 8, 8, grid=grid).eval()
        result = evaluate(model, tmp_path / "validation", mix_metres=True, **options)
        assert result["all"]["performances"] == result["music"]["human_pieces"] == 2
        with pytest.raises(HypermeterError, match="or train and evaluate with --mix-metres"):
            evaluate(model, tmp_path / "validation", **options)
    with pytest.raises(HypermeterError, match="4/4 of 16"):
        evaluate(HierarchicalDrumModel(10, 8, 8, 8).eval(), tmp_path / "validation", mix_metres=True, **options)
    write_bits(tmp_path / "theirs.csv", tmp_path / "validation", [1, 2])
    assert evaluate_bits(tmp_path / "theirs.csv", tmp_path / "validation", mix_metres=True)["all"]["steps"] == 2 * 96
    music = evaluate_music(tmp_path / "train", tmp_path / "validation", bars=8, mix_metres=True)
    assert (music["music"]["pieces"], music["rejects"]) == (2, [])


def test_a_name_twice_is_refused_and_an_unknown_name_is_reported(corpus, tmp_path, capsys):
    folder, path = corpus / "npz" / "validation", tmp_path / "theirs.csv"
    number = len(list(folder.rglob("*.npz")))
    write_bits(path, folder, [1] * number)
    rows = path.read_text()
    path.write_text(f"{rows}\nelsewhere.npz,3")
    assert main(["evaluate", str(path), str(folder)]) == 0
    printed = capsys.readouterr().out
    assert f"left out: {path}: elsewhere.npz is no performance in {folder}" in printed
    assert f"Left out of {path}: 1" in printed
    twice = rows.splitlines()[1].split(",")[0]
    path.write_text(f"{rows}\n{twice},3")
    with pytest.raises(HypermeterError, match=f"theirs.csv: {twice} more than once"):
        evaluate_bits(path, folder)


def test_a_style_that_is_not_text_is_refused(model, tmp_path):
    for name, style in (("a", "rock"), ("b", 3)):
        meta = np.array(json.dumps({"style": style, "grid": model.grid.to_dict()}))
        np.savez(tmp_path / f"{name}.npz", sequence=performances(16)[0], meta=meta)
    with pytest.raises(HypermeterError, match=r"b\.npz: style in meta is 3, expected text"):
        evaluate(model, tmp_path)


def test_the_share_of_several_strokes_is_by_hand_of_all_hits_and_of_voices_with_enough(monkeypatch):
    monkeypatch.setattr(music, "FEWEST_HITS", 3)
    counts = [np.array([[1, 0], [2, 1]]), np.array([[3, 0], [1, 0], [0, 0]])]
    shares = music.stroke_shares(counts, Grid(2, 2, 2), ["kick", "snare"])
    assert shares == {"share": pytest.approx(2 / 5), "hits": 5, "voices": {"kick": pytest.approx(2 / 4)}}


@pytest.fixture
def with_strokes(tmp_path):
    """A model that plays strokes, and performances in two metres whose files tell theirs, as do those in train."""
    torch.manual_seed(0)
    model = HierarchicalDrumModel(10, 16, 16, 16, kit=load_kit("gm10"), use_expression=True)
    model.expression.add_articulation(learns_openness=False)
    random = np.random.default_rng(1)
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        for number in range(10):
            grid = Grid() if number % 2 else Grid(beats_per_bar=3)
            hits = (random.random((grid.steps_per_bar * 16, 10)) < 0.3).astype(np.uint8)
            steps, voices = np.nonzero(hits)
            twice = voices == 1  # each snare has a further stroke
            strokes = Strokes(steps[twice], voices[twice], [0.2] * twice.sum(), [0.4] * twice.sum())
            meta = np.array(json.dumps({"grid": grid.to_dict(), "kit": "gm10"}))
            arrays = {"sequence": hits, "strokes": strokes.table, "meta": meta}
            np.savez(tmp_path / split / f"{number}.npz", **arrays)
    return model.eval(), tmp_path / "validation"


def test_the_card_has_the_strokes_and_the_music_of_each_metre_and_reads_each_folder_once(with_strokes, monkeypatch):
    model, folder = with_strokes
    read, read_each = [], held_out.read_folder
    monkeypatch.setattr(held_out, "read_folder", lambda path: read.append(path.name) or read_each(path))
    result = evaluate(model, folder, pieces=4, bars=16, long_bars=0, mix_metres=True)
    assert sorted(read) == ["train", "validation"]
    people, ours = (result["music"][name] for name in ("human_strokes", "strokes"))
    assert people["voices"]["snare"] == 1 and people["voices"]["kick"] == 0 and 0.05 < people["share"] < 0.15
    played = model.player().generate(16 * 16, rows=4, sampling=SamplingOptions(seed=0))
    assert ours["hits"] == played.sum() and 0 < ours["share"] < 1
    assert {row["metre"]: row["music"]["human_pieces"] for row in result["metres"]} == {"4/4": 10, "3/4": 10}
    (waltz,) = (row["music"] for row in result["metres"] if row["metre"] == "3/4")
    assert waltz["metrics"]["density"]["n"] == 4 and waltz["human_copied"] == 0
    page = card("a card", {"mine": result})
    assert "| several strokes of | hits | all |" in page and "| 3/4, 4 | 10 |" in page
    assert "strokes" not in evaluate(model, folder, pieces=0, mix_metres=True)


def test_a_model_without_strokes_has_no_table_of_them(with_strokes):
    _, folder = with_strokes
    torch.manual_seed(0)
    plain = HierarchicalDrumModel(10, 16, 16, 16, kit=load_kit("gm10")).eval()
    result = evaluate(plain, folder, pieces=2, bars=8, long_bars=0, mix_metres=True)
    assert "strokes" not in result["music"] and "several strokes of" not in card("a card", {"plain": result})
