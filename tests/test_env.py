"""The environment: Gymnasium's checker, rewards and metrics by hand, a piece as one row of many, a foreign agent."""

import copy
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit, Voice
from hypermeter.learn.rl import Reward, Term
from hypermeter.model.plan import NUMBERS, Plan
from hypermeter.music.metrics import METRICS

gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed: pip install -e '.[rl]'")
env = pytest.importorskip("hypermeter.learn.rl.env")

from gymnasium.utils.env_checker import check_env  # noqa: E402

GRID = Grid(steps_per_beat=1, beats_per_bar=4, bars_per_phrase=2)  # four steps a bar, eight a phrase
KIT = Kit("pair", (Voice("low", (36,), 36), Voice("high", (42,), 42)))
REWARD = Reward(
    [
        Term("density", "bar", target=0.5),
        Term("syncopation", "bar", want="more", weight=0),
        Term("groove_consistency", "phrase", want="more"),
        Term("avg_hits", "step", want="less", weight=0.1),
        Term("max_hits", "piece", want="more"),
    ]
)


def small(**options):
    return {"reward": REWARD, "kit": KIT, "grid": GRID, "bars": 3, **options}


def plans(rows: int = 1, bars: int = 3) -> Plan:
    """Rows that ask for different densities, and in the second bar for no off-beats; the tempo is left open."""
    plan = Plan.free(rows, bars)
    plan.numbers[..., NUMBERS.index("density")] = torch.linspace(0.1, 0.9, rows * bars).view(rows, bars)
    plan.numbers[:, 1, NUMBERS.index("offbeat")] = 0
    return plan


def primers(number: int, bars: int = 1) -> np.ndarray:
    return (np.random.default_rng(0).random((number, bars * GRID.steps_per_bar, 2)) < 0.5).astype(np.float32)


def play(one, actions):
    """What an episode gives: observations, rewards, infos."""
    seen, paid, infos = [], [], []
    for number, action in enumerate(actions, 1):
        observation, reward, terminated, truncated, info = one.step(action)
        assert (terminated, truncated) == (number == len(actions), False)
        seen.append(observation)
        paid.append(reward)
        infos.append(info)
    return np.array(seen), paid, infos


def random_hits(*shape: int) -> np.ndarray:
    return (np.random.default_rng(1).random(shape) < 0.4).astype(np.int8)


@pytest.mark.parametrize(
    "options",
    [{}, small(), small(primers=primers(3), plan=plans(2)), {"reward": None, "plan": plans(), "bars": 1}],
    ids=["default", "small", "primers and plans", "plan alone"],
)
@pytest.mark.parametrize("render_mode", ["ansi", "rgb_array"])
def test_the_checker_of_gymnasium_passes(options, render_mode):
    check_env(gymnasium.make(env.ENV_ID, render_mode=render_mode, **options).unwrapped)


