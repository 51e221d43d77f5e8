"""Writes the zoo of models: `zoo.py FOLDER`.

For each good model its file and `<name>.json`: seeded random windows with what ONNX Runtime makes of them, and the
operators and attributes it uses. For each bad one its file, and in `bad.json` what the gate must say of it.
"""

import json
import pathlib
import sys

import numpy
import onnxruntime

# Nothing is written beside the sources.
sys.dont_write_bytecode = True
import bad
import good
from write import INPUTS, WINDOW, check

CASES = 6


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def judged(model, windows):
    """Windows with the outputs of ONNX Runtime."""
    runtime = session(model)
    cases = []
    for number, window in enumerate(windows):
        contrib, score = runtime.run(["contrib", "score"], {"window": window[None]})
        cases.append(
            {
                "name": f"random {number}",
                "window": window.tolist(),
                "contrib": contrib[0].tolist(),
                "score": float(score.reshape(-1)[0]),
            }
        )
    return cases


def uses(model):
    return [[node.domain, node.op_type, attribute.name] for node in model.graph.node for attribute in node.attribute] + [
        [node.domain, node.op_type, ""] for node in model.graph.node
    ]


def main():
    folder = pathlib.Path(sys.argv[1])
    for part in ("good", "bad"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    random = numpy.random.default_rng(20261121)
    for name, model in good.models():
        check(model)
        file = model.SerializeToString()
        windows = random.normal(size=(CASES, WINDOW, INPUTS)).astype(numpy.float32)
        (folder / "good" / f"{name}.onnx").write_bytes(file)
        text = json.dumps({"cases": judged(file, windows), "uses": uses(model)})
        (folder / "good" / f"{name}.json").write_text(text)
    verdicts = {}
    for name, file, says in bad.models():
        assert name not in verdicts, name
        verdicts[name] = says
        (folder / "bad" / f"{name}.onnx").write_bytes(file)
    (folder / "bad.json").write_text(json.dumps(verdicts))


if __name__ == "__main__":
    main()
