"""Models that must be refused, each with what the gate says of it: wrong, unsupported, silently wrong, damaged, or made
to exhaust the box."""

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

from good import autoencoder, lag_pca
from write import FLOAT, INPUTS, INT64, WINDOW, Graph

ALL = WINDOW * INPUTS


def models():
    """Names, files as bytes, and what is said."""
    for part in (shapes, operators, silent, limits, malicious):
        for name, model, says in part():
            yield name, model if isinstance(model, bytes) else model.SerializeToString(), says
    yield from damaged()


def good():
    return lag_pca()[1]


def shapes():
    for name, changes, says in (
        ("window-of-another-length", {"window": WINDOW + 2}, "one input [N, 8, 4]"),
        ("another-number-of-inputs", {"inputs": INPUTS + 1}, "one input [N, 8, 4]"),
        ("batch-of-two", {"batch": 2}, "one input [N, 8, 4]"),
    ):
        g = Graph(**changes)
        yield name, g.outputs(g.add("ReduceMean", "window", axes=[1], keepdims=0)), says
    model = good()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    yield "input-of-64-bits", model, "of 32-bit numbers is needed"
    model = good()
    model.graph.input.append(helper.make_tensor_value_info("second", FLOAT, [1]))
    yield "two-inputs", model, "2 inputs"
    model = good()
    del model.graph.output[1]
    yield "without-score", model, "1 outputs, contrib, score are needed"
    model = good()
    first, second = model.graph.output[1], model.graph.output[0]
    del model.graph.output[:]
    model.graph.output.extend([first, second])
    yield "outputs-in-another-order", model, 'output "score" stands where "contrib" is needed'
    g = Graph()
    yield "contributions-by-row", g.outputs(g.add("ReduceMean", "window", axes=[2], keepdims=0)), "contrib has shape"
    g = Graph()
    g.nodes.append(helper.make_node("ReduceMean", ["window"], ["contrib"], axes=[1], keepdims=0))
    g.nodes.append(helper.make_node("Relu", ["contrib"], ["score"]))
    yield "score-of-each-input", g.model(), "has shape"
    g = Graph()
    yield "matmul-that-does-not-fit", g.finish(g.add("MatMul", "window", g.weights(INPUTS + 1, 3)), 24), "does not load"


def refused(name, operator, says, *more, outputs=1, domain="", **attributes):
    g = Graph()
    g.add(operator, "window", *more, outputs=outputs, domain=domain, **attributes)
    return name, g.outputs(g.add("ReduceMean", "window", axes=[1], keepdims=0)), says


