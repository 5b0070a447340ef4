"""Rewards of metrics: by hand, at each level, from YAML, and what is refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import load_kit
from hypermeter.learn.rl import Reward, RunningScale, Term, load_reward, style_terms
from hypermeter.music.metrics import METRICS

GRID = Grid(steps_per_beat=1, beats_per_bar=4, bars_per_phrase=2)  # four steps a bar, eight a phrase


def hits(*steps: int, voices: int = 2) -> torch.Tensor:
    """(1, T, voices): how many of the voices sound at each step."""
    return (torch.arange(voices) < torch.tensor(steps)[:, None]).float()[None]


def test_a_bar_is_paid_at_its_last_step_and_a_short_one_at_its_own():
    piece = hits(2, 2, 2, 2, 0, 0, 0, 0, 1, 1)
    paid = Reward([Term("density", "bar", target=0.5)])(piece, GRID)[0]
    assert paid.tolist() == [0, 0, 0, -0.5, 0, 0, 0, -0.5, 0, 0]
    paid = Reward([Term("density", "bar", want="more")])(piece, GRID)[0]
    assert paid.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0.5]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("step", [1, 0, 1, 0, 1, 0, 0, 0, 0]),
        ("bar", [0, 0, 0, 0.5, 0, 0, 0, 0.25, 0]),
        ("phrase", [0, 0, 0, 0, 0, 0, 0, 3 / 8, 0]),
        ("piece", [0] * 8 + [3 / 9]),
    ],
)
def test_each_level_is_paid_at_the_end_of_its_chunks(level, expected):
    piece = hits(2, 0, 2, 0, 2, 0, 0, 0, 0)
    paid = Reward([Term("density", level, want="more")])(piece, GRID)[0]
    assert paid.tolist() == pytest.approx(expected)


def test_scores_by_hand():
    values = torch.tensor([0.0, 1.0, 2.0, 5.0])
    metric = "avg_hits"
    assert Term(metric, target=2, scale=2).score(values).tolist() == [-1, -0.5, 0, -1.5]
    assert Term(metric, band=(1, 2), weight=2).score(values).tolist() == [-2, 0, 0, -6]
    assert Term(metric, want="more", scale=5).score(values).tolist() == pytest.approx([0, 0.2, 0.4, 1])
    assert Term(metric, want="less").score(values).tolist() == [0, -1, -2, -5]


def test_an_undefined_metric_has_the_stated_reward():
    silence = torch.zeros(1, 8, 2)
    assert Reward([Term("syncopation", want="more")])(silence, GRID).sum() == 0
    assert Reward([Term("syncopation", want="more", undefined=-3, weight=2)])(silence, GRID).sum() == -12


def test_levels_are_separate_and_sum_to_the_reward():
    torch.manual_seed(0)
    piece = (torch.rand(3, 24, 2) < 0.5).float()
    reward = Reward([Term("density", "bar", target=0.3), Term("groove_consistency", "phrase", want="more")])
    levels = reward.by_level(piece, GRID)
    assert set(levels) == {"bar", "phrase"}
    torch.testing.assert_close(levels["bar"] + levels["phrase"], reward(piece, GRID))
    torch.testing.assert_close(levels["phrase"][:, 7], METRICS["groove_consistency"](piece[:, :8], GRID))


def test_options_reach_the_metric():
    piece = torch.zeros(1, 4, 2)
    piece[0, 1, 0] = piece[0, 0, 1] = 1
    of_both, one = (Term("lhl", want="more", options=options).values(piece, GRID) for options in ({}, {"voices": 0}))
    assert of_both.item() == METRICS["lhl"](piece[0], GRID)
    assert one.item() == METRICS["lhl"](piece[0], GRID, voices=0)


def test_a_running_scale_has_the_mean_and_spread_of_all_values():
    torch.manual_seed(0)
    parts = [torch.randn(50) * 3 + 7, torch.tensor([math.nan]), torch.randn(31) - 2, torch.zeros(0)]
    scale = RunningScale()
    for part in parts:
        scale.update(part)
    together = torch.cat([parts[0], parts[2]]).double()
    assert scale.mean == pytest.approx(together.mean().item())
    assert scale.sd == pytest.approx(together.std(correction=0).item())
    assert RunningScale().sd == 1
    normalised = scale.normalise(together)
    assert normalised.std(correction=0).item() == pytest.approx(1)
    assert normalised.mean().item() == pytest.approx(0, abs=1e-6)


def test_normalised_terms_are_of_one_size():
    torch.manual_seed(0)
    piece = (torch.rand(64, 8, 2) < torch.rand(64, 1, 1)).float()
    reward = Reward([Term("density", target=0.2, scale=1e-3), Term("avg_hits", want="more", weight=0.5)], True)
    reward(piece, GRID)
    for term, scale in zip(reward.terms, reward.scales):
        scores = term.score(term.values(piece, GRID))
        assert scale.normalise(scores).std().item() == pytest.approx(1, rel=0.01)


def test_a_frozen_reward_scores_by_its_scales_and_leaves_them():
    torch.manual_seed(0)
    seen, other = ((torch.rand(64, 8, 2) < torch.rand(64, 1, 1) * most).float() for most in (1, 0.2))
    reward = Reward([Term("density", want="more")], normalise=True)
    frozen = replace(reward, frozen=True)
    reward(seen, GRID)
    count, mean = reward.scales[0].count, reward.scales[0].mean
    paid = frozen(other, GRID)
    assert (reward.scales[0].count, reward.scales[0].mean) == (count, mean) and count > 0
    torch.testing.assert_close(paid[:, 3], reward.scales[0].normalise(METRICS["density"](other[:, :4], GRID)))
    reward(other, GRID)
    assert reward.scales[0].mean < mean


def test_a_style_is_nearest_to_its_own_performances(tmp_path):
    random = np.random.default_rng(0)
    folders = {}
    for name, share in (("sparse", 0.1), ("dense", 0.6)):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        for number in range(6):
            np.savez(folders[name] / f"{number}.npz", sequence=(random.random((64, 2)) < share).astype(np.uint8))
    reward = Reward(style_terms(folders["dense"], GRID, ("avg_hits", "co_occurrence")))
    assert sum(term.weight for term in reward.terms) == pytest.approx(1)
    worth = {
        name: reward(torch.from_numpy((random.random((16, 64, 2)) < share).astype(np.uint8)), GRID).sum().item()
        for name, share in (("sparse", 0.1), ("dense", 0.6))
    }
    assert worth["dense"] > worth["sparse"]


def test_a_reward_from_yaml_is_the_one_made_in_python(tmp_path):
    path = tmp_path / "busier.yaml"
    path.write_text(
        "normalise: false\nterms:\n"
        "  - {metric: density, level: bar, target: 0.12, scale: 0.02}\n"
        "  - {metric: lhl, level: bar, want: more, weight: 0.5, undefined: -1, options: {voices: [0]}}\n"
        "  - {metric: ioi_entropy, level: phrase, band: [1, 2]}\n"
    )
    expected = Reward(
        [
            Term("density", "bar", target=0.12, scale=0.02),
            Term("lhl", "bar", want="more", weight=0.5, undefined=-1, options={"voices": [0]}),
            Term("ioi_entropy", "phrase", band=(1, 2)),
        ]
    )
    assert load_reward(path).terms == expected.terms
    np.savez(tmp_path / "a.npz", sequence=np.ones((64, 2), np.uint8))
    style = load_reward({"style": {"folder": tmp_path, "metrics": ["avg_hits"], "level": "bar"}})
    assert style.terms[0].target == 2


def test_a_term_of_some_voices_ignores_the_others():
    kit = load_kit("gm10")
    (term,) = load_reward(
        {"terms": [{"metric": "avg_hits", "want": "more", "voices": ["snare", "kick"]}]}, kit=kit
    ).terms
    assert term.voices == (1, 0)
    played = torch.zeros(1, 16, 10)
    played[:, :4, 0] = played[:, :, 5] = 1
    assert term.values(played, Grid()).item() == pytest.approx(4 / 16)
    (one,) = load_reward({"terms": [{"metric": "avg_hits", "want": "more", "voices": "kick"}]}, kit=kit).terms
    assert one.voices == (0,)
    with pytest.raises(HypermeterError, match="no voice 'hat' in kit gm10"):
        load_reward({"terms": [{"metric": "avg_hits", "want": "more", "voices": "hat"}]}, kit=kit)
    with pytest.raises(HypermeterError, match="of voice 9, there are 2"):
        Term("avg_hits", want="more", voices=(9,)).values(torch.zeros(1, 16, 2), Grid())


def test_voices_in_the_options_of_a_metric_are_columns_of_the_kit():
    kit = load_kit("gm10")
    record = {"metric": "lhl", "want": "more", "options": {"voices": [0, 1]}}
    for kit_given in (kit, None):
        (term,) = load_reward({"terms": [record]}, kit=kit_given).terms
        assert term.options == {"voices": [0, 1]}
    with pytest.raises(HypermeterError, match="reward: lhl: voices are .0, 10., expected columns from 0 to 9"):
        load_reward({"terms": [record | {"options": {"voices": [0, 10]}}]}, kit=kit)


@pytest.mark.parametrize("name", ["gm10", "magenta9"])
def test_a_metric_of_streams_has_those_of_the_kit(name, tmp_path):
    kit = load_kit(name)
    piece = (torch.rand(1, 32, kit.num_voices, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    (term,) = load_reward({"terms": [{"metric": "witek", "level": "piece", "want": "more"}]}, kit=kit).terms
    expected = METRICS["witek"](piece[0], Grid(), streams=kit.streams)
    assert term.values(piece, Grid()).item() == expected
    options = {"streams": [[0], [1], [2]], "variant": "paper"}
    (term,) = load_reward({"terms": [{"metric": "witek", "want": "more", "options": options}]}, kit=kit).terms
    assert term.options == options
    meta = np.array(json.dumps({"kit": name}))
    np.savez(tmp_path / "a.npz", sequence=piece[0].numpy().astype(np.uint8), meta=meta)
    random = np.random.default_rng(1).random((64, kit.num_voices)) < 0.3
    np.savez(tmp_path / "b.npz", sequence=random.astype(np.uint8), meta=meta)
    (style,) = load_reward({"style": {"folder": tmp_path, "metrics": ["witek"], "level": "bar"}}, kit=kit).terms
    assert style.options == {"streams": kit.streams}


def test_a_column_that_the_kit_does_not_have_is_refused_when_the_reward_is_read():
    record = {"terms": [{"metric": "avg_hits", "want": "more", "voices": 12}]}
    with pytest.raises(HypermeterError, match="reward: avg_hits of voice 12, there are 10"):
        load_reward(record, kit=load_kit("gm10"))
    assert load_reward(record).terms[0].voices == (12,)  # nobody knows how many voices there are


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path):
    (tmp_path / "reward.yaml").write_text("terms: [{metric: density, target: 1e-1, scale: 2e-2}]")
    (term,) = load_reward(tmp_path / "reward.yaml").terms
    assert (term.target, term.scale) == (0.1, 0.02)


def test_a_custom_metric_is_a_reward_at_once():
    METRICS["crowded"] = lambda hits, grid: (hits.sum(-1) > 1).float().mean(-1)
    try:
        reward = Reward([Term("crowded", want="more", weight=2)])
        assert reward(hits(2, 2, 0, 0), GRID)[0].tolist() == [0, 0, 0, 1]
        silent = Reward([Term("crowded", want="more", weight=0)])
        assert silent(hits(2, 2, 0, 0), GRID).sum() == 0
    finally:
        del METRICS["crowded"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "expected lines as terms"),
        ({}, "expected lines as terms"),
        ({"terms": []}, "no terms"),
        ({"terms": [{"metric": "swing"}]}, "swing: no such metric"),
        ({"terms": [{"metric": "density"}]}, "just one of target, band and want"),
        ({"terms": [{"metric": "density", "target": 1, "want": "more"}]}, "just one of target, band and want"),
        ({"terms": [{"metric": "density", "want": "most"}]}, "expected more or less"),
        ({"terms": [{"metric": "density", "want": "more", "level": "song"}]}, "level is 'song'"),
        ({"terms": [{"metric": "density", "band": [2, 1]}]}, "expected \\(low, high\\)"),
        ({"terms": [{"metric": "density", "want": "more", "scale": 0}]}, "scale is 0"),
        ({"terms": [{"metric": "density", "band": ["low", "high"]}]}, "expected \\(low, high\\)"),
        ({"terms": [{"metric": "density", "band": [[1, 2], [2, 3]]}]}, "expected \\(low, high\\)"),
        ({"terms": [{"metric": "density", "want": "more", "options": [1]}]}, "expected keywords"),
        ({"terms": [{"metric": "density", "want": "more", "options": {"foo": 1}}]}, "does not take these options"),
        ({"terms": [{"metric": "density", "want": "more"}], "normalise": "no"}, "expected true or false"),
        ({"terms": [{"metric": "density", "want": "more", "voices": "kick"}]}, "without a kit"),
        ({"terms": [{"metric": "density", "want": "more", "voices": []}]}, "one or more columns"),
        ({"terms": [{"metric": "density", "target": "much"}]}, "target is 'much', expected a number"),
        ({"terms": [{"metric": "density", "want": "more", "weight": None}]}, "weight is None, expected a number"),
        ({"terms": [{"metric": "density", "target": math.nan}]}, "expected a finite number"),
        ({"terms": [{"metric": "density", "wants": "more"}]}, "unknown field 'wants'"),
        ({"terms": [{"want": "more"}]}, "does not fit"),
        ({"terms": ["density"]}, "term 'density', expected fields"),
        ({"term": []}, "no terms"),
        ({"terms": [], "other": 1}, "unknown field 'other'"),
        ({"style": {"level": "bar"}}, "does not fit"),
    ],
)
def test_another_record_than_a_reward_is_refused_in_one_line(record, message, tmp_path):
    (tmp_path / "reward.yaml").write_text(yaml.safe_dump(record))
    with pytest.raises(HypermeterError, match=message) as caught:
        load_reward(tmp_path / "reward.yaml")
    assert len(str(caught.value).splitlines()) == 1


def test_files_that_cannot_be_read_and_metrics_of_many_numbers_are_refused(tmp_path):
    with pytest.raises(HypermeterError, match="cannot be read"):
        load_reward(tmp_path / "nothing.yaml")
    (tmp_path / "bad.yaml").write_text("terms: [")
    with pytest.raises(HypermeterError, match="not YAML"):
        load_reward(tmp_path / "bad.yaml")
    with pytest.raises(HypermeterError, match="more than one number"):
        Reward([Term("drum_density", want="more")])(torch.zeros(1, 8, 2), GRID)
    with pytest.raises(HypermeterError, match="no .npz in it"):
        style_terms(tmp_path, GRID)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"kit": "gm10"}, {"kit": "magenta9"}, "b.npz: kit magenta9, expected kit gm10"),
        ({"kit": "gm10"}, {"kit": "gm10", "grid": Grid(3).to_dict()}, r"b.npz: Grid\(steps_per_beat=3"),
        ({"grid": Grid(3).to_dict()}, {"grid": Grid(3).to_dict()}, r"Grid\(steps_per_beat=3.*, expected Grid\(steps_p"),
    ],
)
def test_a_style_is_of_one_kit_and_on_the_grid_of_the_reward(tmp_path, first, second, message):
    for name, meta in (("a", first), ("b", second)):
        sequence = np.ones((64, 10), np.uint8)
        np.savez(tmp_path / f"{name}.npz", sequence=sequence, meta=np.array(json.dumps(meta)))
    with pytest.raises(HypermeterError, match=message):
        style_terms(tmp_path, Grid())


def test_a_style_of_another_kit_than_the_model_s_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", sequence=np.ones((64, 9), np.uint8), meta=np.array(json.dumps({"kit": "magenta9"})))
    with pytest.raises(HypermeterError, match="kit magenta9, expected kit gm10"):
        load_reward({"style": {"folder": str(tmp_path)}}, Grid(), load_kit("gm10"))


def test_a_file_that_is_not_a_reward_is_named(tmp_path):
    (tmp_path / "numbers.yaml").write_text("terms: [{metric: density, want: both}]")
    with pytest.raises(HypermeterError, match=r"numbers\.yaml: .*want"):
        load_reward(tmp_path / "numbers.yaml")
