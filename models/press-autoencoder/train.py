"""Trains the autoencoder of this folder and writes model.onnx and golden.json. README.md says how to call it.

Two convolutions press a window of five tags into less than a fifth of its numbers, two transposed ones make
it anew. What they cannot make anew, by tag and over the window, is what the machine does that it did not do
in normal running. Written in numpy with its own gradients: nothing else is needed, and the result is the same
on every run on the same processor.
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
KERNEL, STRIDE, PAD = 4, 2, 1
CHANNELS = 12  # after the first convolution
NARROW = 3  # after the second
STEPS, BATCH, RATE = 4000, 128, 2e-3
QUANTILE, MARGIN = 0.999, 1.25  # of the scores of presses that were not learned from: the limit


def table(path, tags):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return numpy.array([[float(row[tag]) for tag in tags] for row in rows])


def windows(rows, length):
    view = numpy.lib.stride_tricks.sliding_window_view(rows, length, axis=0)
    return numpy.ascontiguousarray(view.transpose(0, 2, 1))


def pieces(x):
    """[N, C, L] to the pieces a kernel sees, [N, L / 2, C * KERNEL]."""
    padded = numpy.pad(x, ((0, 0), (0, 0), (PAD, PAD)))
    view = numpy.lib.stride_tricks.sliding_window_view(padded, KERNEL, axis=2)[:, :, ::STRIDE]
    return view.transpose(0, 2, 1, 3).reshape(len(x), view.shape[2], -1)


def spread(parts, channels, length):
    """The reverse: pieces are added where they came from."""
    count, steps, _ = parts.shape
    parts = parts.reshape(count, steps, channels, KERNEL)
    out = numpy.zeros((count, channels, length + 2 * PAD))
    for place in range(KERNEL):
        out[:, :, place : place + STRIDE * steps : STRIDE] += parts[:, :, :, place].transpose(0, 2, 1)
    return out[:, :, PAD : PAD + length]


class Down:
    """A convolution that halves the length. Weights [out, in * KERNEL]."""

    def __init__(self, random, before, after):
        self.weights = random.normal(size=(after, before * KERNEL)) * (2 / (before * KERNEL)) ** 0.5
        self.bias = numpy.zeros(after)

    def forward(self, x):
        self.shape, self.parts = x.shape, pieces(x)
        return (self.parts @ self.weights.T + self.bias).transpose(0, 2, 1)

    def backward(self, gradient):
        gradient = gradient.transpose(0, 2, 1)
        self.of_weights = numpy.einsum("nso,nsi->oi", gradient, self.parts)
        self.of_bias = gradient.sum(axis=(0, 1))
        return spread(gradient @ self.weights, self.shape[1], self.shape[2])


class Up:
    """A transposed convolution that doubles the length. Weights [in, out * KERNEL]."""

    def __init__(self, random, before, after):
        self.weights = random.normal(size=(before, after * KERNEL)) * (1 / (before * 2)) ** 0.5
        self.bias = numpy.zeros(after)

    def forward(self, x):
        self.x = x.transpose(0, 2, 1)
        return spread(self.x @ self.weights, len(self.bias), 2 * x.shape[2]) + self.bias[:, None]

    def backward(self, gradient):
        parts = pieces(gradient)
        self.of_weights = numpy.einsum("nsi,nso->io", self.x, parts)
        self.of_bias = gradient.sum(axis=(0, 2))
        return (parts @ self.weights.T).transpose(0, 2, 1)


class Relu:
    def forward(self, x):
        self.open = x > 0
        return x * self.open

    def backward(self, gradient):
        return gradient * self.open


def train(scaled, random):
    tags = scaled.shape[2]
    layers = [Down(random, tags, CHANNELS), Relu(), Down(random, CHANNELS, NARROW), Relu()]
    layers += [Up(random, NARROW, CHANNELS), Relu(), Up(random, CHANNELS, tags)]
    with_weights = [layer for layer in layers if hasattr(layer, "weights")]
    moments = [[0.0] * 4 for _ in with_weights]
    for step in range(1, STEPS + 1):
        x = scaled[random.integers(0, len(scaled), BATCH)].transpose(0, 2, 1)
        made = x
        for layer in layers:
            made = layer.forward(made)
        gradient = 2 * (made - x) / x.size
        for layer in reversed(layers):
            gradient = layer.backward(gradient)
        rate = RATE * (1 - step / STEPS)
        for layer, moment in zip(with_weights, moments):
            for slot, (name, of) in enumerate((("weights", layer.of_weights), ("bias", layer.of_bias))):
                moment[2 * slot] = 0.9 * moment[2 * slot] + 0.1 * of
                moment[2 * slot + 1] = 0.999 * moment[2 * slot + 1] + 0.001 * of**2
                first, second = moment[2 * slot] / (1 - 0.9**step), moment[2 * slot + 1] / (1 - 0.999**step)
                setattr(layer, name, getattr(layer, name) - rate * first / (second**0.5 + 1e-8))
    return layers


def contributions(layers, scaled):
    """Mean size, by tag, of what is not made anew."""
    found = []
    for part in numpy.array_split(scaled, max(1, len(scaled) // 4096)):
        made = part.transpose(0, 2, 1)
        for layer in layers:
            made = layer.forward(made)
        found.append(numpy.abs(made - part.transpose(0, 2, 1)).mean(axis=2))
    return numpy.concatenate(found)


def graph(mean, deviation, layers, limit, length):
    tags = len(mean)
    constants, nodes = [], []

    def constant(name, value, kind=numpy.float32):
        constants.append(numpy_helper.from_array(numpy.asarray(value, dtype=kind), name))
        return name

    def node(operator, inputs, output, **attributes):
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    value = node("Sub", ["window", constant("mean", mean)], "centred")
    value = node("Div", [value, constant("deviation", deviation)], "scaled")
    turned = value = node("Transpose", [value], "turned", perm=[0, 2, 1])
    shape = {"kernel_shape": [KERNEL], "strides": [STRIDE], "pads": [PAD, PAD]}
    for number, layer in enumerate(layers):
        if isinstance(layer, Relu):
            value = node("Relu", [value], f"relu_{number}")
            continue
        weights = layer.weights.reshape(len(layer.weights), -1, KERNEL)
        inputs = [value, constant(f"weights_{number}", weights), constant(f"bias_{number}", layer.bias)]
        value = node("Conv" if isinstance(layer, Down) else "ConvTranspose", inputs, f"layer_{number}", **shape)
    value = node("Abs", [node("Sub", [turned, value], "left_over")], "size")
    value = node("ReduceMean", [value], "by_tag", axes=[2], keepdims=0)
    node("Div", [value, constant("limit", [limit])], "contrib")
    node("ReduceSum", ["contrib", constant("tag_axis", [1], numpy.int64)], "score", keepdims=0)
    inputs = [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", length, tags])]
    outputs = [
        helper.make_tensor_value_info("contrib", TensorProto.FLOAT, ["N", tags]),
        helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
    ]
    body = helper.make_graph(nodes, "autoencoder", inputs, outputs, constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    """Arguments: folder with recordings. normal-<number>.csv are learned from, 91 to 93 give the limit, 94 to 96 test;
    worn-<per cent>.csv are of worn presses."""
    spec = tomllib.loads((HERE / "model.toml").read_text())
    tags, length = [entry["tag"] for entry in spec["input"]], spec["window"]
    folder = pathlib.Path(sys.argv[1])
    normal = {int(path.stem.split("-")[1]): table(path, tags) for path in sorted(folder.glob("normal-*.csv"))}
    worn = {path.stem: table(path, tags) for path in sorted(folder.glob("worn-*.csv"))}
    learned = numpy.concatenate([rows for number, rows in normal.items() if number < 90])
    mean, deviation = learned.mean(axis=0), learned.std(axis=0)
    scale = lambda rows: windows((rows - mean) / deviation, length)
    scaled = numpy.concatenate([scale(rows) for number, rows in normal.items() if number < 90])
    layers = train(scaled, numpy.random.default_rng(1))
    score = lambda rows: contributions(layers, scale(rows)).sum(axis=1)
    scores = numpy.concatenate([score(normal[number]) for number in (91, 92, 93)])
    limit = float(numpy.quantile(scores, QUANTILE) * MARGIN)
    onnx.save(graph(mean, deviation, layers, limit, length), HERE / "model.onnx")
    print(f"{len(scaled)} windows learned from, limit {limit:.4f}")
    for name, rows in [(f"normal-{number}", normal[number]) for number in (94, 95, 96)] + list(worn.items()):
        found = score(rows) / limit
        print(f"{name}: median {numpy.median(found):.2f}, highest {found.max():.2f}, over the limit {100 * numpy.mean(found > 1):.2f} %")
    cases = []
    for name, rows, start in (
        ("normal", normal[94], 100),
        ("normal, another load", normal[95], 9000),
        ("worn", worn["worn-40"], 20),
        ("slightly worn", worn["worn-10"], 60),
    ):
        window = rows[start : start + length].astype(numpy.float32)
        contrib = contributions(layers, ((window - mean) / deviation)[None])[0] / limit
        cases.append(
            {
                "name": name,
                "window": [[float(str(value)) for value in row] for row in window],
                "contrib": [round(value, 7) for value in contrib.tolist()],
                "score": round(float(contrib.sum()), 7),
            }
        )
    lines = ",\n    ".join(json.dumps(case) for case in cases)
    (HERE / "golden.json").write_text(f'{{\n  "tolerance": 0.0001,\n  "cases": [\n    {lines}\n  ]\n}}\n')
    for case in cases:
        print(f'{case["name"]}: score {case["score"]:.3f}')


if __name__ == "__main__":
    main()
