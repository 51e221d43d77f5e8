"""Judges the method of train.py on C-MAPSS FD001 (NASA, turbofan engines run to failure): cross-validation over engines.

Argument: train_FD001.txt. No engine is in the part that is learned and in the part that is judged. Features of the
last 30 cycles of each moving sensor: mean, standard deviation, slope, mean of the last five. The network learns
min(cycles left, 125), as is usual; judged is every row from cycle 30 on, against the capped and against the real number.
"""

import sys

import numpy

from train import train

WINDOW, FOLDS, CAP, RECENT = 30, 5, 125.0, 5
# 80 engines are few: each window is learned five times with noise of this many deviations, or the network learns the
# engines by heart (without it 15.3 cycles instead of 13.8, and 51 % inside the band).
NOISE, COPIES = 0.6, 5


def features(rows):
    """One row for each window of one engine: (windows, 4 x sensors)."""
    view = numpy.lib.stride_tricks.sliding_window_view(rows, WINDOW, axis=0)
    ramp = numpy.arange(WINDOW) - (WINDOW - 1) / 2
    parts = [view.mean(axis=2), view.std(axis=2), view @ ramp / (ramp @ ramp), view[:, :, -RECENT:].mean(axis=2)]
    return numpy.concatenate(parts, axis=1)


def rmse(found, truth):
    return numpy.sqrt(numpy.mean((found - truth) ** 2))


def main():
    table = numpy.loadtxt(sys.argv[1])
    engines, sensors = table[:, 0].astype(int), table[:, 5:]
    sensors = sensors[:, sensors.std(axis=0) > 1e-6 * numpy.abs(sensors.mean(axis=0))]
    parts = []
    for engine in sorted(set(engines)):
        rows = sensors[engines == engine]
        x = features(rows)
        parts.append((x, numpy.arange(len(x))[::-1].astype(float)))
    order = numpy.random.default_rng(1).permutation(len(parts))
    found, truth, inside = [], [], []
    for fold in range(FOLDS):
        test = set(order[fold::FOLDS])
        x = numpy.concatenate([parts[n][0] for n in range(len(parts)) if n not in test])
        y = numpy.concatenate([parts[n][1] for n in range(len(parts)) if n not in test])
        mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-9
        random = numpy.random.default_rng(fold)
        noisy = numpy.concatenate([(x - mean) / deviation + NOISE * random.normal(size=x.shape) for _ in range(COPIES)])
        network = train(noisy, numpy.tile(numpy.minimum(y, CAP) / CAP, COPIES), random)
        for n in sorted(test):
            x, y = parts[n]
            low, middle, high = (network.forward((x - mean) / deviation) * CAP).T
            found.append(numpy.clip(middle, 0, CAP))
            truth.append(y)
            inside.append((low <= numpy.minimum(y, CAP)) & (numpy.minimum(y, CAP) <= high))
    found, truth, inside = map(numpy.concatenate, (found, truth, inside))
    print(f"{len(parts)} engines, {FOLDS} folds, {len(found)} rows from cycle {WINDOW} on")
    print(f"RMSE against min(left, {CAP:.0f}): {rmse(found, numpy.minimum(truth, CAP)):.2f} cycles")
    print(f"RMSE against the cycles really left: {rmse(found, truth):.2f} cycles")
    near = truth <= CAP
    print(f"RMSE of rows with at most {CAP:.0f} left: {rmse(found[near], truth[near]):.2f} cycles")
    print(f"inside the band of 90 %: {100 * inside.mean():.1f} %")
    trivial = numpy.minimum(truth, CAP).mean()
    print(f"always {trivial:.0f}: RMSE {rmse(trivial, numpy.minimum(truth, CAP)):.2f} against min(left, {CAP:.0f})")


if __name__ == "__main__":
    main()
