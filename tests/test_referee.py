"""The scripts by which systems are judged: likelihood, humanization, listening, keeping the beat, following plans."""

import importlib.util
import json
import math
import re
import sys
import wave
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from hypermeter import HierarchicalDrumModel, load_player
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import load_kit
from hypermeter.io.ascii import read_ascii
from hypermeter.io.midi import write_midi
from hypermeter.learn.evaluate import evaluate_bits
from hypermeter.music.beat_keeping import roles_of
from hypermeter.play.plan import LETTERS
from hypermeter.share.sound.level import LOUDNESS_LUFS, loudness_of

QUALITY = Path(__file__).parents[1] / "benchmarks" / "quality"


def script(name):
    sys.path.insert(0, str(QUALITY))  # the scripts import each other
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", QUALITY / f"{name}.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


names = ("referee", "humanization", "listening", "beat_keeping", "steering")
referee, humanization, listening, beat_keeping, steering = map(script, names)


# ---------------------------------------------------------------------- likelihood of foreign systems

COIN = "import numpy as np\ndef bits(hits): return np.full(len(hits), float(hits.shape[1]))\n"


@pytest.fixture
def data(tmp_path):
    random = np.random.default_rng(0)
    for split, lengths in (("train", (20, 30)), ("validation", (24, 33))):
        (tmp_path / split).mkdir()
        for number, steps in enumerate(lengths):
            np.savez(tmp_path / split / f"{number}.npz", sequence=(random.random((steps, 3)) < 0.3).astype(np.uint8))
    return tmp_path


def judged(text, data, **options):
    (data / "system.py").write_text(text)
    referee.main(data / "system.py", data / "validation", data / "theirs.csv", **options)
    return evaluate_bits(data / "theirs.csv", data / "validation")["all"]


def test_a_coin_for_each_voice_costs_a_bit_a_voice(data, capsys):
    assert judged(COIN, data)["bits_per_step"] == pytest.approx(3)
    assert "3.000 bits per step" in capsys.readouterr().out


def test_probabilities_of_the_next_step_give_its_bits(data):
    text = "def next_step(past): return [0.5, 0.25, 0.25] if len(past) % 2 else [0.5] * 3"
    hits = [np.load(data / "validation" / f"{number}.npz")["sequence"] for number in range(2)]
    expected = 0.0
    for performance in hits:
        for step, x in enumerate(performance):
            shares = np.array([0.5, 0.25, 0.25] if step % 2 else [0.5] * 3)
            expected -= np.log2(np.where(x, shares, 1 - shares)).sum()
    assert judged(text, data)["bits_per_step"] == pytest.approx(expected / 57)


