from hypermeter.demo import read_corpus


def test_the_corpus_is_some_two_dozen_different_performances_of_four_to_sixteen_bars():
    corpus = read_corpus()
    assert len(corpus) == 24
    assert {groove.num_bars for groove in corpus.values()} <= set(range(4, 17))
    assert len({groove.hits.tobytes() for groove in corpus.values()}) == len(corpus)
    for groove in corpus.values():
        assert groove.hits.any(1).mean() > 0.3 and len(groove) % groove.grid.steps_per_bar == 0