def operators():
    inner = helper.make_graph(
        [helper.make_node("Identity", ["cond_in"], ["cond_out"])],
        "body",
        [helper.make_tensor_value_info("step", INT64, []), helper.make_tensor_value_info("cond_in", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("cond_out", TensorProto.BOOL, [])],
    )
    for operator, field in (("Loop", "body"), ("Scan", "body"), ("If", "then_branch")):
        yield refused(f"operator-{operator.lower()}", operator, f"operator `{operator}` is not supported: export without it", **{field: inner})
    for operator, domain, says in (
        ("ZipMap", "ai.onnx.ml", "zipmap=False"),
        ("TreeEnsembleRegressor", "ai.onnx.ml", "plain operators (MatMul, Less"),
        ("SVMRegressor", "ai.onnx.ml", "plain operators"),
        ("Scaler", "ai.onnx.ml", "plain operators"),
        ("RandomNormalLike", "", "must not be random"),
        ("NonZero", "", "must not depend on values"),
        ("QuantizeLinear", "", "not quantised"),
        ("Resize", "", "docs/models.md"),
        ("StringNormalizer", "", "docs/models.md"),
        ("FusedMatMul", "com.microsoft", "operator `FusedMatMul` of com.microsoft is not supported"),
    ):
        yield refused(f"operator-{operator.lower()}", operator, says, domain=domain)
    # The library looks at the name only.
    yield refused("relu-of-another-domain", "Relu", "operator `Relu` of plant.example is not supported", domain="plant.example")
    g = Graph()
    yield "opset-21", opset(g.outputs(g.add("ReduceMean", "window", axes=[1], keepdims=0)), 21), "operators of version 21"
    yield "opset-9", opset(good(), 9), "operators of version 9"


def opset(model, version):
    model.opset_import[0].version = version
    return model


def recurrent(kind, says, hidden=5, lengths=False, start=True, **attributes):
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    g = Graph(batch=1)
    steps = g.add("Transpose", "window", perm=[1, 0, 2])
    zeros = g.constant(numpy.zeros((1, 1, hidden)))
    inputs = [steps, g.weights(1, gates * hidden, INPUTS), g.weights(1, gates * hidden, hidden), g.weights(1, 2 * gates * hidden)]
    inputs += [g.constant([WINDOW - 1], numpy.int32) if lengths else "", zeros] + ([zeros] if kind == "LSTM" else [])
    out = g.add(kind, *inputs, outputs=3 if kind == "LSTM" else 2, hidden_size=hidden, **attributes)
    return g.finish(g.add("Reshape", out[0], g.integers(1, -1)), hidden * WINDOW), says


def forest(**changes):
    """One tree of two leaves: its label, its shares, and the graph."""
    g = Graph()
    flat = g.add("Reshape", "window", g.integers(-1, ALL))
    tree = dict(
        nodes_treeids=[0] * 3, nodes_nodeids=[0, 1, 2], nodes_featureids=[3, 0, 0], nodes_values=[0.1, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        class_treeids=[0, 0], class_nodeids=[1, 2], class_ids=[0, 0], class_weights=[0.2, 0.9],
        classlabels_int64s=[0, 1], post_transform="NONE",
    )
    label, share = g.add("TreeEnsembleClassifier", flat, outputs=2, domain="ai.onnx.ml", **(tree | changes))
    return label, share, g


def silent():
    """What the library loads and computes wrongly. Their golden cases are what the library makes of them."""
    for name, kind, says, attributes in (
        ("lstm-relu", "LSTM", "LSTM with activation Sigmoid, Relu, Relu: the library computes it wrongly", {"activations": ["Sigmoid", "Relu", "Relu"]}),
        ("lstm-hard-sigmoid", "LSTM", "train with the default activations", {"activations": ["HardSigmoid", "Tanh", "Tanh"]}),
        ("gru-relu", "GRU", "GRU with activation Sigmoid, Relu", {"activations": ["Sigmoid", "Relu"]}),
        ("rnn-relu", "RNN", "RNN with activation Relu", {"activations": ["Relu"]}),
        ("lstm-reverse", "LSTM", "direction reverse", {"direction": "reverse"}),
        ("lstm-clip", "LSTM", "`LSTM` with attribute `clip`", {"clip": 0.3}),
        ("lstm-coupled", "LSTM", "`LSTM` with attribute `input_forget`", {"input_forget": 1}),
        ("lstm-batch-first", "LSTM", "`LSTM` with attribute `layout`", {"layout": 1}),
        ("lstm-lengths", "LSTM", "lengths of sequences", {"lengths": True}),
    ):
        model, says = recurrent(kind, says, **attributes)
        yield name, model, says
    g = Graph()
    yield "celu-alpha", g.finish(g.add("Celu", "window", alpha=0.7), ALL), "Celu with an alpha other than 1"
    g = Graph()
    batch = g.add("Shape", "window", start=0, end=1)
    zeros = g.add("ConstantOfShape", g.add("Concat", batch, g.integers(1, INPUTS), axis=0))
    yield "zeros-without-type", g.finish(g.add("Concat", zeros, "window", axis=1), ALL + INPUTS), "ConstantOfShape without a value"
    label, _, g = forest()
    yield "forest-label", g.finish(g.add("Reshape", label, g.integers(-1, 1)), 1, cast=True), "use the probabilities"
    for name, says, changes in (
        ("class-beyond", "weights to class 7 of 2", {"class_ids": [0, 7]}),
        ("class-below", "weights to class -1 of 2", {"class_ids": [0, -1]}),
        ("circle", "or was reached before", {"nodes_modes": ["BRANCH_LEQ"] * 2 + ["LEAF"], "nodes_truenodeids": [1, 1, 0], "nodes_falsenodeids": [2, 2, 0], "class_nodeids": [2, 2]}),
        ("to-the-root", "leads to node 0", {"nodes_falsenodeids": [0, 0, 0]}),
        ("to-nowhere", "leads to node 9", {"nodes_falsenodeids": [9, 0, 0]}),
        ("numbers-from-one", "not numbered from 0", {"nodes_nodeids": [1, 2, 3], "nodes_truenodeids": [2, 0, 0], "nodes_falsenodeids": [3, 0, 0], "class_nodeids": [2, 3]}),
        ("no-leaf", "which is no leaf", {"class_nodeids": [0, 2]}),
        ("lists", "lists of nodes of different lengths", {"nodes_modes": ["BRANCH_LEQ", "LEAF"]}),
        ("texts", "fit with classes 0, 1", {"classlabels_strings": ["good", "worn"]}),
        ("one-class", "has 1 classes", {"classlabels_int64s": [0]}),
    ):
        _, share, g = forest(**changes)
        yield f"forest-{name}", g.finish(share, 2), says
    model = good()
    shapes = helper.make_node("Neg", ["window"], ["flipped"])
    model.graph.node.insert(0, shapes)
    model.graph.node.insert(1, helper.make_node("Abs", ["window"], ["flipped"]))
    model.graph.node[2].input[0] = "flipped"
    yield "one-name-for-two-values", model, 'two values have the name "flipped"'


def limits():
    model = good()
    limit = model.graph.initializer[0]
    limit.raw_data = numpy.full(INPUTS, numpy.nan, dtype=numpy.float32).tobytes()
    yield "weights-nan", model, "holds NaN"
    model = good()
    model.graph.initializer[0].dims[0] = 1 << 40
    yield "billions-of-elements", model, "M0303: is too large"
    model = good()
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([1 << 20, 1 << 20, 1 << 20, 16])
    yield "elements-that-overflow", model, "M0303: is too large"
    model = good()
    model.graph.initializer[0].dims[0] = -1
    yield "negative-size", model, "M0303: is too large"
    model = good()
    model.graph.initializer[0].dims[0] = 1 << 20
    yield "claims-more-than-it-holds", model, "does not hold the 1048576 numbers it claims"
    model = good()
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../../../etc/passwd")
    model.graph.initializer[0].ClearField("raw_data")
    yield "weights-in-another-file", model, "is in another file: export all into one file"
    model = good()
    model.graph.initializer[0].data_type = TensorProto.FLOAT16
    yield "half-precision", model, "is not of 32-bit numbers"
    g = Graph()
    value = "window"
    for _ in range(1100):
        value = g.add("Relu", value)
    yield "too-many-nodes", g.finish(value, ALL), "1104 nodes, 1024 are allowed"
    g = Graph()
    value = g.add("Expand", g.add("Unsqueeze", "window", g.integers(1)), g.integers(1, 100000, 1, 1))
    value = g.add("MatMul", value, g.weights(INPUTS, 64))
    yield "too-much-work", g.finish(g.add("ReduceMean", value, axes=[1], keepdims=0), WINDOW * 64), "M0303: is too large"
    g = Graph()
    value = g.add("MatMul", g.add("Expand", "window", g.integers(1, 1000, 1, 1)), g.weights(INPUTS, 100))
    for _ in range(20):
        value = g.add("MatMul", value, g.weights(100, 100))
    yield "too-many-multiplications", g.finish(value, WINDOW * 100), "multiplications for one window"


def malicious():
    """Small files that ask for much."""
    def grown(name, build, says="is too large"):
        g = Graph()
        big = build(g)
        small = g.add("ReduceMean", big, keepdims=0)
        return name, g.outputs(g.add("Add", g.add("ReduceMean", "window", axes=[1], keepdims=0), small)), says

    one = helper.make_tensor("one", FLOAT, [1], [1.0])
    yield grown("huge-constantofshape", lambda g: g.add("ConstantOfShape", g.integers(1 << 20, 1 << 20), value=one))
    yield grown("huge-expand", lambda g: g.add("Expand", g.constant([1.0]), g.integers(1 << 18, 1 << 18)))
    yield grown("huge-tile", lambda g: g.add("Tile", g.constant([1.0] * 1000), g.integers(1 << 30)))
    yield grown("huge-pad", lambda g: g.add("Pad", g.constant([1.0]), g.integers(1 << 40, 1 << 40)))
    steps = lambda g: [g.constant(value, numpy.int64) for value in (0, 1 << 40, 1)]
    yield grown("huge-range", lambda g: g.add("Cast", g.add("Range", *steps(g)), to=FLOAT))
    yield grown("huge-outer-product", lambda g: g.add("MatMul", g.add("ConstantOfShape", g.integers(1 << 20, 1), value=one), g.add("ConstantOfShape", g.integers(1, 1 << 20), value=one)))
    yield grown("huge-broadcast", lambda g: g.add("Add", g.add("ConstantOfShape", g.integers(1 << 20, 1), value=one), g.add("ConstantOfShape", g.integers(1, 1 << 20), value=one)))
    yield grown("huge-gather", lambda g: g.add("Gather", g.add("ConstantOfShape", g.integers(1, 1 << 20), value=one), g.add("ConstantOfShape", g.integers(1 << 20), value=helper.make_tensor("zero", INT64, [1], [0]))))
    yield grown("huge-einsum", lambda g: g.add("Einsum", g.add("ConstantOfShape", g.integers(1 << 20), value=one), g.add("ConstantOfShape", g.integers(1 << 20), value=one), equation="a,b->ab"))

    ones = lambda g, count: g.add("ConstantOfShape", g.integers(count), value=one)
    yield grown("a-million-axes", lambda g: g.add("ConstantOfShape", ones(g, 1 << 20), value=one), "is given 1048576 sizes")
    yield grown("many-axes", lambda g: g.add("Reshape", g.constant([1.0]), g.integers(*[1] * 20)), "makes a value of 20 axes")

    def doubling(g):
        value = g.constant(numpy.ones(1024))
        for _ in range(40):
            value = g.add("Concat", value, value, axis=0)
        return value

    yield grown("doubling", doubling)

    def many(g):
        values = [g.add("ConstantOfShape", g.integers(1 << 21), value=one) for _ in range(200)]
        return g.add("Sum", *values)

    yield grown("many-large-values", many, "elements together")
    yield grown("huge-attribute", lambda g: g.add("MaxPool", g.constant(numpy.ones((1, 1, 4))), kernel_shape=[2], pads=[1 << 40, 1 << 40]), "`pads` is too large")
    # The library reads beyond the end of such shapes.
    numbers = lambda g: [g.weights(INPUTS) for _ in range(4)]
    for operator, more, says in (
        ("BatchNormalization", numbers, "it needs 2 axes at least"),
        ("InstanceNormalization", lambda g: numbers(g)[:2], "it needs 3 axes at least"),
        ("Conv", lambda g: [g.weights(1, 1, 1)], "it needs 3 axes at least"),
        ("ConvTranspose", lambda g: [g.weights(1, 1, 1)], "it needs 3 axes at least"),
        ("GlobalAveragePool", lambda g: [], "it needs 3 axes at least"),
        ("GlobalMaxPool", lambda g: [], "it needs 3 axes at least"),
    ):
        build = lambda g: g.add(operator, g.constant([1.0]), *more(g))
        yield grown(f"plane-of-one-axis-{operator.lower()}", build, says)
    line = lambda g: g.constant(numpy.ones((1, 1, 8)))
    yield grown("kernel-of-two-axes", lambda g: g.add("MaxPool", line(g), kernel_shape=[2, 2]), "kernel_shape [2, 2] instead of 1 numbers")
    yield grown("pads-of-one-side", lambda g: g.add("AveragePool", line(g), kernel_shape=[2], pads=[1]), "pads [1] instead of 2 numbers")
    yield grown("stride-of-nothing", lambda g: g.add("MaxPool", line(g), kernel_shape=[2], strides=[0]), "strides [0] instead of 1 numbers from 1")
    yield grown("weights-of-two-axes", lambda g: g.add("Conv", line(g), g.weights(1, 1)), "has weights of shape [1, 1]")
    g = Graph()
    model = g.finish(g.add("Transpose", "window", perm=[0, 2, 1]), ALL)
    model.graph.node[0].attribute[0].ints[1] = 1
    yield "transpose-without-end", model, "which is no order of axes"
    yield grown("range-without-end", lambda g: g.add("Cast", g.add("Range", *[g.constant(v, numpy.int64) for v in (0, 10, 0)]), to=FLOAT), "model.onnx: M03")
    yield grown("size-from-the-window", lambda g: g.add("ConstantOfShape", g.add("Cast", g.add("ReduceMax", "window", axes=[0, 1], keepdims=0), to=INT64), value=one), "model.onnx: M03")
    model = good()
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]
    yield "circle", model, "a circle or is not in order"
    model = good()
    model.graph.node[0].input[0] = model.graph.node[0].output[0]
    yield "node-of-itself", model, "a circle or is not in order"
    model = good()
    model.graph.initializer.append(model.graph.initializer[0])
    yield "two-constants-of-one-name", model, "two constants have the name"
    model = good()
    model.graph.node.append(helper.make_node("Neg", ["window"], ["more"], name=model.graph.node[0].name))
    yield "two-nodes-of-one-name", model, "two nodes have the name"
    model = good()
    model.graph.node[0].attribute.extend(onnx.AttributeProto() for _ in range(200000))
    yield "attributes-without-end", model, "more than 65,536 records"
    body = helper.make_graph([], "inner", [], [])
    for _ in range(15):
        body = helper.make_graph([helper.make_node("Identity", ["a"], ["b"], body=body)], "outer", [], [])
    yield "graphs-in-graphs", helper.make_model(body), "too deep"
    model = good()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "(" * 100000 + "N" + ")" * 100000
    # What the file says of sizes in text is never read: this one runs.
    yield "sizes-in-brackets", model, "runs"
    g = Graph()
    value = "window"
    for number in range(1000):
        value = g.add(("Relu", "Neg", "Abs", "Tanh")[number % 4], value)
    yield "long-chain", g.finish(value, ALL), "runs"
    g = Graph()
    value = "window"
    for _ in range(300):
        value = g.add("Add", g.add("Mul", value, g.constant(0.5)), g.add("Neg", value))
    yield "wide-and-deep", g.finish(value, ALL), "runs"


def damaged():
    whole = autoencoder()[1].SerializeToString()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        yield f"truncated-at-{length if length < 1000 else ('half' if length < len(whole) - 1 else 'last')}", whole[:length], "model.onnx: M0301: does not load"
    yield "text", b"this is no model\n" * 100, "M0301: does not load"
    yield "zeros", bytes(5000), "M0301: does not load"
    yield "picture", bytes([0x89]) + b"PNG\r\n\x1a\n" + bytes(range(256)) * 20, "M0301: does not load"