def test_drawn_steps_are_counted():
    drawn = np.array([[1, 0]] * 3 + [[0, 0]])
    # four draws: [1, 0] three times; shares (3.5 / 5, .5 / 5)
    expected = -math.log2((3 + 0.7 * 0.9) / 5)
    assert referee.bits_of_step(np.array([1, 0]), drawn, "here") == pytest.approx(expected)
    every = [referee.bits_of_step(np.array(x), drawn, "here") for x in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert sum(2**-bits for bits in every) == pytest.approx(1)


def test_a_system_learns_from_the_performances_beside(data):
    text = """
import numpy as np
def fit(sequences):
    global shares
    hits = np.concatenate(sequences)
    shares = hits.mean(0)
def next_step(past): return shares
"""
    train = np.concatenate([np.load(path)["sequence"] for path in (data / "train").glob("*.npz")])
    held_out = np.concatenate([np.load(path)["sequence"] for path in (data / "validation").glob("*.npz")])
    expected = -np.log2(np.where(held_out, train.mean(0), 1 - train.mean(0))).sum() / len(held_out)
    assert judged(text, data)["bits_per_step"] == pytest.approx(expected)


def test_our_own_model_passes_as_a_foreign_system(tmp_path):
    (tmp_path / "validation").mkdir()
    beat = read_ascii("kick |x...x...x...x...|\nsnare |....x.......x...|\nclosed_hat |x.x.x.x.x.x.x.x.|").hits
    np.savez(tmp_path / "validation" / "beat.npz", sequence=np.tile(beat, (2, 1)))
    text = """
import numpy as np
from hypermeter import load_player
player = load_player("groove")
def bits(hits): return -player.log_prob(hits) / np.log(2)
"""
    (tmp_path / "system.py").write_text(text)
    module = referee.load_system(tmp_path / "system.py")
    hits = [np.tile(beat, (2, 1))]
    bits = referee.judge(module, ["beat"], hits, 1, 0)
    assert bits == pytest.approx([-load_player("groove").log_prob(hits[0]).sum() / math.log(2)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def bits(hits): return hits[::-1].cumsum(0)[::-1].sum(1)", "change by .* with other steps after it"),
        (
            "def bits(hits):\n import numpy as np\n return np.full(len(hits), 99.0 / len(hits))",
            "with no steps after it",
        ),
        ("def bits(hits):\n import numpy as np\n return np.full(len(hits), 2.0)", "have 2 in sum, expected 1"),
        ("def bits(hits): return [1.0]", r"bits of shape \(1,\), expected \((24|33),\)"),
        ("def bits(hits): return [-1.0] * len(hits)", "negative, infinite or no number"),
        ("def next_step(past): return [0.5, 0.5]", r"step 0: next_step gave shape \(2,\), expected \(3,\) prob"),
        ("def next_step(past): return [2.0] * 3", r"a probability outside of \[0, 1\]"),
        ("def next_step(past): return [0.0] * 3", "a step that was played has probability 0"),
        ("def next_step(past): return [[0.5] * 3] * 4", "drew values other than 0 and 1"),
        ("def play(): ...", "neither bits nor next_step in it"),
        ("def fit(sequences): ...\ndef next_step(past): ...", "no .*train to learn from"),
    ],
)
def test_a_system_that_is_no_fair_one_is_refused_in_one_line(text, message, data):
    if "fit" in text:
        for path in (data / "train").iterdir():
            path.unlink()
        (data / "train").rmdir()
    with pytest.raises(HypermeterError, match=message) as error:
        judged(text, data, checks=4)
    assert "\n" not in str(error.value)
    assert not (data / "theirs.csv").exists()


# ---------------------------------------------------------------------- humanization


def test_windows_are_whole_and_one_after_another():
    windows = humanization.windows_of(np.arange(14).reshape(7, 2), 3)
    assert windows.tolist() == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]


def test_the_divergence_of_histograms_by_hand():
    people, system = np.array([0.0, 0.0]), np.array([0.0, 0.5])
    assert humanization.divergence(people, people, 0.0) == 0
    even = 0.01 / 32
    shares = (0.99 + even, even), (0.495 + even, 0.495 + even)
    expected = shares[0][0] * math.log(shares[0][0] / shares[1][0]) + shares[0][1] * math.log(
        shares[0][1] / shares[1][1]
    )
    assert humanization.divergence(people, system, 0.0) == pytest.approx(expected)
    assert humanization.divergence(np.array([-0.5, 0.49]), np.array([0.49, -0.5]), -0.5) == 0


@pytest.fixture(scope="module")
def performance():
    """Two bars and a half, played by the model."""
    player = load_player("groove")
    bar = "kick |x...x...x...x...|\nsnare |....x.......x...|\nclosed_hat |x.x.x.x.x.x.x.x.|"
    hits = np.tile(read_ascii(bar).hits, (3, 1))[:40]
    velocity, offset = player.perform(hits[:32], 100.0, seed=3)
    rest = np.zeros((8, 10), np.float32)
    played = (np.concatenate([values, rest]) for values in (velocity, offset))
    return player, humanization.Performance(hits, *played, 100.0)


def test_after_its_own_past_the_model_plays_as_by_itself(performance):
    player, played = performance
    hits = humanization.windows_of(played.hits, 32)
    velocity, offset = humanization.after_the_drummer(player, played, hits, 3, 1.0)
    assert np.array_equal(velocity[0], played.velocity[:32]) and np.array_equal(offset[0], played.offset[:32])


def test_after_another_past_it_plays_otherwise_but_for_the_first_step(performance):
    player, played = performance
    other = humanization.Performance(played.hits, np.where(played.hits, 0.1, 0), played.offset, 100.0)
    velocity, _ = humanization.after_the_drummer(player, other, humanization.windows_of(played.hits, 32), 3, 1.0)
    assert np.array_equal(velocity[0, 0], played.velocity[0])
    assert velocity[0, 1:].sum() < 0.8 * played.velocity[1:32].sum()


