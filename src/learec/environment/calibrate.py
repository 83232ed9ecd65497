"""calibrate: everything that can be fitted before the language model is trained, so that its gain can be told apart."""

import numpy as np
import torch
from torch import Tensor

from learec.data.log import Ints
from learec.environment.environment import Environment
from learec.environment.pairs import PairBatch
from learec.environment.reward_model import reward_loss
from learec.environment.state_loss import StateLoss

CALIBRATED_STEPS = 2000


def calibrate(environment: Environment, batches: list[PairBatch], state_loss: StateLoss) -> None:
    """Measure the hidden vectors' scale, and fit temperature, popularity weight and reward scale to the skip connection.

    The heads are zero here, so epoch 0 is the content rule at its best, and what the epochs gain over it is the
    language model's. CALIBRATED_STEPS steps are enough.
    """
    (before, trunk, states, actions, negatives), steps = _calibration_sample(environment, batches)
    present = negatives > 0
    state_model, reward_model = environment.state_model, environment.reward_model
    state_model.standardise.measure(before)
    reward_model.standardise.measure(trunk)
    similarity = (states * environment.vectors[actions]).sum(-1)
    of_negatives = torch.einsum("md,mkd->mk", states, environment.vectors[negatives])
    drawn = state_loss.draw()  # one sample for all iterations, if a sample it is: a line search needs a fixed function
    scalars = [state_model.log_temperature, state_model.popularity_weight, reward_model.scale]
    optimizer = torch.optim.LBFGS(scalars, max_iter=25, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        scale = reward_model.scale
        loss = state_loss(states, actions, steps, drawn, taught=False)
        loss = loss + reward_loss(scale * similarity, scale * of_negatives, present)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]


@torch.no_grad()
def _calibration_sample(environment: Environment, batches: list[PairBatch]) -> tuple[tuple[Tensor, ...], Ints]:
    """Hidden before and at the item (M, D), skip states (M, W), actions (M,), negatives (M, n_negatives); and the steps (M,)."""
    environment.eval()
    found: list[tuple[Tensor, ...]] = []
    steps: list[Ints] = []
    for batch in batches:
        if sum(len(columns[0]) for columns in found) >= CALIBRATED_STEPS:
            break
        read = environment.read(batch.windows, batch.negatives[..., :0])
        device = read.trunk.device
        asked = torch.as_tensor(batch.paired, device=device)
        skip = environment.state_model.skip(batch.windows, environment.vectors)
        items, negatives = (torch.as_tensor(array, device=device) for array in (batch.windows.items, batch.negatives))
        steps.append(batch.windows.steps[batch.paired])
        found.append((read.before[asked], read.trunk[asked], skip[asked], items[asked], negatives[asked]))
    return tuple(torch.cat(columns) for columns in zip(*found, strict=True)), np.concatenate(steps)
