"""What all models of the zoo share: nodes, constants, and the way to the outputs `contrib` and `score`."""

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

WINDOW, INPUTS = 8, 4
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


class Graph:
    """A graph in the making; every method that adds a node gives the name of its output."""

    def __init__(self, opset=17, window=WINDOW, inputs=INPUTS, seed=7, batch="N"):
        self.opset, self.window, self.inputs, self.batch = opset, window, inputs, batch
        self.random = numpy.random.default_rng(seed)
        self.nodes, self.constants, self.domains = [], [], set()

    def name(self, of):
        return f"{of.lower()}_{len(self.nodes) + len(self.constants)}"

    def constant(self, value, kind=numpy.float32, name=None):
        name = name or self.name("constant")
        self.constants.append(numpy_helper.from_array(numpy.asarray(value, dtype=kind), name))
        return name

    def integers(self, *values):
        return self.constant(values, numpy.int64)

    def weights(self, *shape):
        """Random weights, of a size that keeps sums near 1."""
        return self.constant(self.random.normal(size=shape) / max(1, shape[-1]) ** 0.5)

    def add(self, operator, *inputs, outputs=1, domain="", **attributes):
        base = self.name(operator)
        names = [base] if outputs == 1 else [f"{base}_{number}" for number in range(outputs)]
        self.domains.add(domain)
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=base, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def finish(self, value, size, cast=False):
        """Makes `contrib` of all `size` elements of `value`, each with a weight of its own, and the score."""
        if cast:
            value = self.add("Cast", value, to=FLOAT)
        flat = self.add("Reshape", value, self.integers(-1, size))
        weights = self.constant(self.random.normal(size=(size, self.inputs)) / size**0.5)
        return self.outputs(self.add("MatMul", flat, weights))

    def outputs(self, contrib):
        """Ends the graph in `contrib`."""
        self.nodes.append(helper.make_node("Identity", [contrib], ["contrib"]))
        axis = self.integers(1)
        self.nodes.append(helper.make_node("ReduceSum", ["contrib", axis], ["score"], keepdims=0))
        return self.model()

    def model(self, outputs=(("contrib", None), ("score", ()))):
        wide = {None: (self.inputs,)}
        given = [helper.make_tensor_value_info("window", FLOAT, [self.batch, self.window, self.inputs])]
        made = [
            helper.make_tensor_value_info(name, FLOAT, [self.batch, *wide.get(shape, shape)])
            for name, shape in outputs
        ]
        body = helper.make_graph(self.nodes, "zoo", given, made, self.constants)
        opsets = [helper.make_opsetid("", self.opset)]
        if "ai.onnx.ml" in self.domains:
            opsets.append(helper.make_opsetid("ai.onnx.ml", 3))
        return helper.make_model(body, opset_imports=opsets, ir_version=8)


def sizes(*shape):
    return int(numpy.prod(shape))


def check(model):
    onnx.checker.check_model(model, full_check=True)
