"""What ONNX Runtime makes of a model: `judge.py MODEL` reads windows as JSON from its input, one a line, and writes the
outputs, one line for each. `judge.py MODEL --time ROUNDS WINDOW` writes the median of the microseconds for a window."""

import json
import sys
import time

import numpy

# Nothing is written beside the sources.
sys.dont_write_bytecode = True
from zoo import session

runtime = session(sys.argv[1])
names = [output.name for output in runtime.get_outputs()]
given = runtime.get_inputs()[0].name
if len(sys.argv) > 2:
    window = {given: numpy.array(json.loads(sys.argv[4]), dtype=numpy.float32)[None]}
    times = []
    for _ in range(int(sys.argv[3])):
        started = time.perf_counter()
        runtime.run(names, window)
        times.append(time.perf_counter() - started)
    print(1e6 * float(numpy.median(times)))
else:
    for line in sys.stdin:
        window = numpy.array(json.loads(line), dtype=numpy.float32)
        outputs = runtime.run(names, {given: window[None]})
        print(json.dumps([float(value) for output in outputs for value in output.reshape(-1)]))
