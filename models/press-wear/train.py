"""Fits the model of this folder and writes model.onnx and golden.json.

    forebay demo record --seconds 14400 --seed 1 --wear 0   > target/normal.csv
    forebay demo record --seconds 60    --seed 2 --wear 0.4 > target/worn.csv
    python3 -m venv target/train
    target/train/bin/pip install -r models/press-wear/requirements.txt
    target/train/bin/python models/press-wear/train.py target/normal.csv target/worn.csv

The model is a principal component analysis of windows ("lag-PCA"): a window of all tags is laid
flat, what the first components explain is taken away, and what is left over, summed up by tag, is
what the machine does that it did not do in normal running. Scaling and scoring are in the graph.
"""

import csv
import json
import pathlib
import sys
import tomllib

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

# The same numbers as in src/infer/lag_pca.rs: Settings::default().
EXPLAINED = 0.8  # share of the variance that counts as normal
QUANTILE = 0.99  # of the scores in normal running …
MARGIN = 1.33  # … times this is the limit, and the score is divided by it

HERE = pathlib.Path(__file__).parent


def table(path, tags):
    """The columns `tags` of a recording, one row for each point of the grid."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return numpy.array([[float(row[tag]) for tag in tags] for row in rows], dtype=numpy.float64)


def windows(rows, length):
    """All windows, shape [N, length, tags]."""
    view = numpy.lib.stride_tricks.sliding_window_view(rows, length, axis=0)
    return numpy.ascontiguousarray(view.transpose(0, 2, 1))


def fit(rows, length):
    """Mean and deviation of each tag, components [length * tags, k], and the limit."""
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    flat = windows((rows - mean) / deviation, length).reshape(-1, length * rows.shape[1])
    values, vectors = numpy.linalg.eigh(flat.T @ flat / len(flat))
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = int(numpy.searchsorted(numpy.cumsum(values) / values.sum(), EXPLAINED)) + 1
    components = vectors[:, :kept]
    left_over = numpy.abs(flat - flat @ components @ components.T)
    scores = left_over.reshape(len(flat), length, -1).mean(axis=1).sum(axis=1)
    return mean, deviation, components, numpy.quantile(scores, QUANTILE) * MARGIN


def graph(mean, deviation, components, limit, length):
    """The model as ONNX: input [N, length, tags], outputs contrib [N, tags] and score [N]."""
    tags = len(mean)

    def constant(name, array, kind=numpy.float32):
        return numpy_helper.from_array(numpy.asarray(array, dtype=kind), name)

    constants = [
        constant("mean", mean),
        constant("deviation", deviation),
        constant("components", components),
        constant("components_t", components.T),
        constant("limit", [limit]),
        constant("flat_shape", [-1, length * tags], numpy.int64),
        constant("window_shape", [-1, length, tags], numpy.int64),
        constant("tag_axis", [1], numpy.int64),
    ]
    nodes = [
        helper.make_node("Sub", ["window", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "deviation"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "flat_shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "components"], ["inner"]),
        helper.make_node("MatMul", ["inner", "components_t"], ["explained"]),
        helper.make_node("Sub", ["flat", "explained"], ["left_over"]),
        helper.make_node("Abs", ["left_over"], ["size"]),
        helper.make_node("Reshape", ["size", "window_shape"], ["size_by_tag"]),
        helper.make_node("ReduceMean", ["size_by_tag"], ["mean_size"], axes=[1], keepdims=0),
        helper.make_node("Div", ["mean_size", "limit"], ["contrib"]),
        helper.make_node("ReduceSum", ["contrib", "tag_axis"], ["score"], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", length, tags])]
    outputs = [
        helper.make_tensor_value_info("contrib", TensorProto.FLOAT, ["N", tags]),
        helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
    ]
    body = helper.make_graph(nodes, "lag-pca", inputs, outputs, constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def golden(normal, worn, length, mean, deviation, components, limit):
    """Windows with the outputs they must give, computed here without ONNX, in 64 bits."""
    cases = []
    for name, rows, start in [
        ("normal", normal, 100),
        ("normal, another load", normal, 9000),
        ("worn", worn, 50),
        ("worn, later", worn, 90),
    ]:
        window = rows[start : start + length].astype(numpy.float32)
        flat = ((window.astype(numpy.float64) - mean) / deviation).reshape(1, -1)
        left_over = numpy.abs(flat - flat @ components @ components.T)
        contrib = left_over.reshape(length, -1).mean(axis=0) / limit
        cases.append(
            {
                "name": name,
                "window": [[float(str(value)) for value in row] for row in window],
                "contrib": [round(value, 7) for value in contrib.tolist()],
                "score": round(float(contrib.sum()), 7),
            }
        )
    return {"tolerance": 1e-4, "cases": cases}


def main():
    normal_csv, worn_csv = sys.argv[1:]
    spec = tomllib.loads((HERE / "model.toml").read_text())
    tags = [entry["tag"] for entry in spec["input"]]
    length = spec["window"]
    normal, worn = table(normal_csv, tags), table(worn_csv, tags)
    fitted = fit(normal, length)
    onnx.save(graph(*fitted, length), HERE / "model.onnx")
    cases = golden(normal, worn, length, *fitted)
    # One case a line: short enough to read, and to compare.
    lines = ",\n    ".join(json.dumps(case) for case in cases["cases"])
    text = f'{{\n  "tolerance": {cases["tolerance"]},\n  "cases": [\n    {lines}\n  ]\n}}\n'
    (HERE / "golden.json").write_text(text)
    print(f"{len(normal)} rows, {fitted[2].shape[1]} components, limit {fitted[3]:.4f}")
    for case in cases["cases"]:
        print(f'{case["name"]}: score {case["score"]:.3f}')


if __name__ == "__main__":
    main()
