"""Trains the estimate of remaining life of this folder and writes model.onnx and golden.json. README.md says how.

A small network is given declared features of one point of time (model.toml) and gives three numbers: at least,
probably and at most so many minutes until the bearing is worn out. It is fitted with the pinball loss of the
quantiles 5, 50 and 95 %. Written in numpy with its own gradients.
"""

import csv
import json
import pathlib
import sys
import tomllib

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
LIFE_MIN = 4.0  # from a new bearing to a worn out one, as the demonstration wears (src/demo/machine.rs)
WARN_MIN = 2.0  # the score is 1 when so much is probably left
LAG_MIN = 10.0 / 60.0  # what a window of 20 s shows of a wearing machine is on average so old
QUANTILES = numpy.array([0.05, 0.5, 0.95])
HIDDEN = (24, 24)
STEPS, BATCH, RATE = 8000, 256, 3e-3


def seconds(text):
    return float(text.removesuffix("s"))


def features(path, spec):
    """What model.toml declares, for each row for which enough is known, as src/infer/features computes it."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    interval = seconds(spec["sample_interval"].replace("ms", "s")) / (1000 if "ms" in spec["sample_interval"] else 1)
    columns, points = [], 1
    for feature in spec["feature"]:
        values = numpy.array([float(row[feature["tag"]]) for row in rows])
        length = round(seconds(feature["over"]) / interval)
        points = max(points, length)
        view = numpy.lib.stride_tricks.sliding_window_view(values, length)
        made = {"mean": view.mean, "std": view.std, "max": view.max, "min": view.min}[feature["kind"]](axis=1)
        columns.append(made)
    shortest = min(map(len, columns))
    return numpy.stack([column[-shortest:] for column in columns], axis=1)


class Network:
    """Dense layers with tanh, then the middle and the two distances from it."""

    def __init__(self, random, size):
        sizes = (size, *HIDDEN, 3)
        self.weights = [random.normal(size=(a, b)) / a**0.5 for a, b in zip(sizes, sizes[1:])]
        self.bias = [numpy.zeros(b) for b in sizes[1:]]
        self.bias[-1][:] = [0.5, -2.0, -2.0]

    def forward(self, x):
        """Low, middle and high, as shares of a whole life."""
        self.layers = [x]
        for weights, bias in zip(self.weights[:-1], self.bias[:-1]):
            self.layers.append(numpy.tanh(self.layers[-1] @ weights + bias))
        self.last = self.layers[-1] @ self.weights[-1] + self.bias[-1]
        distance = numpy.log1p(numpy.exp(self.last[:, 1:]))  # softplus: never below 0
        middle = self.last[:, 0]
        return numpy.stack([middle - distance[:, 0], middle, middle + distance[:, 1]], axis=1)

    def backward(self, gradient):
        """Gradients of weights and bias, given the one of the three numbers."""
        slope = 1 / (1 + numpy.exp(-self.last[:, 1:]))
        low, middle, high = gradient.T
        gradient = numpy.stack([low + middle + high, -low * slope[:, 0], high * slope[:, 1]], axis=1)
        made = []
        for number in range(len(self.weights) - 1, -1, -1):
            made.append((self.layers[number].T @ gradient, gradient.sum(axis=0)))
            gradient = (gradient @ self.weights[number].T) * (1 - self.layers[number] ** 2)
        return made[::-1]


def train(x, y, random):
    network = Network(random, x.shape[1])
    moments = [[0.0] * 4 for _ in network.weights]
    for step in range(1, STEPS + 1):
        pick = random.integers(0, len(x), BATCH)
        rest = y[pick, None] - network.forward(x[pick])
        gradient = numpy.where(rest > 0, -QUANTILES, 1 - QUANTILES) / BATCH
        rate = RATE * (1 - step / STEPS)
        for number, (of_weights, of_bias) in enumerate(network.backward(gradient)):
            moment = moments[number]
            for slot, (values, of) in enumerate(((network.weights, of_weights), (network.bias, of_bias))):
                moment[2 * slot] = 0.9 * moment[2 * slot] + 0.1 * of
                moment[2 * slot + 1] = 0.999 * moment[2 * slot + 1] + 0.001 * of**2
                first, second = moment[2 * slot] / (1 - 0.9**step), moment[2 * slot + 1] / (1 - 0.999**step)
                values[number] = values[number] - rate * first / (second**0.5 + 1e-8)
    return network


def remaining(network, x):
    return numpy.maximum(network.forward(x), 0) * LIFE_MIN


def contributions(x, shares, middle):
    """The score, shared out by how far each feature is from that of a new bearing and how much that says of wear."""
    parts = numpy.abs(x) * shares
    score = (LIFE_MIN - middle) / (LIFE_MIN - WARN_MIN)
    return score[:, None] * parts / parts.sum(axis=1, keepdims=True), score


def graph(mean, deviation, network, shares):
    size = len(mean)
    constants, nodes = [], []

    def constant(name, value, kind=numpy.float32):
        constants.append(numpy_helper.from_array(numpy.asarray(value, dtype=kind), name))
        return name

    def node(operator, inputs, output, **attributes):
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    row = node("Reshape", ["window", constant("row_shape", [-1, size], numpy.int64)], "row")
    row = node("Sub", [row, constant("mean", mean)], "centred")
    value = scaled = node("Div", [row, constant("deviation", deviation)], "scaled")
    last = len(network.weights) - 1
    for number, (weights, bias) in enumerate(zip(network.weights, network.bias)):
        inputs = [value, constant(f"weights_{number}", weights), constant(f"bias_{number}", bias)]
        value = node("Gemm", inputs, f"layer_{number}")
        if number < last:
            value = node("Tanh", [value], f"tanh_{number}")
    split = constant("split", [1, 1, 1], numpy.int64)
    nodes.append(helper.make_node("Split", [value, split], ["middle", "below", "above"], axis=1))
    low = node("Sub", ["middle", node("Softplus", ["below"], "down")], "low")
    high = node("Add", ["middle", node("Softplus", ["above"], "up")], "high")
    three = node("Concat", [low, "middle", high], "three", axis=1)
    node("Mul", [node("Relu", [three], "not_negative"), constant("life", [LIFE_MIN])], "remaining")
    ends = [constant(f"at_{number}", [number], numpy.int64) for number in (1, 2)]
    middle = node("Slice", ["remaining", *ends, constant("axis", [1], numpy.int64)], "probably")
    worn = node("Sub", ["life", middle], "worn")
    score = node("Div", [worn, constant("until_warning", [LIFE_MIN - WARN_MIN])], "score_column")
    parts = node("Mul", [node("Abs", [scaled], "size"), constant("shares", shares)], "parts")
    whole = node("ReduceSum", [parts, "axis"], "whole", keepdims=1)
    node("Mul", [node("Div", [parts, whole], "share"), score], "contrib")
    node("Squeeze", [score, "axis"], "score")
    inputs = [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", 1, size])]
    outputs = [
        helper.make_tensor_value_info("contrib", TensorProto.FLOAT, ["N", size]),
        helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
        helper.make_tensor_value_info("remaining", TensorProto.FLOAT, ["N", 3]),
    ]
    body = helper.make_graph(nodes, "remaining-life", inputs, outputs, constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    """Arguments: folder with recordings worn-<seed>-<per cent of wear>.csv; seeds from 90 on are for the test."""
    spec = tomllib.loads((HERE / "model.toml").read_text())
    parts = {False: ([], []), True: ([], [])}
    for path in sorted(pathlib.Path(sys.argv[1]).glob("worn-*.csv")):
        _, seed, wear = path.stem.split("-")
        x = features(path, spec)
        xs, ys = parts[int(seed) >= 90]
        xs.append(x)
        ys.append(numpy.full(len(x), max(0, 1 - int(wear) / 100 - LAG_MIN / LIFE_MIN)))
    (x, y), (test_x, test_y) = ((numpy.concatenate(xs), numpy.concatenate(ys)) for xs, ys in (parts[False], parts[True]))
    new = x[y == y.max()]
    mean, deviation = new.mean(axis=0), new.std(axis=0)
    x, test_x = (x - mean) / deviation, (test_x - mean) / deviation
    # How much a feature says of wear: its correlation with it, squared.
    shares = numpy.array([numpy.corrcoef(column, y)[0, 1] ** 2 for column in x.T])
    # Worn machines are far from a new one; the network sees all on one scale.
    scale = x.std(axis=0)
    network = train(x / scale, y, numpy.random.default_rng(1))
    network.weights[0] = network.weights[0] / scale[:, None]
    onnx.save(graph(mean, deviation, network, shares), HERE / "model.onnx")
    found = remaining(network, test_x)
    error = found[:, 1] - LIFE_MIN * test_y
    inside = (found[:, 0] <= LIFE_MIN * test_y) & (LIFE_MIN * test_y <= found[:, 2])
    print(f"{len(x)} rows to learn from, {len(test_x)} to test")
    rmse, width = 60 * numpy.sqrt(numpy.mean(error**2)), 60 * numpy.mean(found[:, 2] - found[:, 0])
    print(f"RMSE {rmse:.1f} s, inside the band {100 * inside.mean():.1f} %, width {width:.1f} s")
    for share in sorted(set(test_y), reverse=True):
        at = test_y == share
        rmse = 60 * numpy.sqrt(numpy.mean(error[at] ** 2))
        width = 60 * numpy.mean(found[at, 2] - found[at, 0])
        share_inside = 100 * inside[at].mean()
        print(f"  {60 * LIFE_MIN * share:5.0f} s left: RMSE {rmse:5.1f} s, inside {share_inside:5.1f} %, width {width:5.1f} s")
    cases = []
    for name, share in (("new", 0), ("half worn", 5), ("nearly worn out", -1)):
        share = sorted(set(test_y), reverse=True)[share]
        row = test_x[test_y == share][100:101]
        window = (row * deviation + mean).astype(numpy.float32)
        row = (window - mean) / deviation
        three = remaining(network, row)
        contrib, score = contributions(row, shares, three[:, 1])
        cases.append(
            {
                "name": name,
                "window": [[float(str(value)) for value in window[0]]],
                "contrib": [round(value, 7) for value in contrib[0].tolist()],
                "score": round(float(score[0]), 7),
                "remaining": [round(value, 6) for value in three[0].tolist()],
            }
        )
        print(f'{name}: score {score[0]:.2f}, remaining {", ".join(f"{value:.2f}" for value in three[0])} min')
    lines = ",\n    ".join(json.dumps(case) for case in cases)
    (HERE / "golden.json").write_text(f'{{\n  "tolerance": 0.001,\n  "cases": [\n    {lines}\n  ]\n}}\n')


if __name__ == "__main__":
    main()