def test_errors_are_of_hits_in_whole_windows(performance):
    player, played = performance
    rows = {row.name: row for row in humanization.measured(player, [played], [played], 3)}
    people = rows.pop("people")
    assert len(people.offsets[0]) == int(played.hits[:32].sum())
    results = {name: row.summary(people, 0) for name, row in rows.items()}
    score = results["the score, one velocity"]
    step_ms = 60_000 / 100 / 4
    at = played.hits[:32] > 0
    assert score["offset_ms"] == pytest.approx(np.abs(played.offset[:32][at]).mean() * step_ms)
    assert score["velocity"] == pytest.approx(
        np.abs(played.velocity[:32] - np.median(played.velocity[played.hits > 0]))[at].mean()
    )
    for name in ("own past, sampled", "the drummer's past, sampled", "own past, whole performances, sampled"):
        assert results[name]["offset_ms"] == results[name]["velocity_kl"] == 0  # the same seed as the drummer
    assert results["own past, middle"]["offset_ms"] > 0
    assert people.summary(people, 0)["offset_ms_95"] == [0, 0]


# ---------------------------------------------------------------------- listening tests


class Parts(HTMLParser):
    """Addresses that a page would load, and the text of its scripts by type."""

    def __init__(self):
        super().__init__()
        self.addresses, self.scripts, self.kind = [], {}, None

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        self.kind = dict(attrs).get("type", "") if tag == "script" else None

    def handle_data(self, data):
        if self.kind is not None:
            self.scripts[self.kind] = self.scripts.get(self.kind, "") + data

    def handle_endtag(self, tag):
        self.kind = None


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("listening")
    bar = "kick |x...x...x...x...|\nsnare |....x.......x...|"
    for system, hat in (("a", "x.x.x.x.x.x.x.x."), ("b", "xxxxxxxxxxxxxxxx")):
        for number in range(5):
            header = f"tempo {200 + number}, metre 4/4, 4 steps a beat, phrases of 4"
            groove = read_ascii(f"{header}\n\n{bar}\nclosed_hat |{hat}|")
            write_midi(groove, folder / system / f"{number}.mid")
    listening.make(folder / "a", folder / "b", folder / "out", pairs=4, bars=1, question="Which </script> is busier?")
    return folder


def test_a_listening_test_has_pairs_of_either_system_in_random_order(kit):
    key = json.loads((kit / "out" / "key.json").read_text())
    files = sorted(path.name for path in (kit / "out" / "listeners" / "audio").iterdir())
    assert files == sorted(f"{pair}-{side}.wav" for pair in key["pairs"] for side in ("first", "second"))
    assert len(key["pairs"]) == 4
    assert sorted(sides["b"] for sides in key["pairs"].values()) == ["first"] * 2 + ["second"] * 2
    assert all({sides["a"], sides["b"]} == {"first", "second"} for sides in key["pairs"].values())
    assert len({sides["pieces"][0] for sides in key["pairs"].values()}) == 4


def test_all_files_are_equally_loud(kit):
    levels = []
    for path in (kit / "out" / "listeners" / "audio").iterdir():
        with wave.open(str(path)) as file:
            assert file.getnchannels() == 1
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 2**15
            levels.append(loudness_of(samples[:, None], file.getframerate()))
    assert levels == pytest.approx([LOUDNESS_LUFS + listening.HEADROOM_DB] * 8, abs=0.1)


def test_the_page_needs_nothing_from_elsewhere_and_does_not_tell_which_is_which(kit):
    page = (kit / "out" / "listeners" / "index.html").read_text("utf-8")
    parts = Parts()
    parts.feed(page)
    assert not parts.addresses and "http" not in page and "url(" not in page
    content = json.loads(parts.scripts["application/json"])
    key = json.loads((kit / "out" / "key.json").read_text())
    assert content == {"id": key["kit"], "question": "Which </script> is busier?", "pairs": sorted(key["pairs"])}
    text = parts.scripts[""]
    ids = set(re.findall(r'id="(\w+)"', page))
    assert set(re.findall(r'(?:element|getElementById)\("(\w+)"\)', text)) | {"first", "second"} <= ids
    assert "audio/${order[place]}-${player.id}.wav" in text
    assert "kit: kit.id, listener, order, answers" in text


def answers_of(kit, name, system_of_pair):
    key = json.loads((kit / "out" / "key.json").read_text())
    answers = {pair: sides[system_of_pair(number)] for number, (pair, sides) in enumerate(key["pairs"].items())}
    path = kit / f"answers-{name}.json"
    path.write_text(json.dumps({"kit": key["kit"], "listener": name, "order": [], "answers": answers}))
    return path