def test_gymnasium_alone_makes_it_by_a_name_with_the_module():
    code = (
        "import gymnasium, sys; assert not {'torch', 'hypermeter'} & set(sys.modules)\n"
        f"name = 'hypermeter.learn.rl.env:{env.ENV_ID}'\n"
        "one = gymnasium.make(name, bars=1); one.reset(seed=0); one.step(one.action_space.sample())\n"
        "many = gymnasium.make_vec(name, num_envs=2, bars=1); many.reset(seed=0)\n"
        "print(type(one.unwrapped).__name__, type(many.unwrapped).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["DrumsEnv", "DrumsVectorEnv"], done.stderr


def test_all_that_is_paid_is_the_reward_of_the_hits():
    one = gymnasium.make(env.ENV_ID, **small(primers=primers(1)))
    one.reset(seed=0)
    actions = random_hits(12, 2)
    _, paid, _ = play(one, actions)
    expected = REWARD(torch.from_numpy(actions)[None], GRID)[0]
    assert paid == pytest.approx(expected.tolist(), abs=1e-6)


def test_info_has_the_metrics_of_ended_chunks_also_of_weight_0():
    one = env.DrumsEnv(**small())
    one.reset(seed=0)
    actions = random_hits(12, 2)
    actions[:4] = 0
    _, _, infos = play(one, actions)
    assert set(infos[1]) == {"step/avg_hits"} and infos[1]["step/avg_hits"] == 0
    assert set(infos[3]) == {"step/avg_hits", "bar/density"}, "without hits there is no syncopation"
    bar = torch.from_numpy(actions[4:8]).float()
    assert infos[7]["bar/syncopation"] == pytest.approx(METRICS["syncopation"](bar, GRID).item())
    played = torch.from_numpy(actions).float()
    assert infos[7]["phrase/groove_consistency"] == pytest.approx(
        METRICS["groove_consistency"](played[:8], GRID).item()
    )
    assert "piece/max_hits" not in infos[7]
    assert infos[11]["piece/max_hits"] == played.sum(1).max()


def test_two_terms_of_one_metric_have_names_of_their_own():
    terms = [Term("sioros", "bar", want="more", options={"voices": [voice]}) for voice in (0, 1)]
    one = env.DrumsEnv(**small(reward=Reward(terms)))
    one.reset()
    _, _, infos = play(one, np.ones((12, 2), np.int8))
    assert set(infos[3]) == {"bar/sioros", "bar/sioros/2"}


def test_the_observation_is_the_window_the_place_and_the_plan():
    primer = primers(1, bars=2)
    one = env.DrumsEnv(**small(primers=primer, plan=plans(), window_bars=1))
    first, _ = one.reset(seed=0)
    actions = random_hits(12, 2)
    seen, _, _ = play(one, actions)
    parts = {name: np.concatenate([first[None], seen])[:, place] for name, place in one.places.items()}
    sequence = np.concatenate([primer[0], actions])
    for step in range(12):
        assert parts["window"][step].tolist() == sequence[4 + step : 8 + step].flatten().tolist()
        assert parts["step_of_bar"][step].argmax() == step % 4 and parts["step_of_bar"][step].sum() == 1
        assert parts["bar_of_phrase"][step].argmax() == step // 4 % 2 and parts["bar_of_phrase"][step].sum() == 1
        numbers = plans().numbers[0, step // 4]
        assert parts["is_asked"][step].tolist() == (~numbers.isnan()).float().tolist()
        assert parts["plan"][step].tolist() == pytest.approx(numbers.nan_to_num(0).tolist())
    assert parts["left"][:, 0] == pytest.approx(np.linspace(1, 0, 13))


def test_before_the_first_step_the_window_is_silent():
    one = env.DrumsEnv(**small(window_bars=2))
    first, _ = one.reset()
    assert not first[one.places["window"]].any()
    seen, _, _ = play(one, np.ones((12, 2), np.int8))
    assert [int(observation[one.places["window"]].sum()) for observation in seen] == [
        2,
        4,
        6,
        8,
        10,
        12,
        14,
        16,
        16,
        16,
        16,
        16,
    ]


def test_following_a_plan_is_paid_by_its_distance():
    plan = Plan.free(1, 2)
    plan.numbers[0, 0, NUMBERS.index("density")] = 0.5
    plan.numbers[0, 1, NUMBERS.index("offbeat")] = 0.25
    silent = Reward([Term("density", want="more", weight=0)])
    one = env.DrumsEnv(silent, kit=KIT, grid=GRID, bars=3, plan=plan, follow=2.0)
    one.reset()
    actions = np.zeros((12, 2), np.int8)
    actions[0] = 1  # 2 of 8 cells, on the beat
    actions[[4, 5], 0] = 1
    _, paid, infos = play(one, actions)
    off_beat = METRICS["syncopation"](torch.from_numpy(actions[4:8]).float(), GRID, weak="offbeat").item()
    scales = {name: term.scale for name, term in env.PLAN_TERMS.items()}
    assert paid[3] == pytest.approx(-2 * 0.25 / scales["density"])
    assert paid[7] == pytest.approx(-2 * abs(off_beat - 0.25) / scales["offbeat"])
    assert paid[11] == -20, "a bar without hits has no off-beat share, and the plan goes on as it was"
    assert infos[3]["plan/density"] == 0.25 and "plan/offbeat" not in infos[11]
    assert sum(paid) == pytest.approx(paid[3] + paid[7] + paid[11])


def test_the_same_seed_gives_the_same_episode_and_seeds_choose_primers_and_plans():
    one = env.DrumsEnv(**small(primers=primers(8), plan=plans(8)))
    beginnings = [one.reset(seed=seed)[0] for seed in (3, 3, 4, 5)]
    assert np.array_equal(beginnings[0], beginnings[1])
    parts = one.places["window"], one.places["plan"]
    for place in parts:
        assert any(not np.array_equal(beginnings[0][place], other[place]) for other in beginnings[2:])
    one.reset(seed=3)
    second, _ = one.reset()
    one.reset(seed=3)
    assert np.array_equal(one.reset()[0], second)


@pytest.mark.parametrize("number", [1, 5])
def test_a_row_of_many_pieces_is_one_piece(number):
    options = small(primers=primers(4), plan=plans(4))
    many = gymnasium.make_vec(env.ENV_ID, num_envs=number, **options)
    apart = gymnasium.make_vec(env.ENV_ID, num_envs=number, vectorization_mode="sync", **copy.deepcopy(options))
    assert isinstance(many, env.DrumsVectorEnv) and not isinstance(apart, env.DrumsVectorEnv)
    assert many.observation_space == apart.observation_space and many.action_space == apart.action_space
    assert many.metadata["autoreset_mode"] == apart.metadata["autoreset_mode"]
    assert np.array_equal(many.reset(seed=7)[0], apart.reset(seed=7)[0])
    actions = random_hits(30, number, 2)  # two episodes and the steps between
    actions[4:8] = 0  # where metrics are undefined
    for action in actions:
        result, expected = many.step(action), apart.step(action)
        for mine, other in zip(result[:4], expected[:4]):
            np.testing.assert_allclose(mine, other, atol=1e-6)
        assert {name for name in result[4]} == {name for name in expected[4]}
        for name, values in result[4].items():
            np.testing.assert_allclose(values, expected[4][name], atol=1e-6)
    assert np.array_equal(many.reset()[0], apart.reset()[0])
    assert np.array_equal(many.reset(seed=[*range(number)])[0], apart.reset(seed=[*range(number)])[0])


def test_an_episode_is_a_groove_and_can_be_rendered():
    one = gymnasium.make(env.ENV_ID, render_mode="ansi", **small(primers=primers(1)))
    one.reset()
    for _ in range(4):
        one.step(np.array([1, 0], np.int8))
    groove = one.unwrapped.groove()
    assert groove.hits.tolist() == primers(1)[0].tolist() + [[1, 0]] * 4
    text = one.render()
    assert "low" in text and text.splitlines()[-1].endswith("|xxxx|")
    picture = env.DrumsEnv(render_mode="rgb_array", **small())
    picture.reset()
    before = picture.render()
    assert before.shape == (2 * env.CELL_PIXELS, 12 * env.CELL_PIXELS, 3) and before.dtype == np.uint8
    picture.step(np.array([1, 0], np.int8))
    changed = np.abs(picture.render().astype(int) - before).sum(-1) > 60
    assert changed[env.CELL_PIXELS :, : env.CELL_PIXELS].any() and not changed[:, env.CELL_PIXELS :].any()
    many = env.DrumsVectorEnv(2, render_mode="ansi", **small())
    many.reset()
    assert len(many.render()) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bars": 0}, "bars 0"),
        ({"window_bars": 0}, "window_bars 0"),
        ({"primers": np.zeros((1, 3, 2))}, "whole bars of 4 steps, 2 voices"),
        ({"primers": np.full((1, 4, 2), 0.5)}, "expected 0 and 1"),
        ({"reward": Reward([Term("density", want="more")], normalise=True)}, "NormalizeReward"),
        ({"reward": {"terms": [{"metric": "swing"}]}}, "swing: no such metric"),
        ({"render_mode": "human"}, "render_mode is 'human'"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(options, message):
    with pytest.raises(HypermeterError, match=message) as caught:
        env.DrumsEnv(**small(**options))
    assert len(str(caught.value).splitlines()) == 1


def test_actions_that_do_not_fit_and_steps_after_the_end_are_refused():
    one = env.DrumsEnv(**small(bars=1))
    one.reset()
    with pytest.raises(HypermeterError, match=r"expected 0 and 1 of shape \(1, 2\)"):
        one.step(np.zeros(3, np.int8))
    with pytest.raises(HypermeterError, match="expected 0 and 1"):
        one.step(np.array([0.5, 0]))
    play(one, np.zeros((4, 2), np.int8))
    with pytest.raises(HypermeterError, match="ended after 4 steps; call reset"):
        one.step(np.zeros(2, np.int8))
    many = env.DrumsVectorEnv(2, **small())
    with pytest.raises(HypermeterError, match="3 seeds, expected 2"):
        many.reset(seed=[1, 2, 3])
    with pytest.raises(HypermeterError, match="reset them together"):
        many.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(HypermeterError, match="num_envs is 0"):
        env.DrumsVectorEnv(0)


@pytest.mark.slow
def test_ppo_of_stable_baselines3_learns_on_it():
    """The agent is used as it comes; only sizes are set. Half a minute on one core."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stable_baselines3 = pytest.importorskip("stable_baselines3", reason="pip install -e '.[oracles]'")
        from stable_baselines3.common.env_util import make_vec_env
        from stable_baselines3.common.evaluation import evaluate_policy

    reward = {"terms": [{"metric": "density", "level": "bar", "target": 0.15, "scale": 0.05}]}
    pieces = make_vec_env(env.ENV_ID, n_envs=8, seed=0, env_kwargs={"bars": 2, "reward": reward})
    agent = stable_baselines3.PPO(
        "MlpPolicy", pieces, n_steps=128, batch_size=256, learning_rate=1e-3, seed=0, device="cpu"
    )

    def mean_reward() -> float:
        pieces.seed(1)
        return float(np.mean(evaluate_policy(agent, pieces, n_eval_episodes=40, deterministic=False)[0]))

    before = mean_reward()
    agent.learn(40_000)
    after = mean_reward()
    assert math.isfinite(before) and before < -10, "half of all cells at first, .35 too many in each of two bars"
    assert after > -2
