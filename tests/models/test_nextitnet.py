"""NextItNet: what its dilations let it read, and one block by hand."""

import pytest
import torch
from torch.nn import functional

from learec.models.nextitnet import Block, NextItNet

N_ITEMS, HIDDEN = 40, 8


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_the_last_place_reads_six_items_back_per_block_and_no_further(n_layers):
    torch.manual_seed(0)
    model = NextItNet(N_ITEMS, HIDDEN, n_layers, 1, 0.1, 50).eval()
    items = torch.arange(1, 31)[None]
    last = model(items)[0, -1]
    read = []
    for lag in range(30):
        other = items.clone()
        other[0, -1 - lag] = 40
        if not torch.equal(model(other)[0, -1], last):
            read.append(lag)
    assert read == list(range(1 + n_layers * (2 * 1 + 2 * 2)))


def test_a_block_that_looks_only_at_the_oldest_taps_moves_an_item_six_places():
    block = Block(2, 0.0)
    with torch.no_grad():
        for convolution in block.convolutions:
            convolution.bias.zero_()
            convolution.weight.zero_()
            convolution.weight[:, :, 0] = torch.eye(2)  # 2 places back, then 4
    hidden = torch.zeros(1, 9, 2)
    hidden[0, 1] = torch.tensor([5.0, -3.0])  # normalised and rectified (1, 0); that once more: (1, 0)
    expected = hidden.clone()
    expected[0, 7] = torch.tensor([1.0, 0.0])
    torch.testing.assert_close(block(hidden), expected, atol=1e-4, rtol=0)


def test_a_block_equals_its_formula_written_place_by_place():
    torch.manual_seed(0)
    block = Block(HIDDEN, 0.5).eval()
    hidden = torch.randn(12, HIDDEN)

    def layer(values, convolution, norm, dilation):
        out = []
        for place in range(len(values)):
            taps = [(tap, place - (2 - tap) * dilation) for tap in range(3)]
            total = sum(convolution.weight[:, :, tap] @ values[at] for tap, at in taps if at >= 0)
            out.append(functional.relu(norm(total + convolution.bias)))
        return torch.stack(out)

    inner = layer(hidden, block.convolutions[0], block.norms[0], 1)
    outer = layer(inner, block.convolutions[1], block.norms[1], 2)
    torch.testing.assert_close(block(hidden[None])[0], hidden + outer, atol=1e-5, rtol=1e-4)
