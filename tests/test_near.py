"""Near grooves: what an index keeps and when it reads again, what a search finds, where a map puts pieces, errors."""

import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest

from hypermeter.cli import main
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.io.grooves import arrays_of_groove
from hypermeter.io.midi import read_midi, to_midi_bytes
from hypermeter.play.describe import describe_bars
from hypermeter.play.loading import load_player
from hypermeter.share.near import Index, IndexedPiece, Space, build_index, read_index, search, write_index
from hypermeter.share.near.index import features_of
from hypermeter.share.near.map import draw_map, map_corpus
from models import music, player

BEATS = {
    "rock": ["x.......x.......", "....x.......x...", "x.x.x.x.x.x.x.x."],
    "rock_too": ["x.......x.x.....", "....x.......x...", "x.x.x.x.x.x.x.x."],
    "funk": ["x..x...x..x.....", "....x..x.x..x..x", "xxxxxxxxxxxxxxxx"],
    "house": ["x...x...x...x...", "....x.......x...", "..x...x...x...x."],
}


def groove(*names, velocity=0.8, **options):
    """Bars of the beats of these names."""
    played = np.zeros((16 * len(names), 10), np.uint8)
    for bar, name in enumerate(names):
        for voice, row in enumerate(BEATS[name]):
            played[16 * bar : 16 * bar + 16, voice] = [letter == "x" for letter in row]
    return Groove(played, velocity * played, 0 * played, kit="gm10", **options)


def save_npz(path, groove, **meta):
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = {"kit": "gm10", "grid": groove.grid.to_dict(), "tempo_bpm": groove.tempo_bpm} | meta
    np.savez(path, **arrays_of_groove(groove), meta=np.array(json.dumps(meta)))


