"""River: mean and variance of a rolling window of 49 log returns, as the library has them."""

from __future__ import annotations

import itertools
import math
import random
import sys

from river import stats, utils

from tests.benchmarks.jobs.clock import Stopwatch


def main(count: int) -> None:
    """Apply `count` prices."""
    mean = utils.Rolling(stats.Mean(), window_size=49)
    variance = utils.Rolling(stats.Var(ddof=1), window_size=49)
    moves = random.Random(7)
    prices = [100 * math.exp(moves.gauss(0, 3e-5)) for _ in range(count)]
    watch = Stopwatch()
    watch.start()
    for last, price in itertools.pairwise(prices):
        move = math.log(price / last)
        mean.update(move)
        variance.update(move)
        _ = mean.get(), math.sqrt(max(0.0, variance.get()))
    watch.print_result(count)


if __name__ == "__main__":
    main(int(sys.argv[1]))
