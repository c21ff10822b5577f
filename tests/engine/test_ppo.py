"""PPO: advantages by hand, borders of episodes, clipping, a memory that forgets, and a small problem that is learnt."""

import dataclasses

import pytest
import torch

from vislab.engine import ppo
from vislab.ops import counter


def rollout(rewards, values, ends, final):
    rewards = torch.tensor(rewards)[:, None]
    nothing = torch.zeros_like(rewards)
    return ppo.Rollout(
        {"x": nothing[..., None]}, nothing[..., None], nothing, torch.tensor(values)[:, None], rewards, nothing.bool(),
        torch.tensor(ends)[:, None], torch.zeros(2, 1, 3), torch.tensor([final]),
    )  # fmt: skip


def test_advantages_by_hand():
    found = ppo.advantages(rollout([1.0, 0.0, 2.0], [0.5, 1.0, 0.0], [False, False, False], 4.0), 0.9, 0.5)
    d2 = 2.0 + 0.9 * 4.0 - 0.0
    d1 = 0.0 + 0.9 * 0.0 - 1.0 + 0.45 * d2
    d0 = 1.0 + 0.9 * 1.0 - 0.5 + 0.45 * d1
    assert torch.allclose(found[:, 0], torch.tensor([d0, d1, d2]))
    full = ppo.advantages(rollout([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [False, False, False], 10.0), 1.0, 1.0)
    assert full[:, 0].tolist() == [13.0, 12.0, 11.0]


def test_nothing_flows_over_the_end_of_an_episode():
    first = ppo.advantages(rollout([1.0, 1.0, 5.0], [0.3, 0.2, 0.1], [False, True, False], 2.0), 0.99, 0.95)
    other = ppo.advantages(rollout([1.0, 1.0, -9.0], [0.3, 0.2, 7.0], [False, True, False], -5.0), 0.99, 0.95)
    assert torch.equal(first[:2], other[:2]) and first[2] != other[2]
    assert float(first[1]) == pytest.approx(1.0 - 0.2)


def test_gaussian_agrees_with_torch():
    mean, log_std = torch.tensor([[0.3, -1.0]]), torch.tensor([-0.5, 0.2])
    actions = torch.tensor([[0.1, 0.4]])
    known = torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp()), 1)
    assert torch.allclose(ppo.gaussian_log_probability(actions, mean, log_std), known.log_prob(actions))
    assert torch.allclose(ppo.gaussian_entropy(log_std), known.entropy()[0])


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"), [(1.5, 1.0, False), (0.5, 1.0, True), (1.5, -1.0, True), (0.5, -1.0, False)]
)
def test_the_clip_stops_gain_and_never_loss(ratio, advantage, moves):
    now = torch.tensor([ratio]).log().requires_grad_()
    losses = ppo.clipped_losses(now, torch.zeros(1), torch.tensor([advantage]), torch.zeros(1), torch.ones(1), 0.2)
    losses["loss_policy"].backward()
    assert (float(now.grad.abs()) > 0) is moves and float(losses["clipped"]) == 1
    assert float(losses["loss_value"]) == 0.5


def test_memory_forgets_at_a_start_and_runs_in_pieces():
    with counter.scope(0, "init"):
        memory = ppo.Memory(3, 5)
        inputs, before = torch.randn(4, 2, 3), torch.randn(2, 2, 5)
    starts = torch.zeros(4, 2, dtype=torch.bool)
    starts[2, 0] = True
    whole, last = memory(inputs, before, starts)
    half, middle = memory(inputs[:2], before, starts[:2])
    rest, end = memory(inputs[2:], middle, starts[2:])
    assert torch.allclose(torch.cat([half, rest]), whole) and torch.allclose(end, last)
    other, _ = memory(inputs, before + 1, starts)
    assert torch.allclose(other[2:, 0], whole[2:, 0]) and not torch.allclose(other[2:, 1], whole[2:, 1])


def test_memory_is_an_lstm():
    with counter.scope(0, "init"):
        memory, known = ppo.Memory(3, 5), torch.nn.LSTM(3, 5)
        inputs, before = torch.randn(6, 2, 3), torch.randn(2, 2, 5)
    known.load_state_dict({f"{name}_l0": value for name, value in memory.cell.state_dict().items()})
    mine, last = memory(inputs, before, torch.zeros(6, 2, dtype=torch.bool))
    theirs, (hidden, cell) = known(inputs, (before[:1], before[1:]))
    assert torch.allclose(mine, theirs, atol=1e-6) and torch.allclose(last, torch.cat([hidden, cell]), atol=1e-6)


def test_environments_keep_their_whole_history():
    both = rollout([1.0, 2.0], [0.0, 0.0], [False, False], 0.0)
    names = ("actions", "values", "rewards", "starts", "ends", "memory", "log_probabilities")
    twice = {name: torch.cat([getattr(both, name)] * 2, dim=1) for name in names}
    seen = {"x": torch.tensor([[[1.0], [2.0]]] * 2)}
    two = dataclasses.replace(both, observations=seen, final_value=torch.tensor([5.0, 6.0]), **twice)
    cut = two.environments(torch.tensor([1]))
    assert cut.observations["x"].flatten().tolist() == [2.0, 2.0] and cut.final_value.tolist() == [6.0]
    assert cut.rewards.shape == (2, 1) and cut.memory.shape == (2, 1, 3)


def test_a_guess_from_memory_is_learnt():
    """The sign shown at the first step must be repeated at the third: only a policy with memory can."""
    with counter.scope(0, "init"):
        memory, head = ppo.Memory(1, 16), torch.nn.Linear(16, 2)
    log_std = torch.full((1,), -0.7)
    optimizer = torch.optim.Adam([*memory.parameters(), *head.parameters()], 0.01)

    def play(step):
        with counter.scope(0, "noise", f"{step}"):
            sign = torch.randint(0, 2, (64,)) * 2.0 - 1
            noise = torch.randn(3, 64, 1)
        seen = torch.stack([sign, torch.zeros(64), torch.zeros(64)])[..., None]
        starts = torch.zeros(3, 64, dtype=torch.bool)
        starts[0] = True
        with torch.no_grad():
            mean, values = head(memory(seen, torch.zeros(2, 64, 16), starts)[0]).split(1, dim=-1)
        actions = mean + noise * log_std.exp()
        rewards = torch.zeros(3, 64)
        rewards[2] = -(actions[2, :, 0] - sign).square()
        logp = ppo.gaussian_log_probability(actions, mean, log_std)
        ends = starts.flip(0)
        return ppo.Rollout(
            {"x": seen}, actions, logp, values[..., 0], rewards, starts, ends, torch.zeros(2, 64, 16), torch.zeros(64)
        )

    for k in range(120):
        data = play(k)
        gain = ppo.advantages(data, 0.99, 0.95)
        target, gain = gain + data.values, ppo.normalised(gain)
        for _ in range(3):
            mean, values = head(memory(data.observations["x"], data.memory, data.starts)[0]).split(1, dim=-1)
            logp = ppo.gaussian_log_probability(data.actions, mean, log_std)
            losses = ppo.clipped_losses(logp, data.log_probabilities, gain, values[..., 0], target, 0.2)
            optimizer.zero_grad()
            (losses["loss_policy"] + 0.5 * losses["loss_value"]).backward()
            optimizer.step()
    first, last = float(play(-1).rewards[2].mean()), float(log_std.exp() ** 2)
    assert -first < last + 0.25, "the noise alone costs its variance, guessing costs one more"
