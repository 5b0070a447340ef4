"""Windows with drums exchanged or silent."""

import torch

from hypermeter import load_kit
from hypermeter.learn.train.vary import SHARE, families_of, vary
from hypermeter.model.plan import Plan
from hypermeter.music.metrics import chunk_means

FAMILIES = [[1, 4], [2, 3, 5]]


def batch_of(windows, steps=12, density=0.4):
    hits = (torch.rand(windows, steps, 8, generator=torch.Generator().manual_seed(3)) < density).float()
    hits[:, 0] = 1  # Every voice sounds.
    return {"step": hits, "bar": chunk_means(hits, 4), "phrase": chunk_means(hits, 8), "mask": hits[..., 0] >= 0}


def test_the_closed_hat_and_the_ride_are_a_family_and_the_toms_another():
    kit = load_kit("gm10")
    families = [[kit.names[column] for column in family] for family in families_of(kit)]
    assert families == [["closed_hat", "ride"], ["low_tom", "mid_tom", "high_tom"]]
    general = load_kit("gm")
    assert {general.names[column] for family in families_of(general) for column in family} == {
        "low_floor_tom", "high_floor_tom", "low_tom", "low_mid_tom", "high_mid_tom", "high_tom",
    }  # fmt: skip
    assert families_of(None) == []


def test_whole_windows_exchange_the_voices_of_a_family_or_lose_one_voice():
    torch.manual_seed(0)
    batch = batch_of(4_000)
    before = batch["step"].clone()
    hits = vary(batch, 6, FAMILIES)["step"]
    assert torch.equal(batch["step"], before) and torch.equal(hits[..., 6:], before[..., 6:])
    silent = ~hits.any(1)
    assert silent.sum(1).max() == 1 and not silent[:, 6:].any()
    shares = [silent.any(1)]
    for family in FAMILIES:
        differs = (hits != before)[..., family].any(1) & ~silent[:, family]
        shares.append(differs.any(1))
        parts = before[:, :, family].transpose(1, 2)
        for column in family:
            found = (hits[:, None, :, column] == parts).all(-1).any(1)
            assert (found | silent[:, column]).all()
    for share in shares:
        assert abs(share.float().mean() - SHARE) < 0.03
    is_unchanged = (hits == before).all(1).all(1).float().mean()
    assert abs(is_unchanged - (1 - SHARE) ** 3) < 0.03


def test_means_of_bars_and_phrases_are_those_of_the_varied_window():
    torch.manual_seed(0)
    batch = vary(batch_of(50, steps=22), 6, FAMILIES)
    torch.testing.assert_close(batch["bar"], chunk_means(batch["step"], 4))
    torch.testing.assert_close(batch["phrase"], chunk_means(batch["step"], 8))


def test_no_voice_is_silenced_that_sounds_alone_or_under_a_plan():
    alone = batch_of(100)
    alone["step"][..., [0, 2, 3, 4, 5, 6, 7]] = 0
    assert torch.equal(vary(alone, 8, [])["step"], alone["step"])
    planned = batch_of(100) | {"plan": Plan.free(100)}
    assert vary(planned, 6, FAMILIES)["step"].any(1).all()


def test_the_random_numbers_are_those_of_torch():
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(vary(batch_of(40), 6, FAMILIES)["step"])
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
