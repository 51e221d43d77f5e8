"""Models that must run, and give what ONNX Runtime gives. Together they use every operator and every attribute that
`src/infer/operators.rs` accepts: what nobody has compared is not accepted."""

import numpy
from onnx import TensorProto, helper, numpy_helper

from write import BOOL, FLOAT, INPUTS, INT64, WINDOW, Graph, sizes

ALL = WINDOW * INPUTS


def models():
    """Names and models."""
    for part in (elementwise, shapes, reductions, products, networks, recurrent, trees):
        yield from part()


def one(name, operator, build=None, size=ALL, cast=False, opset=17, **attributes):
    """One operator on the window, or on what `build` makes of it."""
    graph = Graph(opset=opset)
    inputs = build(graph) if build else ["window"]
    return name, graph.finish(graph.add(operator, *inputs, **attributes), size, cast)


def elementwise():
    plain = (
        "Abs Ceil Cos Erf Exp Floor Neg Relu Round Sigmoid Sign Sin Softplus Softsign Tanh Atan HardSwish Identity Celu"
    )
    for operator in plain.split():
        yield one(operator.lower(), operator)
    yield one("mish", "Mish", opset=18)
    for operator in ("Log", "Sqrt", "Reciprocal"):
        yield one(operator.lower(), operator, lambda g: [g.add("Add", g.add("Abs", "window"), g.constant(0.5))])
    for operator, attributes in (
        ("Elu", {"alpha": 0.7}),
        ("LeakyRelu", {"alpha": 0.2}),
        ("Selu", {"alpha": 1.5, "gamma": 1.1}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("ThresholdedRelu", {"alpha": 0.3}),
        ("Softmax", {"axis": 1}),
        ("LogSoftmax", {"axis": 2}),
    ):
        yield one(f"{operator.lower()}-set", operator, **attributes)
        yield one(operator.lower(), operator)
    yield one("prelu", "PRelu", lambda g: ["window", g.weights(INPUTS)])
    yield one("clip", "Clip", lambda g: ["window", g.constant(-0.3), g.constant(0.4)])
    yield one("clip-below", "Clip", lambda g: ["window", g.constant(-0.3)])
    yield one("clip-above", "Clip", lambda g: ["window", "", g.constant(0.3)])
    for operator in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean"):
        yield one(operator.lower(), operator, lambda g: ["window", g.constant(g.random.uniform(0.5, 2, (INPUTS,)))])
    yield one("div-by-row", "Div", lambda g: ["window", g.constant(g.random.uniform(0.5, 2, (WINDOW, 1)))])
    yield one("sum-of-three", "Sum", lambda g: ["window", g.weights(INPUTS), g.weights(WINDOW, 1)])
    yield one("pow", "Pow", lambda g: [g.add("Abs", "window"), g.constant(1.5)])
    yield one("pow-two", "Pow", lambda g: ["window", g.constant(2)])
    yield one("pow-whole", "Pow", lambda g: ["window", g.constant(3, numpy.int64)])
    for operator in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        yield one(operator.lower(), operator, lambda g: ["window", g.constant(0.1)], cast=True)
    yield one("equal", "Equal", lambda g: [g.add("Sign", "window"), g.constant(1)], cast=True)
    sign = lambda g: [g.add("Less", "window", g.constant(0.1)), g.add("Greater", "window", g.weights(INPUTS))]
    for operator in ("And", "Or", "Xor"):
        yield one(operator.lower(), operator, sign, cast=True)
    yield one("not", "Not", lambda g: sign(g)[:1], cast=True)
    yield one("where", "Where", lambda g: [*sign(g)[:1], "window", g.weights(INPUTS)])
    yield one("cast-to-whole", "Cast", lambda g: [g.add("Mul", "window", g.constant(3))], cast=True, to=INT64)
    yield one("cast-to-int32", "Cast", lambda g: [g.add("Mul", "window", g.constant(3))], cast=True, to=TensorProto.INT32)
    yield one("cast-to-bool", "Cast", lambda g: [g.add("Relu", "window")], cast=True, to=BOOL)
    yield one("cast-to-double", "Cast", cast=True, to=TensorProto.DOUBLE)


def shapes():
    yield one("transpose", "Transpose", perm=[0, 2, 1])
    yield one("transpose-batch", "Transpose", perm=[0, 1, 2])
    yield one("flatten", "Flatten")
    yield one("flatten-2", "Flatten", axis=2, size=ALL)
    yield one("reshape-keeps", "Reshape", lambda g: ["window", g.integers(0, 2, -1, INPUTS)])
    yield one("reshape-literal", "Reshape", lambda g: ["window", g.integers(1, 2, -1, INPUTS)], allowzero=1)
    yield one("unsqueeze", "Unsqueeze", lambda g: ["window", g.integers(1, 3)])
    yield one("squeeze", "Squeeze", lambda g: [g.add("Unsqueeze", "window", g.integers(1)), g.integers(1)])
    yield one("concat", "Concat", lambda g: ["window", g.add("Neg", "window")], axis=1, size=2 * ALL)
    yield one("concat-last", "Concat", lambda g: ["window", g.add("Abs", "window")], axis=-1, size=2 * ALL)
    yield one("slice", "Slice", lambda g: ["window", g.integers(2), g.integers(7), g.integers(1)], size=5 * INPUTS)
    yield one(
        "slice-every-second",
        "Slice",
        lambda g: ["window", g.integers(0), g.integers(100), g.integers(1), g.integers(2)],
        size=4 * INPUTS,
    )
    yield one(
        "slice-backwards",
        "Slice",
        lambda g: ["window", g.integers(-1), g.integers(-(2**31)), g.integers(1), g.integers(-1)],
    )
    for name, opset, inputs, attributes in (
        ("split", 17, lambda g: ["window", g.integers(3, 5)], {"axis": 1}),
        ("split-evenly", 17, lambda g: ["window"], {"axis": 2}),
        ("split-by-number", 18, lambda g: ["window"], {"axis": 1, "num_outputs": 2}),
    ):
        graph = Graph(opset=opset)
        first, last = graph.add("Split", *inputs(graph), outputs=2, **attributes)
        yield name, graph.finish(graph.add("Concat", last, first, axis=attributes["axis"]), ALL)
    # As unbind() of PyTorch over many points is exported.
    graph = Graph()
    flat = graph.add("Reshape", "window", graph.integers(-1, ALL))
    long = graph.add("Concat", flat, flat, flat, axis=1)
    parts = graph.add("Split", long, graph.integers(*[1] * 3 * ALL), outputs=3 * ALL, axis=1)
    yield "split-into-many", graph.finish(graph.add("Concat", *reversed(parts), axis=1), 3 * ALL)
    yield one("gather-row", "Gather", lambda g: ["window", g.constant(-1, numpy.int64)], axis=1, size=INPUTS)
    yield one("gather-rows", "Gather", lambda g: ["window", g.integers(0, 3, -2)], axis=1, size=3 * INPUTS)
    yield one("gather-batch", "Gather", lambda g: ["window", g.integers(0)])
    yield one("gather-elements", "GatherElements", lambda g: [g.constant(g.random.normal(size=(1, 8, 4))), g.constant(g.random.integers(0, 8, (1, 8, 4)), numpy.int64)], axis=1)

    graph = Graph()
    shape = graph.add("Shape", "window")
    batch = graph.add("Slice", shape, graph.integers(0), graph.integers(1))
    target = graph.add("Concat", batch, graph.integers(2, ALL // 2), axis=0)
    yield "shape", graph.finish(graph.add("Reshape", "window", target), ALL)
    graph = Graph()
    batch = graph.add("Shape", "window", start=0, end=1)
    target = graph.add("Concat", batch, graph.integers(2, ALL // 2), axis=0)
    yield "shape-part", graph.finish(graph.add("Reshape", "window", target), ALL)
    graph = Graph()
    batch = graph.add("Shape", "window", start=0, end=1)
    shape = graph.add("Concat", batch, graph.integers(1, INPUTS), axis=0)
    zeros = graph.add("ConstantOfShape", shape, value=helper.make_tensor("zero", FLOAT, [1], [0]))
    yield "constant-of-shape", graph.finish(graph.add("Concat", zeros, "window", axis=1), ALL + INPUTS)
    yield one("expand", "Expand", lambda g: [g.add("Unsqueeze", "window", g.integers(1)), g.integers(1, 3, 1, 1)], size=3 * ALL)
    yield one("tile", "Tile", lambda g: ["window", g.integers(1, 2, 3)], size=6 * ALL)
    yield one("pad", "Pad", lambda g: ["window", g.integers(0, 2, 0, 0, 1, 0), g.constant(0.5)], size=11 * INPUTS)
    yield one("pad-zeros", "Pad", lambda g: ["window", g.integers(0, 1, 1, 0, 0, 0)], size=9 * 5, mode="constant")
    yield one("pad-reflect", "Pad", lambda g: ["window", g.integers(0, 2, 0, 0, 3, 0)], size=13 * INPUTS, mode="reflect")
    yield one("pad-edge", "Pad", lambda g: ["window", g.integers(0, 2, 0, 0, 1, 0)], size=11 * INPUTS, mode="edge")
    graph = Graph()
    steps = graph.add("Range", *(graph.constant(value, numpy.int64) for value in (0, WINDOW, 1)))
    steps = graph.add("Reshape", graph.add("Cast", steps, to=FLOAT), graph.integers(WINDOW, 1))
    yield "range", graph.finish(graph.add("Mul", "window", steps), ALL)
    graph = Graph()
    factor = graph.add("Constant", value_floats=[0.5, 2.0, 1.0, -1.0])
    yield "constant-floats", graph.finish(graph.add("Mul", "window", factor), ALL)
    graph = Graph()
    factor = graph.add("Constant", value_float=0.5)
    axes = graph.add("Constant", value_ints=[1])
    row = graph.add("Constant", value_int=2)
    value = graph.add("ReduceSum", graph.add("Mul", "window", factor), axes)
    value = graph.add("Add", graph.add("Gather", "window", row, axis=1), graph.add("Squeeze", value, graph.integers(1)))
    yield "constant-numbers", graph.finish(value, INPUTS)
    graph = Graph()
    tensor = numpy_helper.from_array(numpy.array([1, 2, 3, 4], dtype=numpy.float32))
    yield "constant-tensor", graph.finish(graph.add("Mul", "window", graph.add("Constant", value=tensor)), ALL)
    graph = Graph()
    shape = graph.integers(1, WINDOW, 1)
    ones = graph.add("ConstantOfShape", shape, value=helper.make_tensor("one", FLOAT, [1], [1.5]))
    yield "constant-of-shape-value", graph.finish(graph.add("Mul", "window", ones), ALL)
    yield one("dropout", "Dropout")
    yield one("trilu", "Trilu", upper=1)
    yield one("trilu-lower", "Trilu", lambda g: ["window", g.constant(-1, numpy.int64)], upper=0)
    for name, attributes in (("cumsum", {}), ("cumsum-set", {"exclusive": 1, "reverse": 1})):
        yield one(name, "CumSum", lambda g: ["window", g.constant(1, numpy.int64)], **attributes)


def reductions():
    positive = lambda g: [g.add("Add", g.add("Abs", "window"), g.constant(0.1))]
    for operator in "ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp ReduceLogSum".split():
        yield one(operator.lower(), operator, positive, axes=[1], size=INPUTS)
        yield one(f"{operator.lower()}-flat", operator, positive, axes=[-1], keepdims=0, size=WINDOW)
        yield one(f"{operator.lower()}-18", operator, lambda g: [*positive(g), g.integers(1, 2)], size=1, opset=18)
    yield one("reducesum", "ReduceSum", lambda g: ["window", g.integers(1)], size=INPUTS)
    yield one("reducesum-flat", "ReduceSum", lambda g: ["window", g.integers(2)], keepdims=0, size=WINDOW)
    yield one("reducesum-none", "ReduceSum", lambda g: ["window", g.constant([], numpy.int64)], noop_with_empty_axes=1)
    for operator in ("ArgMax", "ArgMin"):
        yield one(operator.lower(), operator, axis=1, size=INPUTS, cast=True)
        yield one(f"{operator.lower()}-flat", operator, axis=2, keepdims=0, size=WINDOW, cast=True)
        yield one(f"{operator.lower()}-last", operator, lambda g: [g.add("Sign", "window")], axis=1, select_last_index=1, size=INPUTS, cast=True)
    for name, attributes in (("topk", {}), ("topk-smallest", {"axis": 1, "largest": 0}), ("topk-sorted", {"axis": 1, "sorted": 1})):
        graph = Graph()
        values, places = graph.add("TopK", "window", graph.integers(3), outputs=2, **attributes)
        both = graph.add("Add", values, graph.add("Cast", places, to=FLOAT))
        yield name, graph.finish(both, 3 * (INPUTS if "axis" in attributes else WINDOW))


def products():
    yield one("matmul", "MatMul", lambda g: ["window", g.weights(INPUTS, 5)], size=WINDOW * 5)
    yield one("matmul-of-windows", "MatMul", lambda g: ["window", g.add("Transpose", "window", perm=[0, 2, 1])], size=WINDOW**2)
    flat = lambda g: g.add("Reshape", "window", g.integers(-1, ALL))
    yield one("gemm", "Gemm", lambda g: [flat(g), g.weights(ALL, 6), g.weights(6)], size=6)
    yield one("gemm-without-bias", "Gemm", lambda g: [flat(g), g.weights(ALL, 6)], size=6)
    yield one("gemm-set", "Gemm", lambda g: [flat(g), g.weights(6, ALL), g.weights(6)], size=6, transB=1, alpha=0.5, beta=2.0)
    yield one("gemm-turned", "Gemm", lambda g: [g.add("Reshape", "window", g.integers(ALL, -1)), g.weights(ALL, 6)], size=6, transA=1)
    yield one("einsum", "Einsum", lambda g: ["window", g.weights(INPUTS, 3)], equation="nwf,fk->nwk", size=WINDOW * 3)
    yield one("einsum-of-windows", "Einsum", lambda g: ["window", "window"], equation="nqd,nkd->nqk", size=WINDOW**2)


def networks():
    turned = lambda g: g.add("Transpose", "window", perm=[0, 2, 1])  # [N, channels, steps]
    conv = lambda out, kernel, group=1: lambda g: [turned(g), g.weights(out, INPUTS // group, kernel), g.weights(out)]
    yield one("conv", "Conv", conv(6, 3), size=6 * 6)
    yield one("conv-without-bias", "Conv", lambda g: conv(6, 3)(g)[:2], size=6 * 6)
    yield one("conv-set", "Conv", conv(6, 3), size=6 * 4, kernel_shape=[3], strides=[2], pads=[1, 0], dilations=[1])
    yield one("conv-dilated", "Conv", conv(6, 3), size=6 * WINDOW, dilations=[2], pads=[4, 0])
    yield one("conv-groups", "Conv", conv(8, 3, 4), size=8 * 6, group=4)
    yield one("conv-same", "Conv", conv(6, 3), size=6 * WINDOW, auto_pad="SAME_UPPER")
    flat = lambda g: g.add("Unsqueeze", "window", g.integers(1))
    yield one("conv-2d", "Conv", lambda g: [flat(g), g.weights(3, 1, 3, 2), g.weights(3)], size=3 * 6 * 3)
    back = lambda g: [turned(g), g.weights(INPUTS, 3, 3), g.weights(3)]
    yield one("convtranspose", "ConvTranspose", back, size=3 * 10)
    yield one("convtranspose-set", "ConvTranspose", back, size=3 * 16, kernel_shape=[3], strides=[2], pads=[1, 1], output_padding=[1], dilations=[1])
    yield one("convtranspose-groups", "ConvTranspose", lambda g: [turned(g), g.weights(INPUTS, 2, 3)], size=4 * 10, group=2)
    for operator in ("MaxPool", "AveragePool"):
        pooled = lambda g: [turned(g)]
        yield one(operator.lower(), operator, pooled, size=INPUTS * 7, kernel_shape=[2])
        yield one(f"{operator.lower()}-set", operator, pooled, size=INPUTS * 4, kernel_shape=[3], strides=[2], pads=[1, 0])
    yield one("averagepool-with-pads", "AveragePool", lambda g: [turned(g)], size=INPUTS * 8, kernel_shape=[3], pads=[1, 1], count_include_pad=1)
    yield one("maxpool-dilated", "MaxPool", lambda g: [turned(g)], size=INPUTS * 4, kernel_shape=[3], dilations=[2])
    for operator in ("GlobalAveragePool", "GlobalMaxPool"):
        yield one(operator.lower(), operator, lambda g: [turned(g)], size=INPUTS)
    norm = lambda g: [turned(g), g.weights(INPUTS), g.weights(INPUTS), g.weights(INPUTS), g.constant(g.random.uniform(0.5, 2, INPUTS))]
    yield one("batchnormalization", "BatchNormalization", norm)
    yield one("batchnormalization-set", "BatchNormalization", norm, epsilon=0.01, momentum=0.8)
    yield one("instancenormalization", "InstanceNormalization", lambda g: norm(g)[:3], epsilon=0.001)
    layer = lambda g: ["window", g.weights(INPUTS), g.weights(INPUTS)]
    yield one("layernormalization", "LayerNormalization", layer)
    yield one("layernormalization-set", "LayerNormalization", layer, axis=-1, epsilon=0.01)
    yield one("lpnormalization", "LpNormalization", axis=1, p=2)
    yield autoencoder()
    yield lag_pca()
    yield temporal()
    yield transformer()


def autoencoder():
    """Convolutions down and up again; the residual of each input is its contribution."""
    g = Graph()
    turned = g.add("Transpose", "window", perm=[0, 2, 1])
    down = g.add("Relu", g.add("Conv", turned, g.weights(8, INPUTS, 3), g.weights(8), strides=[2], pads=[1, 1]))
    down = g.add("Relu", g.add("Conv", down, g.weights(4, 8, 3), g.weights(4), strides=[2], pads=[1, 1]))
    up = g.add("Relu", g.add("ConvTranspose", down, g.weights(4, 8, 4), g.weights(8), strides=[2], pads=[1, 1]))
    up = g.add("ConvTranspose", up, g.weights(8, INPUTS, 4), g.weights(INPUTS), strides=[2], pads=[1, 1])
    rest = g.add("Abs", g.add("Sub", turned, up))
    return "network-conv-autoencoder", g.outputs(g.add("ReduceMean", rest, axes=[2], keepdims=0))


def lag_pca():
    g = Graph()
    scaled = g.add("Div", g.add("Sub", "window", g.weights(INPUTS)), g.constant([1, 2, 3, 4]))
    flat = g.add("Reshape", scaled, g.integers(-1, ALL))
    basis, _ = numpy.linalg.qr(g.random.normal(size=(ALL, 3)))
    known = g.add("MatMul", g.add("MatMul", flat, g.constant(basis)), g.constant(basis.T))
    rest = g.add("Reshape", g.add("Abs", g.add("Sub", flat, known)), g.integers(-1, WINDOW, INPUTS))
    return "network-lag-pca", g.outputs(g.add("ReduceMean", rest, axes=[1], keepdims=0))


def temporal():
    """A temporal convolutional network with a residual block; it predicts the last row."""
    g = Graph()
    turned = g.add("Transpose", "window", perm=[0, 2, 1])
    block = turned
    for dilation, (before, after) in enumerate(((INPUTS, 6), (6, 6))):
        pads = [2 * 2**dilation, 0]
        conv = g.add("Conv", block, g.weights(after, before, 3), g.weights(after), dilations=[2**dilation], pads=pads)
        block = g.add("Relu", conv)
    block = g.add("Add", block, g.add("Conv", turned, g.weights(6, INPUTS, 1)))
    last = g.add("Gather", block, g.constant(-1, numpy.int64), axis=2)
    predicted = g.add("Gemm", last, g.weights(6, INPUTS), g.weights(INPUTS))
    return "network-temporal", g.outputs(g.add("Abs", g.add("Sub", g.add("Gather", "window", g.constant(-1, numpy.int64), axis=1), predicted)))


def transformer():
    g = Graph()
    size = 8
    x = g.add("Add", g.add("MatMul", "window", g.weights(INPUTS, size)), g.weights(WINDOW, size))
    heads = []
    for _ in range(3):
        head = g.add("Reshape", g.add("MatMul", x, g.weights(size, size)), g.integers(0, WINDOW, 2, size // 2))
        heads.append(g.add("Transpose", head, perm=[0, 2, 1, 3]))
    query, key, value = heads
    weight = g.add("Mul", g.add("MatMul", query, g.add("Transpose", key, perm=[0, 1, 3, 2])), g.constant(0.5))
    mask = numpy.triu(numpy.full((WINDOW, WINDOW), -numpy.inf, dtype=numpy.float32), 1)
    weight = g.add("Softmax", g.add("Add", weight, g.constant(mask)), axis=-1)
    seen = g.add("Transpose", g.add("MatMul", weight, value), perm=[0, 2, 1, 3])
    x = g.add("Add", x, g.add("Reshape", seen, g.integers(0, WINDOW, size)))
    x = g.add("LayerNormalization", x, g.weights(size), g.weights(size), axis=-1)
    wide = g.add("MatMul", x, g.weights(size, 16))
    half = g.add("Mul", wide, g.constant(0.5))
    wide = g.add("Mul", half, g.add("Add", g.add("Erf", g.add("Div", wide, g.constant(2**0.5))), g.constant(1)))
    x = g.add("Add", x, g.add("MatMul", wide, g.weights(16, size)))
    rest = g.add("Sub", g.add("MatMul", x, g.weights(size, INPUTS)), "window")
    return "network-transformer", g.outputs(g.add("ReduceMean", g.add("Abs", rest), axes=[1], keepdims=0))


def recurrent():
    hidden = 5
    for kind, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        for name, directions, attributes, start in (
            ("", 1, {}, False),
            ("-start", 1, {}, True),
            ("-bidirectional", 2, {"direction": "bidirectional"}, False),
            ("-forward", 1, {"direction": "forward"}, True),
            ("-activations", 1, {"activations": {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}[kind]}, True),
            *((("-linear", 1, {"linear_before_reset": 1}, True),) if kind == "GRU" else ()),
        ):
            g = Graph(batch=1)
            steps = g.add("Transpose", "window", perm=[1, 0, 2])
            inputs = [
                steps,
                g.weights(directions, gates * hidden, INPUTS),
                g.weights(directions, gates * hidden, hidden),
                g.weights(directions, 2 * gates * hidden),
            ]
            if start:
                zeros = g.constant(numpy.zeros((directions, 1, hidden)))
                inputs += ["", zeros] + ([zeros] if kind == "LSTM" else [])
            outputs = 3 if kind == "LSTM" else 2
            out = g.add(kind, *inputs, outputs=outputs, hidden_size=hidden, **attributes)
            sequence = g.add("Transpose", out[0], perm=[2, 0, 1, 3])
            both = g.add("Concat", g.add("Reshape", sequence, g.integers(1, -1)), g.add("Reshape", out[1], g.integers(1, -1)), axis=1)
            yield f"{kind.lower()}{name}", g.finish(both, directions * hidden * (WINDOW + 1))


def trees():
    """Of ai.onnx.ml: linear models, and forests by their probabilities."""
    ml = {"domain": "ai.onnx.ml"}
    g = Graph()
    flat = g.add("Reshape", "window", g.integers(-1, ALL))
    coefficients = g.random.normal(size=2 * ALL).tolist()
    value = g.add("LinearRegressor", flat, coefficients=coefficients, intercepts=[0.5, -1.0], targets=2, **ml)
    yield "linear-regressor", g.finish(value, 2)
    g = Graph()
    flat = g.add("Reshape", "window", g.integers(-1, ALL))
    yield "normalizer", g.finish(g.add("Normalizer", flat, norm="L2", **ml), ALL)
    g = Graph()
    flat = g.add("Reshape", "window", g.integers(-1, ALL))
    forest = dict(
        nodes_treeids=[0] * 5,
        nodes_nodeids=list(range(5)),
        nodes_featureids=[3, 9, 0, 0, 0],
        nodes_values=[0.1, -0.2, 0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 2, 0, 0, 0],
        nodes_falsenodeids=[4, 3, 0, 0, 0],
        nodes_hitrates=[1.0] * 5,
        nodes_missing_value_tracks_true=[0] * 5,
        class_treeids=[0] * 9,
        class_nodeids=[2, 2, 2, 3, 3, 3, 4, 4, 4],
        class_ids=[0, 1, 2] * 3,
        class_weights=[0.7, 0.2, 0.1, 0.1, 0.8, 0.1, 0.3, 0.3, 0.4],
        classlabels_int64s=[0, 1, 2],
        post_transform="NONE",
        **ml,
    )
    _, share = g.add("TreeEnsembleClassifier", flat, outputs=2, **forest)
    yield "forest-probabilities", g.finish(share, 3)
    # Of two classes scikit-learn's converter writes the share of the second only.
    g = Graph()
    flat = g.add("Reshape", "window", g.integers(-1, ALL))
    binary = forest | dict(class_treeids=[0] * 3, class_nodeids=[2, 3, 4], class_ids=[0] * 3, class_weights=[0.2, 0.9, 0.4])
    _, share = g.add("TreeEnsembleClassifier", flat, outputs=2, **(binary | {"classlabels_int64s": [0, 1]}))
    yield "forest-of-two-classes", g.finish(share, 2)