@pytest.fixture(scope="module")
def shipped():
    return load_player("groove")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A corpus of MIDI and .npz, with a file that cannot be read and one in 3/4."""
    monkeypatch.chdir(tmp_path)
    corpus = tmp_path / "corpus"
    save_npz(
        corpus / "a" / "funk.npz", groove("funk", "funk", "funk", "house"), style="funk/groove", source="one/x.mid"
    )
    save_npz(corpus / "rock.npz", groove("funk", "rock", "rock_too", "rock"), style="rock", source="two/y.mid")
    (corpus / "b").mkdir()
    (corpus / "b" / "house.mid").write_bytes(to_midi_bytes(groove("house", "house", "rock")))
    (corpus / "b" / "broken.mid").write_bytes(b"MThd nothing")
    three = Groove(np.tile(groove("rock").hits[:12], (2, 1)), kit="gm10", grid=Grid(beats_per_bar=3))
    save_npz(corpus / "waltz.npz", three, style="waltz")
    (tmp_path / "beat.mid").write_bytes(to_midi_bytes(groove("rock_too", "rock")))
    return corpus


# ---------------------------------------------------------------------- features


@pytest.mark.parametrize("name", ["gru", "tracks", "transformer"])
def test_a_bar_is_described_by_the_mean_features_of_its_second_time(name):
    toy = player(name)
    bars = music(name, 12, 1)[0].reshape(3, 4, -1)[..., : toy.num_drums]
    described = describe_bars(toy, bars)
    twice = np.pad(np.concatenate([bars, bars], 1), ((0, 0), (0, 0), (0, toy.width - toy.num_drums)))
    for row, hits in enumerate(twice):
        state, seen = toy.start(1), []
        for x in hits:
            seen.append(state.features[0])
            state = toy.advance(x[None], state)
        np.testing.assert_allclose(described[row], np.mean(seen[4:], 0), atol=1e-5)
    assert describe_bars(toy, bars[:0]).shape == (0, described.shape[1])


# ---------------------------------------------------------------------- the index


def test_an_index_has_the_bars_with_hits_of_all_that_can_be_read(folder, shipped):
    index = build_index(folder, shipped)
    assert [piece.name for piece in index.pieces] == ["a/funk.npz", "b/house.mid", "rock.npz", "waltz.npz"]
    funk, house, rock, waltz = index.pieces
    assert (funk.style, funk.group, house.style, house.group) == ("funk/groove", "one", "", "b")
    assert index.num_bars == 4 + 3 + 4 + 2 and waltz.grid.metre == "3/4" and waltz.velocity.shape == (2, 12, 10)
    np.testing.assert_array_equal(rock.velocity > 0, groove("funk", "rock", "rock_too", "rock").hits.reshape(4, 16, 10))
    assert rock.velocity.max() == 204
    assert list(index.rejects) == ["b/broken.mid"] and "broken.mid" in index.rejects["b/broken.mid"]


def test_silent_bars_and_silent_pieces_are_passed_over_and_a_short_bar_counts(folder, shipped):
    rests = np.concatenate([groove("rock").hits, np.zeros((16, 10)), groove("funk").hits, groove("rock").hits[:5]])
    save_npz(folder / "rests.npz", Groove(rests, kit="gm10"))
    save_npz(folder / "silence.npz", Groove(np.zeros((32, 10)), kit="gm10"))
    (found,) = [piece for piece in build_index(folder, shipped).pieces if piece.file in ("rests.npz", "silence.npz")]
    assert found.bars.tolist() == [0, 2, 3] and not found.velocity[2, 5:].any()


def test_a_written_index_is_what_was_read(folder, shipped, tmp_path):
    index = build_index(folder, shipped)
    again = read_index(write_index(index, tmp_path / "corpus.index"))
    for name in ("folder", "voices", "options", "files", "rejects"):
        assert getattr(again, name) == getattr(index, name)
    assert again.is_of(shipped) and len(again.pieces) == 4
    for first, second in zip(index.pieces, again.pieces, strict=True):
        for name in ("file", "name", "grid", "tempo_bpm", "style", "group"):
            assert getattr(first, name) == getattr(second, name)
        for name in ("bars", "features", "velocity"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_only_files_that_have_changed_are_read_again(folder, shipped):
    index = build_index(folder, shipped)
    assert not index.changed()
    (folder / "waltz.npz").unlink()
    save_npz(folder / "rock.npz", groove("house"))
    os.utime(folder / "b" / "house.mid", ns=(1, 1))  # Of the same size, but written at another time.
    save_npz(folder / "new.npz", groove("rock"))
    assert index.changed() == ["b/house.mid", "new.npz", "rock.npz", "waltz.npz"]
    read = []
    again = build_index(folder, shipped, known=index, watch=lambda files, _: read.extend(files) or files)
    assert sorted(read) == ["b/house.mid", "new.npz", "rock.npz"]  # Not the broken one, which is as it was.
    assert [piece.name for piece in again.pieces] == ["a/funk.npz", "b/house.mid", "new.npz", "rock.npz"]
    assert again.pieces[0] is index.pieces[0] and again.rejects == index.rejects and not again.changed()
    assert again.num_bars == 4 + 3 + 1 + 1


def test_an_index_knows_its_model_and_how_midi_was_read(folder, shipped):
    index = build_index(folder, shipped)
    other = replace(index, probe=index.probe + np.float16(0.1))
    assert index.is_of(shipped) and not other.is_of(shipped) and not index.is_of(player("gru"))
    from hypermeter.core.read_options import ReadOptions

    assert index.is_of(shipped, ReadOptions()) and not index.is_of(shipped, ReadOptions(channel=3))


def test_performances_of_shards_are_found_as_those_of_files(folder, shipped, tmp_path):
    pytest.importorskip("pyarrow")
    assert main(["pack", str(folder), str(tmp_path / "shards")]) == 0
    packed = build_index(tmp_path / "shards", shipped)
    loose = {piece.name: piece for piece in build_index(folder, shipped).pieces}
    assert {piece.name for piece in packed.pieces} == {"a/funk.npz", "rock.npz", "waltz.npz"}
    for piece in packed.pieces:
        np.testing.assert_array_equal(piece.velocity, loose[piece.name].velocity)
        assert piece.style == loose[piece.name].style and piece.file.endswith(".parquet")


# ---------------------------------------------------------------------- the search


def random_pieces(number=30, seed=0):
    random, pieces = np.random.default_rng(seed), []
    for name in range(number):
        bars = int(random.integers(1, 6))
        velocity = (random.integers(1, 256, (bars, 16, 10)) * (random.random((bars, 16, 10)) < 0.2)).astype(np.uint8)
        features = random.normal(size=(bars, 12)).astype(np.float16)
        settings = Grid(), 120.0, "", ""
        pieces.append(IndexedPiece(f"{name}", f"{name}", *settings, np.arange(bars), features, velocity))
    return pieces


def test_distances_are_those_of_places_and_one_is_that_of_two_at_random():
    space = Space(random_pieces())
    places = space.place(space.features, space.velocity)
    expected = np.sqrt(((places[:5, None] - places[None]) ** 2).sum(-1))
    np.testing.assert_allclose(space.distances(places[:5]), expected, atol=2e-3)
    square = ((places[:, None] - places[None]) ** 2).sum(-1).mean()
    assert square == pytest.approx(1, abs=1e-3)
    for part in ("model", "velocity", "hits"):
        own = Space(space.pieces, [part])
        placed = own.place(own.features, own.velocity)
        np.testing.assert_allclose(((placed[:, None] - placed[None]) ** 2).sum(-1).mean(), 1, atol=1e-3)


def test_the_nearest_passage_of_each_piece_is_that_of_all_its_passages():
    space = Space(random_pieces())
    places = space.place(space.features, space.velocity)
    query, distances = places[40:43], space.distances(places[40:43])
    least, first = space.passages(query)
    for number, (start, count) in enumerate(zip(space.starts.tolist(), space.counts.tolist(), strict=True)):
        length = min(3, count)
        means = [
            np.mean([distances[bar, place + bar] for bar in range(length)])
            for place in range(start, start + count - length + 1)
        ]
        assert least[number] == pytest.approx(min(means), abs=1e-5) and first[number] == start + np.argmin(means)


def test_a_search_finds_the_passage_itself_then_what_is_nearly_so(folder, shipped):
    index = build_index(folder, shipped)
    first, *others = search(index, shipped, groove("rock_too", "rock"))
    assert first.piece.name == "rock.npz" and first.bars == (2, 3)
    assert first.distance == pytest.approx(0, abs=2e-3) and first.hits == pytest.approx(1)
    assert first.alike == "same kick snare closed_hat"
    assert [match.piece.name for match in others] == ["b/house.mid", "a/funk.npz"]  # None in 3/4.
    assert 0 < others[0].distance < others[1].distance
    softer = search(index, shipped, groove("rock_too", "rock", velocity=0.4))[0]
    assert softer.piece.name == "rock.npz" and softer.hits == pytest.approx(1) and softer.distance > 0.1
    (waltz,) = search(index, shipped, Groove(groove("rock").hits[:12], kit="gm10", grid=Grid(beats_per_bar=3)))
    assert waltz.piece.name == "waltz.npz" and waltz.bars == (0, 0)
    assert len(search(index, shipped, groove("rock"), most=2)) == 2
    assert search(index, shipped, groove("rock"), without="rock.npz")[0].piece.name == "b/house.mid"


def test_of_voices_it_tells_how_alike_they_are(folder, shipped):
    index = build_index(folder, shipped)
    match = next(match for match in search(index, shipped, groove("rock")) if match.piece.name == "rock.npz")
    assert match.bars == (1, 1) and match.voices == {"kick": 1, "snare": 1, "closed_hat": 1}
    save_npz(folder / "rock.npz", groove("rock_too"))
    index = build_index(folder, shipped)
    match = next(match for match in search(index, shipped, groove("rock")) if match.piece.name == "rock.npz")
    assert match.voices == pytest.approx({"kick": 0.8, "snare": 1, "closed_hat": 1})
    assert match.alike == "same snare closed_hat, kick 0.80" and match.hits == pytest.approx(24 / 25)


def test_whole_pieces_are_compared_by_the_means_of_their_bars(folder, shipped):
    index = build_index(folder, shipped)
    matches = search(index, shipped, groove("funk", "funk", "house", "funk"), by="piece")
    assert matches[0].piece.name == "a/funk.npz"
    assert matches[0].distance == pytest.approx(0, abs=2e-3) and matches[0].bars == (0, 3)
    assert matches[0].hits == pytest.approx(1)


def test_what_cannot_be_searched_is_refused(folder, shipped):
    index = build_index(folder, shipped)
    for wrong, words in (
        (Groove(np.zeros((16, 10)), kit="gm10"), "no hits in it"),
        (Groove(np.ones((16, 16)), kit="gm16"), "not of the voices of the index"),
        (Groove(np.ones((14, 10)), kit="gm10", grid=Grid(2, 7, beat_unit=8)), "7/8 in sixteenths, expected what"),
    ):
        with pytest.raises(HypermeterError, match=words):
            search(index, shipped, wrong)
    with pytest.raises(HypermeterError, match="most is 0"):
        search(index, shipped, groove("rock"), 0)
    with pytest.raises(HypermeterError, match="no such folder"):
        build_index(folder / "none", shipped)


def test_one_bar_alone_is_a_corpus(tmp_path, shipped):
    save_npz(tmp_path / "rock.npz", groove("rock"))
    (match,) = search(build_index(tmp_path, shipped), shipped, groove("rock"))
    assert match.distance == pytest.approx(0, abs=1e-2) and match.alike == "same kick snare closed_hat"
    assert features_of(shipped, groove("rock"))[0].tolist() == [0]


# ---------------------------------------------------------------------- the map


def test_a_map_keeps_alike_pieces_near_and_is_always_the_same(folder, shipped):
    save_npz(folder / "funk_again.npz", groove("funk", "funk", "funk", "rock"), style="funk")
    index = build_index(folder, shipped)
    corpus = map_corpus(index)
    places = {piece.name: point for piece, point in zip(corpus.pieces, corpus.points, strict=True)}
    apart = {name: np.linalg.norm(places["a/funk.npz"] - point) for name, point in places.items()}
    assert sorted(apart, key=apart.get)[1] == "funk_again.npz"
    assert corpus.kind == "style" and sorted(corpus.labels) == ["", "funk", "funk", "rock", "waltz"]
    shuffled = map_corpus(replace(index, pieces=index.pieces[::-1]))
    np.testing.assert_allclose(shuffled.points[::-1], corpus.points, atol=1e-8)
    covariance = corpus.points.T @ corpus.points
    assert covariance[0, 0] >= covariance[1, 1] and covariance[0, 1] == pytest.approx(0, abs=1e-8)
    assert 0 < corpus.explained[1] <= corpus.explained[0] <= 1
    assert map_corpus(index, "metre").labels.count("3/4") == 1
    picture = draw_map(corpus, "title")
    titles = [box.title for box in picture.boxes if box.title]
    assert len(titles) == 5 and any(title.startswith("a/funk.npz, funk, 120 bpm, 4/4, 4 bars") for title in titles)
    for box in picture.boxes:
        assert min(box.x, box.y) >= 0 and box.x + box.width <= picture.width and box.y + box.height <= picture.height
    legend = [label.text for label in picture.labels[2:]]
    assert legend == ["funk (2)", "rock (1)", "waltz (1)", "no style (1)"]


def test_a_map_of_too_little_or_without_labels_is_refused(folder, shipped):
    index = build_index(folder, shipped)
    with pytest.raises(HypermeterError, match="2 pieces with hits, expected three"):
        map_corpus(replace(index, pieces=index.pieces[:2]))
    with pytest.raises(HypermeterError, match="no piece has a style"):
        map_corpus(replace(index, pieces=[replace(piece, style="") for piece in index.pieces]), "style")
    equal = map_corpus(replace(index, pieces=[index.pieces[0]] * 3))
    assert np.isfinite(equal.points).all() and equal.kind == "metre"


# ---------------------------------------------------------------------- the commands


def test_the_command_prints_a_table_and_keeps_an_index(folder, capsys):
    assert main(["search", "beat.mid", "corpus", "--index", "corpus.index", "--most", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "corpus.index: 5 files new, 0 changed, 0 gone, 0 as they were" in printed
    assert "corpus: 13 bars with hits in 4 pieces" in printed
    assert any(line.startswith("left out 1 of 5 files; the first: ") and "broken.mid" in line for line in printed)
    head, first, second = printed[-3:]
    assert head.split() == ["distance", "hits", "bars", "bpm", "style", "piece", "alike"]
    assert "rock.npz" in first and "3-4" in first and "b/house.mid" in second
    written = os.stat("corpus.index").st_mtime_ns
    assert main(["search", "beat.mid", "corpus", "--index", "corpus.index", "--most", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [first, second]
    assert os.stat("corpus.index").st_mtime_ns == written
    save_npz(folder / "rock.npz", groove("house", "house"))
    assert main(["search", "beat.mid", "--index", "corpus.index", "--most", "1"]) == 0
    stale = capsys.readouterr().out
    assert "has changed since, 1 of its files; name it to read them" in stale
    assert stale.splitlines()[-1].split() == first.split()
    assert main(["search", "beat.mid", "corpus", "--index", "corpus.index", "--most", "1"]) == 0
    fresh = capsys.readouterr().out
    assert "0 files new, 1 changed, 0 gone, 4 as they were" in fresh and "b/house.mid" in fresh.splitlines()[-1]


def test_json_stands_alone_on_standard_output(folder, capsys):
    arguments = ["search", str(folder / "rock.npz"), "corpus", "--json", "--bars", "3-4", "--by", "bar"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert "passed over" in captured.err and "left out 1 of 5" in captured.err
    assert [match["piece"] for match in found["matches"]] == ["b/house.mid", "a/funk.npz"]  # Not itself.
    assert set(found["matches"][0]) >= {"distance", "hits", "voices", "bars", "tempo_bpm", "style"}
    assert main(["search", "beat.mid", "corpus", "--by", "piece", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["by"] == "piece"


def test_an_index_of_another_way_to_read_is_made_again(folder, capsys):
    assert main(["search", "beat.mid", "corpus", "--index", "corpus.index"]) == 0
    assert main(["search", "beat.mid", "corpus", "--index", "corpus.index", "--shift", "keep"]) == 0
    assert "corpus.index: of another model, folder or way to read it; it is made again" in capsys.readouterr().out


def test_the_report_of_an_analysis_has_a_map_where_it_is_asked_for(folder, capsys):
    pytest.importorskip("matplotlib", reason="the report is an extra")
    assert main(["analyse", "corpus", "--corpus-map", "--out", "found", "--pictures", "0"]) == 0
    report = (folder.parent / "found" / "report.html").read_text("utf-8")
    assert "<h2>Map</h2>" in report and "<title>rock.npz, rock, 120 bpm, 4/4, 4 bars</title>" in report
    assert "<td>rock.npz</td>" in report and not re.search(r'(src|href)="(?!#)', report)
    assert main(["analyse", "corpus", "--out", "found", "--pictures", "0"]) == 0
    assert "<h2>Map</h2>" not in (folder.parent / "found" / "report.html").read_text("utf-8")
    capsys.readouterr()
    assert main(["analyse", "beat.mid", "--corpus-map"]) == 2
    assert "beat.mid is no folder" in capsys.readouterr().err


def test_the_map_command_draws_an_svg_a_page_or_points(folder, capsys):
    assert main(["map", "corpus", "--index", "corpus.index"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "map.svg"
    drawing = (folder.parent / "map.svg").read_text("utf-8")
    assert drawing.startswith("<svg") and "<title>rock.npz, rock, 120 bpm, 4/4, 4 bars</title>" in drawing
    assert main(["map", "--index", "corpus.index", "-o", "map.html", "--colour", "metre"]) == 0
    page = (folder.parent / "map.html").read_text("utf-8")
    assert page.startswith("<!doctype html>") and "3/4 (1)" in page and not re.search(r'(src|href)="', page)
    assert page.count("<tr>") == 5 and "<td>rock.npz</td>" in page  # the places, for those who do not see the picture
    assert main(["map", "--index", "corpus.index", "-o", "map.csv"]) == 0
    lines = (folder.parent / "map.csv").read_text("utf-8").splitlines()
    assert lines[0] == "name,x,y,style,tempo_bpm,metre,bars" and len(lines) == 5
    first = drawing
    assert main(["map", "corpus"]) == 0 and (folder.parent / "map.svg").read_text("utf-8") == first


def test_mistakes_are_one_line(folder, capsys):
    (folder.parent / "empty").mkdir()
    (folder.parent / "no.index").write_bytes(b"nothing")
    np.savez(folder.parent / "other.npz", sequence=np.zeros((16, 10)))
    for arguments, words in (
        (["search", "beat.mid"], "no folder to search"),
        (["search", "beat.mid", "nowhere"], "nowhere: no such folder"),
        (["search", "beat.mid", "empty"], "empty: no MIDI"),
        (["search", "none.mid", "corpus"], "none.mid"),
        (["search", "beat.mid", "corpus", "--most", "0"], "--most is 0"),
        (["search", "beat.mid", "corpus", "--bars", "2-3"], "--bars 2-3, expected bars from 1 to 2"),
        (["search", "beat.mid", "corpus", "--bars", "x"], "--bars x, expected a bar"),
        (["search", "beat.mid", "--index", "none.index"], "none.index"),
        (["search", "beat.mid", "--index", "no.index"], "no.index"),
        (["search", "beat.mid", "--index", "other.npz"], "other.npz: not an index"),
        (["map", "corpus", "-o", "map.png"], "map.png"),
        (["map", "nowhere"], "nowhere: no such folder"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1, arguments


def test_an_index_of_another_model_is_refused_without_its_folder(folder, shipped, capsys):
    index = build_index(folder, shipped)
    write_index(replace(index, probe=index.probe + np.float16(1)), "corpus.index")
    assert main(["search", "beat.mid", "--index", "corpus.index"]) == 2
    assert "made with another model than groove" in capsys.readouterr().err
    assert isinstance(read_index("corpus.index"), Index) and read_midi("beat.mid").num_bars == 2
