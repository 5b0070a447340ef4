"""One model in many metres: places, likelihood and playing on any grid, and a metre that changes at a bar line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hypermeter.cli import main, material
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid, GridChoice
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.parts import Parts
from hypermeter.io.ascii import ascii_grid, read_ascii
from hypermeter.io.grooves import read_grooves
from hypermeter.io.midi import read_midi, read_midi_pieces, to_midi_bytes, write_midi
from hypermeter.io.midi.read import parse_midi
from hypermeter.io.notation import read_text, read_text_parts
from hypermeter.learn.dataset import CompleteHierarchicalDrumDataset, Corpus, mixed_batches, shares_of
from hypermeter.learn.evaluate.likelihood import performance_bits
from hypermeter.learn.prepare import prepare
from hypermeter.model.hierarchical import HierarchicalDrumModel, load
from hypermeter.model.plan import make_plan
from hypermeter.play.compose import continue_groove, replace_bars, vary_groove
from hypermeter.play.humanize import humanize
from hypermeter.play.loading import load_player
from hypermeter.play.metres import (
    MetrePart,
    continue_in_metres,
    parse_metres,
    replace_bars_in_metres,
    vary_in_metres,
)
from hypermeter.play.network import MAX_GRIDS
from hypermeter.play.places import nearest_steps, place_features, regridding
from hypermeter.play.plan import plan_bars
from hypermeter.play.request import InfillOptions, PlanOptions, SamplingOptions
from hypermeter.share.serve.limits import Limits
from hypermeter.share.serve.messages import ContinueRequest, GenerateRequest, GridMessage, from_groove, on_grid
from hypermeter.share.serve.playing import play_request

COMMON = Grid()
SEVEN, TWELVE, TRIPLETS, WALTZ = (
    Grid.of_metre("7/8", 2),
    Grid.of_metre("12/8", 2),
    Grid.of_metre("4/4", 3),
    Grid.of_metre("3/4", 4),
)
GRIDS = [SEVEN, TWELVE, TRIPLETS, WALTZ, Grid.of_metre("5/4", 4, bars_per_phrase=2)]
LABELS = {"section": ["verse"], "style": ["rock"], "fill": ["beat", "fill"]}
ENCODERS = [{}, {"use_transformer": True}, {"cell": "lstm"}]
DIM = 8


def make(seed=0, num_drums=4, **options):
    torch.manual_seed(seed)
    settings = {"num_components": 3, "labels": LABELS, "use_expression": True}
    return HierarchicalDrumModel(num_drums, DIM, DIM, DIM, **(settings | options)).eval()


def some_hits(grid, bars, rows=2, seed=1, extra=0):
    random = torch.Generator().manual_seed(seed)
    return (torch.rand(rows, bars * grid.steps_per_bar + extra, 4, generator=random) < 0.3).float()


# ---------------------------------------------------------------------- places


@pytest.mark.parametrize("grid", [COMMON, *GRIDS])
def test_no_two_places_of_a_phrase_are_alike(grid):
    features = place_features(grid)
    assert features.shape[0] == grid.steps_per_phrase and abs(features).max() <= 1
    assert len(np.unique(features.round(4), axis=0)) == grid.steps_per_phrase


def test_the_beats_of_two_metres_have_places_in_common():
    waltz, common = place_features(WALTZ), place_features(COMMON)
    first = [waltz[:12, column] @ common[:12, column] for column in range(waltz.shape[1])]
    same = (waltz[:12] == common[:12]).all(0)
    assert same.mean() > 0.3 and np.isfinite(first).all()


def test_a_step_is_nearest_to_the_one_at_its_time_and_a_longer_bar_begins_again():
    assert nearest_steps(COMMON, TRIPLETS).tolist() == [0, 1, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15]
    assert nearest_steps(WALTZ, COMMON).tolist() == [*range(12), *range(4)]
    assert nearest_steps(COMMON, WALTZ).tolist() == list(range(12))


def test_hits_go_to_the_nearest_step_and_none_of_a_bar_as_long_is_lost():
    to_triplets = regridding(COMMON, TRIPLETS)
    assert (to_triplets.sum(0) == 1).all()
    assert to_triplets[:, 4].argmax() == 3 and to_triplets[:, 8].argmax() == 6
    assert regridding(COMMON, WALTZ)[:, 12:].sum() == 0
    assert (regridding(WALTZ, COMMON).sum(1) == 1).all()
    assert (regridding(COMMON, COMMON) == np.eye(16)).all()


# ---------------------------------------------------------------------- a model on another grid


@pytest.mark.parametrize("options", ENCODERS)
@pytest.mark.parametrize("grid", GRIDS)
def test_step_equals_forward_on_every_grid(grid, options):
    model = make(**options).on(grid)
    hits = some_hits(grid, 5, extra=3)
    plan = make_plan(LABELS, 6, style="rock", density=[0.3, 0.3, 0.1, 0.2, 0.1, 0.1])
    with torch.no_grad():
        for given in (None, plan):
            state, played = model.init_state(2, given), []
            for x in hits.unbind(1):
                played.append(model.predict(state).log_prob(x))
                state = model.advance(x, state)
            whole = model.log_prob(hits, plan=given)
            torch.testing.assert_close(torch.stack(played, 1), whole, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(model.log_prob(hits[:, :40], plan=given), whole[:, :40], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grid", GRIDS)
def test_no_prediction_depends_on_what_comes_later_on_any_grid(grid):
    model, hits = make().on(grid), some_hits(grid, 3, rows=1).requires_grad_()
    size = grid.steps_per_bar
    for step in (1, size - 1, size, size + 1, 2 * size):
        prediction = model(hits)
        dist = prediction.step_dist[:, step]
        (gradient,) = torch.autograd.grad(dist.logits.sum() + dist.log_weights.square().sum(), hits)
        assert (gradient[:, step:] == 0).all() and (gradient[:, :step] != 0).any()
    (gradient,) = torch.autograd.grad(model(hits).bar_logits[:, 0].sum(), hits)
    assert (gradient[:, size:] == 0).all()


@pytest.mark.parametrize("options", ENCODERS)
@pytest.mark.parametrize("grid", GRIDS)
def test_the_engine_plays_a_model_on_another_grid(grid, options):
    model, hits = make(**options), some_hits(grid, 3)
    with torch.no_grad():
        expected = model.on(grid).log_prob(hits).numpy()
    player = model.player().on(grid)
    assert player.grid == grid and player.on(COMMON).grid == COMMON
    np.testing.assert_allclose(player.log_prob(hits.numpy()), expected, atol=1e-4)


def test_a_model_on_another_grid_has_the_same_weights_and_leaves_the_model_as_it_is():
    model = make()
    seven = model.on(SEVEN)
    assert model.grid == COMMON and seven.grid == SEVEN and seven.on(COMMON).grid == COMMON
    assert all(one is other for one, other in zip(model.parameters(), seven.parameters(), strict=True))
    before = model.mix.weight.detach().clone()
    seven.log_prob(some_hits(SEVEN, 2)).sum().backward()
    with torch.no_grad():
        seven.mix.weight -= 0.1 * model.mix.weight.grad
    assert not torch.equal(model.mix.weight, before)
    assert seven.is_stock and model.on(COMMON) is model


def test_ever_other_grids_take_no_more_memory():
    network = make().player().network
    for beats in range(2, 2 + 3 * MAX_GRIDS):
        network = network.on(Grid(4, beats))
        assert network.grid == Grid(4, beats) and len(network._on) <= MAX_GRIDS


def test_a_request_plays_in_its_metre_within_bounds(checkpoint):
    player = load_player(checkpoint)
    seven = GridMessage(steps_per_beat=2, beats_per_bar=7, beat_unit=8)
    assert on_grid(player, None, seven).grid == SEVEN and on_grid(player, None).grid == COMMON
    with pytest.raises(HypermeterError, match="grid: 128 steps a bar, expected at most 96"):
        on_grid(player, GridMessage(steps_per_beat=32))
    groove = continue_groove(player, groove_in(SEVEN), 1)
    request = ContinueRequest(groove=from_groove(groove).model_dump(), bars=1)
    assert play_request(player, request, Limits()).grid == SEVEN
    assert play_request(player, GenerateRequest(bars=1, grid=seven), Limits()).grid == SEVEN


def test_a_table_of_places_serves_one_grid_only(tmp_path):
    model = make(parts=Parts(place_table=True))
    for put in (model.on, model.player().on):
        with pytest.raises(HypermeterError, match="a table of one grid, which does not serve 7/8 at 2 steps a beat"):
            put(SEVEN)
    with pytest.raises(HypermeterError, match="a bar of 3 steps, expected at least 4"):
        make().on(Grid.of_metre("3/4", 1))


def test_a_checkpoint_keeps_the_grids_that_were_learnt(tmp_path):
    model = make()
    model.config["grids"] = [COMMON.to_dict(), SEVEN.to_dict()]
    model.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.grids == (COMMON, SEVEN) == again.player().network.grids
    hits = some_hits(SEVEN, 2)
    with torch.no_grad():
        torch.testing.assert_close(again.on(SEVEN).log_prob(hits), model.on(SEVEN).log_prob(hits))


# ---------------------------------------------------------------------- a metre that changes


PASSAGES = [(COMMON, 5), (SEVEN, 6), (TRIPLETS, 2), (WALTZ, 5), (COMMON, 2)]


def play_torch(model, passages):
    """Return the log probabilities of passages, one after another, and the state after each."""
    state, rows = model.on(passages[0][0]).init_state(2), []
    for number, (grid, hits) in enumerate(passages):
        here = model.on(grid)
        for step, x in enumerate(hits.unbind(1)):
            rows.append(here.predict(state).log_prob(x))
            is_last = step + 1 == hits.shape[1] and number + 1 < len(passages)
            state = here.advance(x, state, then=model.on(passages[number + 1][0]) if is_last else None)
    return torch.stack(rows, 1)


def passages_of(seed=0):
    return [(grid, some_hits(grid, bars, seed=seed + number)) for number, (grid, bars) in enumerate(PASSAGES)]


@pytest.mark.parametrize("options", ENCODERS)
def test_the_engine_changes_the_metre_as_the_model_does(options):
    model, passages = make(**options), passages_of()
    with torch.no_grad():
        expected = play_torch(model, passages).numpy()
    network = model.player().network
    state, rows = network.start(2), []
    for number, (grid, hits) in enumerate(passages):
        here = network.on(grid)
        for step, x in enumerate(hits.numpy().swapaxes(0, 1)):
            rows.append(state.dist.log_prob(x))
            is_last = step + 1 == hits.shape[1] and number + 1 < len(passages)
            state = here.advance(x, state, network.on(passages[number + 1][0]) if is_last else None)
    np.testing.assert_allclose(np.stack(rows, 1), expected, atol=2e-4)
    total = sum(hits.shape[1] for _, hits in passages)
    assert state.position + state.skipped == total and state.position == sum(bars for _, bars in PASSAGES) * 16


def test_what_is_played_after_a_change_depends_on_all_before_and_on_nothing_later():
    model = make()
    passages = [(grid, hits.requires_grad_()) for grid, hits in passages_of()[:3]]
    first = passages[0][1].shape[1]
    for step in (first, first + 5):
        log_probs = play_torch(model, passages)
        gradients = torch.autograd.grad(log_probs[:, step].sum(), [hits for _, hits in passages], allow_unused=True)
        assert (gradients[0] != 0).any(1).any(1).all()
        assert (gradients[1][:, step - first + 1 :] == 0).all()
        assert gradients[2] is None or (gradients[2] == 0).all()


def test_a_change_to_the_same_grid_changes_nothing():
    model, hits = make(), some_hits(COMMON, 3)
    with torch.no_grad():
        torch.testing.assert_close(
            play_torch(model, [(COMMON, hits[:, :16]), (COMMON, hits[:, 16:])]), model.log_prob(hits)
        )


def test_a_metre_changes_at_a_bar_line_only():
    model, x = make(), torch.zeros(2, 4)
    state = model.init_state(2)
    with pytest.raises(HypermeterError, match="within a bar"):
        model.advance(x, state, then=model.on(SEVEN))
    network = model.player().network
    with pytest.raises(HypermeterError, match="after step 1, which ends no bar"):
        network.advance(x.numpy(), network.start(2), network.on(SEVEN))


def test_rows_begin_again_in_the_new_metre():
    model = make()
    seven = model.on(SEVEN)
    with torch.no_grad():
        state = model.init_state(2)
        for step, x in enumerate(some_hits(COMMON, 1).unbind(1)):
            state = model.advance(x, state, then=seven if step == 15 else None)
        again = state.reset(torch.tensor([True, False]))
        fresh, hits = seven.init_state(1), some_hits(SEVEN, 1)
        for x in hits.unbind(1):
            torch.testing.assert_close(seven.predict(again).log_prob(x)[:1], seven.predict(fresh).log_prob(x[:1]))
            again, fresh = seven.advance(x, again), seven.advance(x[:1], fresh)


# ---------------------------------------------------------------------- choices of grids, and batches of several


def test_a_choice_of_grids_takes_the_metre_and_the_steps_that_fit():
    every = GridChoice()
    assert every.grid("6/8") == Grid.of_metre("6/8", 2) and every.grid("4/4", 3) == TRIPLETS
    assert every.grid("7/8", 3) == SEVEN  # three in a quarter do not divide an eighth
    assert every.grid("2/2") == Grid.of_metre("2/2", 8) and every.grid("7/16") == Grid.of_metre("7/16", 1)
    assert GridChoice.of(WALTZ).grid("4/4", 3) == WALTZ and GridChoice.of(every) is every
    with pytest.raises(HypermeterError, match="metre is 'four'"):
        GridChoice("four")


def write_metres(folder, lengths):
    for number, (grid, bars) in enumerate(lengths):
        random = np.random.default_rng(number)
        hits = (random.random((bars * grid.steps_per_bar, 4)) < 0.3).astype(np.uint8)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"{number}.npz", sequence=hits, meta=json.dumps({"grid": grid.to_dict()}))


def test_each_batch_is_of_one_metre_and_begins_anywhere(tmp_path):
    write_metres(tmp_path, [(COMMON, 40), (SEVEN, 8), (COMMON, 20), (TRIPLETS, 3)])
    corpus = Corpus(tmp_path)
    assert corpus.most_common_grid == COMMON
    parts = [corpus.on(grid) for grid in (COMMON, SEVEN, TRIPLETS)]
    assert [len(part) for part in parts] == [2, 1, 1] and len({part.digest for part in parts}) == 3
    datasets = [
        CompleteHierarchicalDrumDataset(
            part, 2 * grid.steps_per_phrase, grid.steps_per_bar, with_metrics=False, grid=grid
        )
        for grid, part in zip((COMMON, SEVEN, TRIPLETS), parts, strict=True)
    ]
    shares = shares_of(datasets)
    assert shares.sum() == pytest.approx(1) and 8 / 71 < shares[1] < 1 / 3 and 3 / 71 < shares[2] < shares[1]
    whole, later = mixed_batches(datasets, 2, seed=3), mixed_batches(datasets, 2, seed=3, first=7)
    seen = [next(whole) for _ in range(60)]
    for batch, other in zip(seen[7:], later, strict=False):
        assert batch["grid"] == other["grid"] and torch.equal(batch["step"], other["step"])
        assert batch["step"].shape[1] <= 2 * batch["grid"].steps_per_phrase
    assert {batch["grid"] for batch in seen} == {COMMON, SEVEN, TRIPLETS}


def test_performances_are_judged_each_on_its_grid():
    model = make()
    hits = [some_hits(grid, 2, rows=1)[0].numpy().astype(np.uint8) for grid in (COMMON, SEVEN, COMMON)]
    bits = performance_bits(model, hits, grids=[COMMON, SEVEN, COMMON])
    alone = performance_bits(replace_grid(model, SEVEN), hits[1:2])
    np.testing.assert_allclose(bits[1], alone[0], rtol=1e-5)
    np.testing.assert_allclose(bits[[0, 2]], performance_bits(model, [hits[0], hits[2]]), rtol=1e-5)


def replace_grid(model, grid):
    """Return a new model with a grid of its own and the weights of another."""
    other = HierarchicalDrumModel.from_config(model.config, grid, model.kit).eval()
    other.load_state_dict(model.state_dict())
    return other


def test_grids_of_equal_fields_are_one(tmp_path):
    assert make().on(replace(COMMON)).grid == COMMON


@pytest.mark.parametrize("grid", GRIDS)
def test_expression_is_streamed_as_it_is_learnt_on_every_grid(grid):
    model, hits = make().on(grid), some_hits(grid, 3)
    random = torch.Generator().manual_seed(2)
    velocity = torch.rand(hits.shape, generator=random).clamp_min(0.01)
    offset = torch.rand(hits.shape, generator=random) - 0.5
    with torch.no_grad():
        features = model(hits).features[:, :-1]
        whole = model.expression.log_prob(features, hits, velocity, offset)
        state, streamed = model.expression.init_state(2), []
        for step in range(hits.shape[1]):
            dist, state = model.expression.step(features[:, step], hits[:, step], state)
            streamed.append(dist.log_prob(hits[:, step], velocity[:, step], offset[:, step]))
            state = model.expression.advance(hits[:, step], velocity[:, step], offset[:, step], state)
    torch.testing.assert_close(torch.stack(streamed, 1), whole, atol=1e-4, rtol=1e-4)
    played = model.player().perform(hits.numpy(), 100.0, known=(velocity.numpy(), offset.numpy()))
    np.testing.assert_allclose(played[0][hits.numpy() > 0], velocity.numpy()[hits.numpy() > 0])


# ---------------------------------------------------------------------- commands and Python in any metre


@pytest.fixture
def checkpoint(tmp_path):
    model = make(kit=load_kit("magenta9"), num_drums=9)
    model.config["grids"] = [COMMON.to_dict(), SEVEN.to_dict()]
    model.save(tmp_path / "every.safetensors")
    return tmp_path / "every.safetensors"


def groove_in(grid, bars=2, seed=0):
    random = np.random.default_rng(seed)
    hits = (random.random((bars * grid.steps_per_bar, 9)) < 0.2).astype(np.uint8)
    hits[0, 0] = 1
    return Groove(hits, kit="magenta9", grid=grid)


def test_python_plays_in_the_metre_of_the_groove(checkpoint):
    player, waltz = load_player(checkpoint), groove_in(WALTZ)
    assert continue_groove(player, waltz, 2).grid == WALTZ
    assert vary_groove(player, waltz, 0.5)[0].grid == WALTZ
    assert replace_bars(player, waltz, [1])[0].bars(0, 1) == waltz.bars(0, 1)
    assert humanize(waltz, player).grid == WALTZ and continue_groove(player, None, 1).grid == COMMON


def test_a_model_of_one_metre_refuses_others(tmp_path, capsys):
    table = make(kit=load_kit("magenta9"), num_drums=9, parts=Parts(place_table=True))
    table.save(tmp_path / "table.safetensors")
    player, waltz = load_player(tmp_path / "table.safetensors"), groove_in(WALTZ)
    for play in (lambda: continue_groove(player, waltz, 2), lambda: humanize(waltz, player)):
        with pytest.raises(HypermeterError, match="in 3/4, 12 steps a bar; the model plays 4/4"):
            play()
    write_midi(waltz, tmp_path / "waltz.mid")
    (tmp_path / "song.mid").write_bytes(to_midi_bytes(song_of_three()))
    for command, name in (("generate", "waltz.mid"), ("humanize", "waltz.mid"), ("generate", "song.mid")):
        arguments = [command, tmp_path / name, "--model", tmp_path / "table.safetensors"]
        assert main([str(argument) for argument in arguments]) == 2
        assert "pass --model groove, which plays every metre" in capsys.readouterr().err


def test_parts_in_several_metres_are_one_piece(checkpoint):
    player, sampling = load_player(checkpoint), SamplingOptions(seed=3)
    parts = parse_metres("4/4:2 7/8:3, 4/4:1")
    grooves = continue_in_metres(player, parts, sampling=sampling)
    assert [(groove.grid.metre, groove.num_bars) for groove in grooves] == [("4/4", 2), ("7/8", 3), ("4/4", 1)]
    again = continue_in_metres(player, parts, sampling=sampling)
    assert again == grooves
    assert continue_in_metres(player, parts[:1], sampling=sampling) == [continue_groove(player, None, 2, sampling)]
    assert grooves[0] == continue_groove(player, None, 2, sampling)  # what comes later changes nothing
    pieces = parse_midi(to_midi_bytes(grooves), "joined", "magenta9", GridChoice(), to_end=True)[0]
    assert all(np.array_equal(piece.groove.hits, groove.hits) for piece, groove in zip(pieces, grooves, strict=True))
    primed = continue_in_metres(player, parts[1:], groove_in(WALTZ), sampling)
    assert [groove.grid.metre for groove in primed] == ["7/8", "4/4"]


def song_of_three():
    return [groove_in(COMMON, 2, 1), groove_in(SEVEN, 3, 2), groove_in(WALTZ, 2, 3)]


def test_a_song_is_varied_part_by_part(checkpoint):
    player, song, few = load_player(checkpoint), song_of_three(), InfillOptions(4)
    same, _ = vary_in_metres(player, song, 0.0, SamplingOptions(seed=1), infilling=few)
    assert [groove.hits.tolist() for groove in same] == [groove.hits.tolist() for groove in song]
    made, results = vary_in_metres(player, song, 1.0, SamplingOptions(seed=1), keep=[0, 1], infilling=few)
    assert [groove.grid for groove in made] == [COMMON, SEVEN, WALTZ] and len(results) == 3
    for before, after in zip(song, made, strict=True):
        assert np.array_equal(before.hits[:, :2], after.hits[:, :2]) and not np.array_equal(before.hits, after.hits)
    assert made == vary_in_metres(player, song, 1.0, SamplingOptions(seed=1), keep=[0, 1], infilling=few)[0]
    with pytest.raises(HypermeterError, match="no parts"):
        vary_in_metres(player, [], 0.5)


def test_a_part_is_filled_given_what_the_parts_before_it_are_then(checkpoint):
    player, few = load_player(checkpoint), InfillOptions(2)
    first, second = [groove_in(COMMON, 2, 1), groove_in(COMMON, 2, 7)], groove_in(SEVEN, 4, 2)
    filled = [
        replace_bars_in_metres(player, [start, second], range(2, 6), SamplingOptions(seed=5), infilling=few)[0]
        for start in first
    ]
    assert [parts[0].hits.tolist() for parts in filled] == [start.hits.tolist() for start in first]
    assert not np.array_equal(filled[0][1].hits, filled[1][1].hits)
    evidence, tempo = [], {"grid": COMMON, "tempo_bpm": 120, "earlier_bars": 1}
    plan = plan_bars(player.labels, PlanOptions(), 6, **tempo).bars(1, 6)
    for start in first:  # the probability of the locked cells is that of the engine after the part before
        (_, whole) = replace_bars_in_metres(player, [start, second], [], SamplingOptions(seed=5), infilling=few)
        state, seven = player.start(1, plan), player.on(SEVEN)
        for step, x in enumerate(start.hits):
            state = player.advance(x[None], state, seven if step == 31 else None)
        nats = 0.0
        for x in second.hits:
            nats += state.dist.log_prob(x[None]).item()
            state = seven.advance(x[None], state)
        assert whole[1].log_evidence == pytest.approx(nats, rel=1e-4)
        evidence.append(nats)
    assert evidence[0] != evidence[1]


def test_bars_are_replaced_wherever_they_are_in_a_song(checkpoint):
    player, song, few = load_player(checkpoint), song_of_three(), InfillOptions(4)
    made, _ = replace_bars_in_metres(player, song, [1, 4], SamplingOptions(seed=2), keep=[0], infilling=few)
    for number, (before, after) in enumerate(zip(song, made, strict=True)):
        changed = [bar for bar in range(before.num_bars) if before.bars(bar, bar + 1) != after.bars(bar, bar + 1)]
        assert changed == {0: [1], 1: [2], 2: []}[number]
        assert np.array_equal(before.hits[:, 0], after.hits[:, 0])
    with pytest.raises(HypermeterError, match="bars: 7, expected bars from 0 to 6"):
        replace_bars_in_metres(player, song, [7])


def test_a_song_that_changes_its_metre_goes_on(checkpoint):
    player, sampling = load_player(checkpoint), SamplingOptions(seed=3)
    parts = parse_metres("4/4:2 7/8:3")
    whole = continue_in_metres(player, [*parts, MetrePart(SEVEN, 2)], sampling=sampling)
    songs = [[groove_in(COMMON, 2, seed), groove_in(SEVEN, 2, 4)] for seed in (1, 2)]
    played = [continue_in_metres(player, [MetrePart(SEVEN, 2)], song, sampling)[0] for song in songs]
    assert played[0].grid == SEVEN and not np.array_equal(played[0].hits, played[1].hits)
    assert len(whole) == 3


@pytest.mark.parametrize("text", ["", "4/4", "4/4:0", "4/4:2 7/8", "4:2", "4/4:x"])
def test_a_text_that_names_no_parts_is_refused(text):
    with pytest.raises(HypermeterError, match="metre is"):
        parse_metres(text)


def run(*arguments):
    return main(["generate", *map(str, arguments)])


def test_generate_plays_in_a_metre_that_is_named_or_that_of_the_primer(checkpoint, tmp_path, capsys):
    out = tmp_path / "new.mid"
    run("--model", checkpoint, "--metre", "7/8", "--bars", 2, "--out", out, "--no-picture")
    assert read_midi(out, "magenta9", SEVEN).num_bars == 2 and "not learnt" not in capsys.readouterr().out
    run("--model", checkpoint, "--grid", "triplets", "--bars", 2, "--out", out, "--no-picture")
    assert "4/4, 3 steps a beat" in (said := capsys.readouterr().out)
    assert "4/4 at 3 steps a beat was not learnt; it knows 4/4, 7/8" in said
    write_midi(groove_in(SEVEN), tmp_path / "primer.mid")
    run(tmp_path / "primer.mid", "--model", checkpoint, "--bars", 1, "--out", out, "--no-picture")
    assert read_midi(out, "magenta9", SEVEN).num_bars == 3
    run(tmp_path / "primer.mid", "--model", checkpoint, "--metre", "4/4:1 3/4:2", "--out", out)
    pieces = read_midi_pieces(out, "magenta9", GridChoice())
    assert [(piece.groove.grid.metre, piece.groove.num_bars) for piece in pieces][:1] == [("7/8", 2)]
    assert {path.name for path in tmp_path.glob("new_*.svg")} == {"new_1.svg", "new_2.svg", "new_3.svg"}


def test_a_change_of_metre_is_written_as_text_and_read_back(checkpoint, tmp_path, capsys):
    out = tmp_path / "new.txt"
    assert run("--model", checkpoint, "--metre", "4/4:1 7/8:2", "--out", out, "--no-picture") == 0
    shown = capsys.readouterr().out
    written = read_text_parts(out, "magenta9")
    assert [(groove.grid, groove.num_bars) for groove in written] == [(COMMON, 1), (SEVEN, 2)]
    assert all(ascii_grid(groove) in shown for groove in written)
    assert [groove for _, groove, _ in read_grooves(out, "magenta9")] == written
    assert main(["render", str(out), str(tmp_path / "new.wav")]) == 0
    with pytest.raises(HypermeterError, match="120 bpm in 4/4, then 120 bpm in 7/8"):
        read_text(out, "magenta9")
    with pytest.raises(HypermeterError, match="another tempo or metre"):
        read_ascii(out.read_text(), "magenta9")


def test_a_primer_is_read_once_for_its_grid_and_its_music(checkpoint, tmp_path, monkeypatch):
    write_midi(groove_in(SEVEN), tmp_path / "primer.mid")
    (tmp_path / "primer.txt").write_text(ascii_grid(groove_in(WALTZ)))
    read, read_midi_once, read_text_once = [], material.read_midi_report, material.read_text
    monkeypatch.setattr(material, "read_midi_report", lambda *a, **b: read.append(a[0]) or read_midi_once(*a, **b))
    monkeypatch.setattr(material, "read_text", lambda *a, **b: read.append(a[0]) or read_text_once(*a, **b))
    for name, grid in (("primer.mid", SEVEN), ("primer.txt", WALTZ)):
        out = tmp_path / "new.mid"
        assert run(tmp_path / name, "--model", checkpoint, "--bars", 1, "--out", out, "--no-picture") == 0
        assert read_midi(out, "magenta9", grid).num_bars == 3
    assert read == [tmp_path / "primer.mid", tmp_path / "primer.txt"]


def test_generate_continues_varies_and_replaces_in_a_song_that_changes_its_metre(checkpoint, tmp_path, capsys):
    song, out = tmp_path / "song.mid", tmp_path / "new.mid"
    song.write_bytes(to_midi_bytes(song_of_three()))
    given = [song, "--model", checkpoint, "--out", out, "--no-picture"]
    for options, bars in (
        (["--bars", 2], [2, 3, 2, 2]),
        (["--vary", 0.5, "--particles", 4], [2, 3, 2]),
        (["--replace", "2", "6-7", "--particles", 4, "--keep", "kick"], [2, 3, 2]),
        (["--metre", "4/4:1 7/8:1"], [2, 3, 2, 1, 1]),
    ):
        assert run(*given, *options) == 0, capsys.readouterr().err
        pieces = read_midi_pieces(out, "magenta9", GridChoice())
        assert sum(piece.groove.num_bars for piece in pieces) == sum(bars)
        assert capsys.readouterr().out.count("tempo 120, metre") == len(bars)
    for options, reason in (
        (["--lock", song], "--lock beside a primer that changes its metre"),
        (["--seconds", 9], "--seconds beside a primer that changes its metre"),
        (["--grid", "triplets"], "--grid beside a primer that changes its metre"),
        (["--replace", "8"], "expected bars from 1 to 7"),
        (["--metre", "3/4"], "metre changes from 4/4 to 7/8 at bar 3"),
    ):
        assert run(*given, *options) == 2 and reason in capsys.readouterr().err
    (tmp_path / "song.txt").write_text("\n".join(map(ascii_grid, song_of_three())))
    assert run(tmp_path / "song.txt", *given[1:], "--vary", 0.2) == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--metre", "seven"], "metre is 'seven'"),
        (["--metre", "7/8", "--grid", "triplets"], "--grid triplets in 7/8: its beats have no such steps"),
        (["--metre", "4/4:2 7/8:2", "--bars", "4"], "--bars beside parts in several metres"),
        (["--metre", "4/4:2 7/8:2", "--out", "new.tidal"], "code is in one metre"),
        (["--metre", "6/8", "--model", "table"], "a table of one grid, which does not serve 6/8"),
    ],
)
def test_a_metre_that_cannot_be_played_is_told_in_a_line(checkpoint, tmp_path, monkeypatch, capsys, arguments, reason):
    monkeypatch.chdir(tmp_path)
    make(kit=load_kit("magenta9"), num_drums=9, parts=Parts(place_table=True)).save(tmp_path / "table.safetensors")
    model = [] if "--model" in arguments else ["--model", checkpoint]
    given = ["table.safetensors" if word == "table" else word for word in arguments]
    assert run(*model, *given) == 2 and reason in capsys.readouterr().err


def test_each_file_is_prepared_in_its_metre_on_the_steps_that_fit(tmp_path):
    for name, grid in (("common", COMMON), ("seven", SEVEN), ("shuffle", TRIPLETS), ("waltz", WALTZ)):
        write_midi(shuffled(grid), tmp_path / "midi" / f"{name}.mid")
    manifest = prepare(
        tmp_path / "midi", tmp_path / "npz", "magenta9", steps_per_beat="auto", metre="all", workers=1, quiet=True
    )
    found = {Path(record["source"]).stem: record["grids"] for record in manifest["files"]}
    assert found == {"common": ["4/4 4"], "seven": ["7/8 2"], "shuffle": ["4/4 3"], "waltz": ["3/4 4"]}
    grids = {grid for split in (tmp_path / "npz").iterdir() if split.is_dir() for grid in grids_of(split)}
    assert grids == {COMMON, SEVEN, TRIPLETS, WALTZ}
    again = prepare(
        tmp_path / "midi", tmp_path / "npz", "magenta9", steps_per_beat="auto", metre="all", workers=1, quiet=True
    )
    assert dict(again) == dict(manifest)


def grids_of(split):
    return Corpus(split).grids if any(split.glob("*.npz")) else ()


def shuffled(grid):
    """Return a groove with hits on all steps of the beats, so that its grid is clear."""
    hits = np.zeros((8 * grid.steps_per_bar, 9), np.uint8)
    hits[:, 2] = 1
    hits[:: grid.steps_per_beat, 0] = 1
    return Groove(hits, kit="magenta9", grid=grid)
