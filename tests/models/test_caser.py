"""Caser: all windows at once against one window at a time, as in the paper, and by hand."""

import pytest
import torch
from torch.nn import functional

from learec.models.caser import FILTERS, HEIGHTS, WINDOW, Caser

N_ITEMS, HIDDEN = 40, 8


@pytest.fixture
def caser():
    """Random weights, biases too: with zero biases a wrong border would go unseen."""
    torch.manual_seed(0)
    model = Caser(N_ITEMS, HIDDEN, 1, 1, 0.1, 50).eval()
    with torch.no_grad():
        for filters in model.horizontal:
            filters.bias.normal_()
    return model


def one_window(model, history):
    """The paper's way for one history: its window as an image (WINDOW rows, H columns), filters that slide over it."""
    image = torch.zeros(WINDOW, HIDDEN)
    newest = history[-WINDOW:]
    image[WINDOW - len(newest) :] = model.items.weight[newest] * HIDDEN**0.5
    found = []
    for height, filters in zip(HEIGHTS, model.horizontal, strict=True):
        weight = filters.rows.weight.view(height, FILTERS, HIDDEN).transpose(0, 1)  # (FILTERS, height, H)
        responses = functional.conv2d(image[None, None], weight[:, None], filters.bias)[0, :, :, 0]
        assert responses.shape == (FILTERS, WINDOW - height + 1)
        found.append(responses.relu().amax(1))
    found.append((model.vertical[:, None] * image).sum(0))
    return model.norm(model.out(torch.cat(found)))


@pytest.mark.parametrize("length", [1, 2, 3, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW])
def test_every_place_equals_the_papers_convolution_over_its_own_window(caser, length):
    items = torch.randint(1, N_ITEMS + 1, (2, length), generator=torch.Generator().manual_seed(1))
    hidden = caser(items)
    for row in range(2):
        for place in range(length):
            torch.testing.assert_close(hidden[row, place], one_window(caser, items[row, : place + 1]), atol=1e-5, rtol=1e-4)


def test_the_oldest_item_of_the_window_is_read_and_none_before_it(caser):
    items = torch.arange(1, WINDOW + 2)[None]
    before, oldest = items.clone(), items.clone()
    before[0, 0], oldest[0, 1] = 30, 30
    last = caser(items)[0, -1]
    torch.testing.assert_close(caser(before)[0, -1], last, atol=0, rtol=0)
    assert not torch.allclose(caser(oldest)[0, -1], last)


def test_a_horizontal_filter_answers_to_its_pattern_anywhere_in_the_window_and_not_after_it(caser):
    filters = caser.horizontal[0]  # height 2
    with torch.no_grad():
        filters.rows.weight.zero_()
        filters.bias.fill_(0.5)
        filters.rows.weight[0, 0] = 2.0  # the first filter's row on the older item reads column 0
        filters.rows.weight[FILTERS, 1] = 3.0  # and its row on the newer one column 1
    embedded = torch.zeros(1, WINDOW + 4, HIDDEN)
    embedded[0, 2, 0] = embedded[0, 3, 1] = 1.0  # items 2 and 3 lie together in the windows of places 3..WINDOW + 1
    answers = filters(embedded)[0, :, 0].tolist()
    assert answers == [0.5] * 3 + [2.0 + 3.0 + 0.5] * (WINDOW - 1) + [0.5] * 2
