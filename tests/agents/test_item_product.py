"""The product with the whole catalog: equal to torch's own functions over the full matrix of logits."""

import pytest
import torch

from learec.agents.agent import Agent
from learec.agents.full_softmax import FullActor
from learec.agents.item_product import LANE, LogSumExp, Scratch, aligned, best_items, blocks
from learec.config import AgentConfig

SHAPES = [(1, 5, 4), (7, 40, 8), (90, 12_103, 16)]  # rows, items, hidden; the last in several blocks


def drawn(n, width, hidden_size):
    torch.manual_seed(n)
    hidden, table, bias = torch.randn(n, hidden_size), torch.randn(width, hidden_size), torch.randn(width)
    return [tensor.requires_grad_() for tensor in (hidden, table, bias)]


def possible(bias):
    return bias.index_fill(0, torch.tensor([0, 3]), -torch.inf)


@pytest.mark.parametrize("shape", SHAPES)
def test_log_sums_and_their_gradients_are_those_of_the_whole_matrix(shape):
    tensors, weights = drawn(*shape), torch.randn(shape[0])
    hidden, table, bias = tensors
    log_sums = LogSumExp.apply(hidden, table, possible(bias), Scratch())
    mine = torch.autograd.grad((log_sums * weights).sum(), tensors)
    expected = torch.addmm(possible(bias), hidden, table.T).logsumexp(1)
    theirs = torch.autograd.grad((expected * weights).sum(), tensors)
    torch.testing.assert_close(log_sums, expected)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_best_item_is_the_argmax_of_the_whole_matrix(shape):
    hidden, table, bias = drawn(*shape)
    assert best_items(hidden, table, possible(bias)).tolist() == torch.addmm(possible(bias), hidden, table.T).argmax(1).tolist()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_blocked_items_are_never_the_best(shape, autocast):
    hidden, table, bias = drawn(*shape)
    blocked = torch.randint(0, len(table), (len(hidden), 3))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):  # in one product or in blocks
        whole = torch.addmm(possible(bias), hidden, table.T).scatter(1, blocked, -torch.inf)
        assert best_items(hidden, table, possible(bias), blocked).tolist() == whole.argmax(1).tolist()


@pytest.mark.parametrize("width", [3, 31, 32, 33, 200])
def test_of_two_equal_items_the_lower_number_is_best(width):
    for first in range(width - 1):
        bias = torch.zeros(width)
        bias[[first, width - 1]] = 1.0
        assert best_items(torch.zeros(2, 4), torch.zeros(width, 4), bias).tolist() == [first, first]


def test_rows_begin_at_cache_lines_and_what_is_beyond_the_items_is_impossible():
    [(rows, logits)] = blocks(torch.ones(2, 4), torch.ones(17, 4), torch.zeros(17))
    assert rows == slice(0, 2)
    assert logits.shape == (2, aligned(17)) == (2, 2 * LANE)
    assert torch.isneginf(logits[:, 17:]).all()
    assert (logits[:, :17] == 4).all()


def test_going_backward_after_another_forward_has_taken_the_scratch_is_an_error():
    scratch = Scratch()
    hidden, table, bias = drawn(3, 10, 4)
    first = LogSumExp.apply(hidden, table, bias, scratch)
    LogSumExp.apply(hidden, table, bias, scratch)
    with pytest.raises(RuntimeError, match="another batch"):
        first.sum().backward()


@pytest.mark.parametrize("tied", [True, False])
def test_log_probabilities_of_chosen_actions_are_those_of_the_softmax_and_sum_to_one(tied):
    agent = Agent(AgentConfig(hidden_size=8, tied=tied), n_items=20, state_size=0, cold_items=torch.tensor([4]))
    torch.nn.init.normal_(agent.actor_bias)
    hidden = torch.randn(3, 8)
    actor = FullActor(agent, hidden, Scratch())
    warm = torch.tensor([[item for item in range(1, 21) if item != 4]]).expand(3, -1)
    torch.testing.assert_close(actor(warm), agent.logits(hidden).log_softmax(-1).gather(1, warm))
    torch.testing.assert_close(actor(warm).exp().sum(1), torch.ones(3))
    torch.testing.assert_close(actor(warm[:, 0]), actor(warm)[:, 0])
