"""What every encoder promises. A new one is tested by being listed in ENCODERS."""

import pytest
import torch
from safetensors.torch import load, save
from torch.nn import functional

from learec.models import ENCODERS

N_ITEMS, HIDDEN, LENGTH = 30, 16, 9


@pytest.fixture(params=ENCODERS)
def encoder(request):
    torch.manual_seed(0)
    return ENCODERS[request.param](N_ITEMS, HIDDEN, 2, 2, 0.1, LENGTH).eval()


def random_items(rows=4, length=LENGTH):
    return torch.randint(1, N_ITEMS + 1, (rows, length), generator=torch.Generator().manual_seed(1))


def test_gives_a_hidden_vector_for_every_place(encoder):
    assert encoder(random_items()).shape == (4, LENGTH, HIDDEN)


def test_padding_on_the_right_changes_nothing_before_it(encoder):
    items = random_items()
    padded = items.clone()
    padded[:, 6:] = 0
    torch.testing.assert_close(encoder(padded)[:, :6], encoder(items[:, :6]))


def test_the_future_is_not_read(encoder):
    items = random_items()
    other = items.clone()
    other[:, 5:] = other[:, 5:] % N_ITEMS + 1
    torch.testing.assert_close(encoder(items)[:, :5], encoder(other)[:, :5])
    assert not torch.allclose(encoder(items)[:, 5], encoder(other)[:, 5])


def test_the_past_is_read(encoder):
    items = random_items()
    other = items.clone()
    other[:, 0] = other[:, 0] % N_ITEMS + 1
    assert not torch.allclose(encoder(items)[:, -1], encoder(other)[:, -1])


def test_rows_of_a_batch_do_not_touch_each_other(encoder):
    items = random_items()
    torch.testing.assert_close(encoder(items)[2:3], encoder(items[2:3]), atol=1e-5, rtol=1e-4)


def test_saved_and_loaded_weights_give_the_same_hidden_vectors(encoder):
    items, before = random_items(), encoder(random_items())
    stored = save(encoder.state_dict())
    with torch.no_grad():
        for tensor in encoder.parameters():
            tensor.zero_()
    encoder.load_state_dict(load(stored))
    torch.testing.assert_close(encoder(items), before)


def test_gradients_reach_every_parameter(encoder):
    items = random_items(16)
    (encoder.train()(items) * torch.randn(16, LENGTH, HIDDEN)).sum().backward()
    silent = [name for name, tensor in encoder.named_parameters() if tensor.grad is None or not tensor.grad.abs().sum() > 0]
    assert silent == []


def test_dropout_is_off_in_evaluation(encoder):
    items = random_items()
    torch.testing.assert_close(encoder(items), encoder(items), atol=0, rtol=0)
    encoder.train()
    assert not torch.allclose(encoder(items), encoder(items))


def test_eight_sessions_can_be_learnt_by_heart(encoder):
    encoder.train()
    for module in encoder.modules():
        if hasattr(module, "dropped"):
            module.dropped = 0
        if isinstance(module, torch.nn.GRU):
            module.dropout = 0.0
    items = random_items(8)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.01)
    for _ in range(200):
        logits = encoder(items[:, :-1]) @ encoder.items.weight[1:].T
        loss = functional.cross_entropy(logits.flatten(0, 1), items[:, 1:].flatten() - 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    correct = (logits.argmax(-1) + 1 == items[:, 1:])[:, 2:].float().mean()
    assert correct > 0.95