def test_answers_are_counted_for_the_system_whatever_its_side(kit, capsys):
    one = answers_of(kit, "one", lambda number: "b")
    other = answers_of(kit, "other", lambda number: "ab"[number % 2])
    listening.count(kit / "out", (one, other))
    printed = capsys.readouterr().out
    assert "one: B in 4 of 4\nother: B in 2 of 4" in printed
    p = 2 * (math.comb(8, 6) + math.comb(8, 7) + 1) / 2**8
    assert f"B in 6 of 8 answers: 0.750 (95 %: 0.349 to 0.968), p = {p:.3g}" in printed
    assert "B more often than A: 1 of 1 listeners, p = 1" in printed


@pytest.mark.parametrize(
    ("successes", "number", "p"), [(5, 10, 1), (0, 10, 2 / 1024), (9, 10, 22 / 1024), (3, 3, 0.25)]
)
def test_the_binomial_test_by_hand(successes, number, p):
    assert listening.binomial_test(successes, number) == p


def test_the_interval_of_a_share_by_published_values():
    assert listening.clopper_pearson(0, 10) == (0, pytest.approx(1 - 0.025 ** (1 / 10)))
    assert listening.clopper_pearson(10, 10) == (pytest.approx(0.025 ** (1 / 10)), 1)
    low, high = listening.clopper_pearson(6, 8)
    at_low = sum(math.comb(8, count) * low**count * (1 - low) ** (8 - count) for count in (6, 7, 8))
    at_high = sum(math.comb(8, count) * high**count * (1 - high) ** (8 - count) for count in range(7))
    assert (at_low, at_high) == pytest.approx((0.025, 0.025))


def test_what_is_no_answer_to_this_test_is_refused_in_one_line(kit):
    path = answers_of(kit, "one", lambda number: "a")
    key = json.loads((kit / "out" / "key.json").read_text())
    with pytest.raises(HypermeterError, match="second file of listener one"):
        listening.counted([path, path], key)
    with pytest.raises(HypermeterError, match="answers to test .*, this is other"):
        listening.read_answers(path, key | {"kit": "other"})
    path.write_text(json.dumps({"kit": key["kit"], "listener": "x", "answers": {"001": "third"}}))
    with pytest.raises(HypermeterError, match="no answers to this test"):
        listening.read_answers(path, key)
    with pytest.raises(HypermeterError, match=r"no key\.json of a listening test"):
        listening.count(kit, (path,))


def test_a_listening_test_is_not_made_of_too_few_pieces_or_into_a_folder_that_is_there(kit):
    with pytest.raises(HypermeterError, match="5 pieces of 1 bars or more, expected 6"):
        listening.make(kit / "a", kit / "b", kit / "new", pairs=6, bars=1)
    with pytest.raises(HypermeterError, match="it is there already"):
        listening.make(kit / "a", kit / "b", kit / "out", pairs=1, bars=1)
    assert not (kit / "new").exists()


# ---------------------------------------------------------------------- keeping the beat


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A model of random weights that takes plans, and people's music of two styles, train and validation."""
    folder = tmp_path_factory.mktemp("taught")
    torch.manual_seed(0)
    labels = {"section": list(LETTERS), "style": ["jazz", "rock"], "fill": ["beat", "fill"]}
    model = HierarchicalDrumModel(10, 8, 8, 8, 1, num_components=2, kit=load_kit("gm10"), labels=labels)
    model.save(folder / "model.safetensors")
    beat = read_ascii("kick |x...x...x...x...|\nsnare |....x.......x...|\nclosed_hat |x.x.x.x.x.x.x.x.|").hits
    random = np.random.default_rng(0)
    for split in ("train", "validation"):
        (folder / split).mkdir()
        for number in range(6):
            style = ("rock/shuffle", "jazz")[number % 2]
            hits = np.tile(beat if style != "jazz" else np.roll(beat, 4, 0), (32, 1))
            hits = np.where(random.random(hits.shape) < 0.02, 1 - hits, hits)
            meta = json.dumps({"style": style, "beat_type": "beat", "tempo_bpm": 100.0})
            np.savez(folder / split / f"{number}.npz", sequence=hits, meta=np.array(meta))
    return folder


