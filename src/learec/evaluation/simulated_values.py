"""What only a simulated log can tell of a policy: its value by rollout, its lists' true worth, true propensities."""

import numpy as np

from learec.config import EvaluationConfig, derived_seed
from learec.data.log import Ints, Log
from learec.evaluation.compare import Values
from learec.evaluation.listeners import Listeners
from learec.evaluation.metrics import Scorer
from learec.evaluation.off_policy import probabilities
from learec.evaluation.rollout import Lists, Rollout, all_knowing, at_random, served_by


class SimulatedValues:
    """Columns over the T test targets of a simulated log; each stands beside the column that it is a mean over."""

    def __init__(self, listeners: Listeners, log: Log, steps: Ints, config: EvaluationConfig, seed: int) -> None:
        self._listeners, self._config, self._seed = listeners, config, derived_seed("rollout", seed)
        self._plays = listeners.plays(log, steps)
        self._places = np.searchsorted(steps, self._plays.steps)
        self._n, self._items = len(steps), log.sessions.items[steps]
        self._rewards = np.asarray(log.sessions.rewards[steps], dtype=np.float64)
        self._propensities = listeners.propensities(self._plays)
        self.rollout = Rollout.from_targets(listeners, log, steps, config.rollout_users, config.rollout_steps, self._seed)
        self._starts = np.searchsorted(steps, self.rollout.plays.steps)

    def value(self, lists: Lists) -> dict[str, Values]:
        """value: reward per step of a rollout, at the target where it starts; starts: 1 there."""
        return {"value": self._column(self._starts, self.rollout.values(lists)), "starts": self._column(self._starts, 1)}

    def of_scorer(self, scorer: Scorer) -> dict[str, Values]:
        """The same of an agent or a floor."""
        return self.value(served_by(scorer, self._config.list_length, mask_seen=self._config.mask_seen))

    def bounds(self) -> dict[str, dict[str, Values]]:
        """The same of what every policy should lie between."""
        k = self._config.list_length
        return {"at random": self.value(at_random(k, self._seed)), "all-knowing": self.value(all_knowing(k))}

    def of_lists(self, best: Ints) -> dict[str, Values]:
        """For lists (T, k). listed: true worth of what they hold; known: 1 where it is known."""
        worth = self._listeners.worth_of_lists(self._plays, best[self._places])
        return {"listed": self._column(self._places, worth), "known": self._column(self._places, 1)}

    def by_true_propensities(self, best: Ints, clip: float) -> dict[str, Values]:
        """What SNIPS would divide if the behaviour policy were known; no model of it can do better."""
        shown = probabilities(best[self._places], self._items[self._places])
        weight = self._column(self._places, np.minimum(shown / self._propensities, clip))
        return {"true weight": weight, "true weighted": weight * self._rewards}

    def _column(self, places: Ints, values: Values | int) -> Values:
        column = np.zeros(self._n)
        column[places] = values
        return column