def test_people_are_measured_by_style_and_all_together(taught):
    people = beat_keeping.people_of(taught / "train", Grid(), roles_of(load_kit("gm10")))
    assert set(people) == {"all", "rock", "jazz"}
    assert len(people["all"].performances) == 6 and len(set(people["rock"].performances)) == 3
    assert np.mean(people["rock"].values["backbeat"]) > 0.9 > 0.1 > np.mean(people["jazz"].values["backbeat"])


def test_bootstrap_draws_whole_groups():
    draws = beat_keeping.draws_of_mean([0, 0, 0, 1], [7, 7, 7, 9])
    assert set(draws.tolist()) == {0, 0.25, 1}  # either group twice, or both
    assert draws.mean() == pytest.approx(0.25 * 0 + 0.5 * 0.25 + 0.25 * 1, abs=0.03)
    assert set(beat_keeping.draws_of_mean([1, math.nan], [0, 1])[:50].tolist()) >= {1}


def test_sections_of_a_plan_leave_out_fills():
    assert beat_keeping.sections_of("a:2 fill:1 b:1") == ["a", "a", "", "b"]


def test_the_beat_is_kept_cell_by_cell_and_a_run_goes_on_from_there(taught, tmp_path, monkeypatch, capsys):
    options = {"styles": ("rock",), "plans": ("a:2 b:2 a:2", "a:3"), "guidance": (0.0, 1.0), "seeds": 2}
    options |= {"long_bars": 132, "long_seeds": 1, "long_styles": ("",), "out": tmp_path / "out"}
    model = str(taught / "model.safetensors")
    beat_keeping.main(model, taught / "train", **options)
    printed = capsys.readouterr().out
    assert (tmp_path / "out.md").read_text() == printed
    assert "| rock | people | - | " in printed and printed.count("| rock | all | ") == 2
    assert "| rock | a:2 b:2 a:2 | 1 | " in printed and "| bars 101-132 | " in printed
    cells = json.loads((tmp_path / "out.json").read_text())["cells"]
    assert len(cells) == 5 and all(len(values["pulse"]) == 2 for key, values in cells.items() if "rock" in key)
    assert cells["rock | a:2 b:2 a:2 | 0 | 0"]["returns"][0] is not None
    player = load_player(model)
    plan = beat_keeping.PlanOptions(sections="a:3", style="rock")
    hits = beat_keeping.play(player, plan, 3, 1.0, 2, 1.0)  # the second plan has seeds 2 and 3
    assert cells["rock | a:3 | 1 | 2"]["density"][0] == pytest.approx(hits.mean(), abs=1e-6)

    monkeypatch.setattr(beat_keeping, "play", None)  # nothing is played again
    beat_keeping.main(model, taught / "train", **options)
    assert capsys.readouterr().out == printed
    with pytest.raises(HypermeterError, match="of another model, data or other arguments"):
        beat_keeping.main(model, taught / "train", **(options | {"temperature": 0.5}))
    (tmp_path / "out.json").write_text("[]")
    with pytest.raises(HypermeterError, match="not a file of this script"):
        beat_keeping.main(model, taught / "train", **options)


def test_a_style_that_the_model_lacks_is_refused(taught):
    with pytest.raises(HypermeterError, match="no style 'waltz'; it has jazz, rock"):
        beat_keeping.main(str(taught / "model.safetensors"), taught / "train", styles=("waltz",))


def test_numbers_are_shown_without_the_zero_before_the_point():
    values = (0.5, 1, -0.25, 10.504, math.nan)
    assert [beat_keeping.shown(value) for value in values] == [".50", "1.00", "-.25", "10.50", "-"]


# ---------------------------------------------------------------------- following plans


@pytest.mark.slow
def test_plans_are_followed_over_seeds_and_strengths(taught, tmp_path, capsys):
    out = tmp_path / "steering.json"
    steering.main(str(taught / "model.safetensors"), taught, pieces=6, guidance=(0.0, 2.0), seeds=2, out=out)
    printed, results = capsys.readouterr().out, json.loads(out.read_text())
    assert set(results["guidance"]) == {"0", "2"} and all(len(every) == 2 for every in results["guidance"].values())
    of_seeds = [measured["style"] for measured in results["guidance"]["2"]]
    assert f"{np.mean(of_seeds):.3f} ({min(of_seeds):.3f} to {max(of_seeds):.3f}) |" in printed
    assert "| guidance 0 | guidance 2 |" in printed and results["people"]["styles"] == 2
