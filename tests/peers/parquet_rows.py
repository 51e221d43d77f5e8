"""Prints every row of those Parquet files of a folder whose names begin with a word as one JSON line, read by pyarrow.

It knows nothing of Forebay. Times are microseconds since 1970, floats as hexadecimal so that no
digit is lost.
"""

import json
import pathlib
import sys

import pyarrow as pa
import pyarrow.dataset

files = sorted(str(file) for file in pathlib.Path(sys.argv[1]).glob(sys.argv[2] + "-*.parquet"))
table = pyarrow.dataset.dataset(files, format="parquet")
print(json.dumps({field.name: str(field.type) for field in table.schema}))


def plain(value, kind):
    if value is None:
        return None
    if pa.types.is_timestamp(kind):
        return value.value
    value = value.as_py()
    return value.hex() if isinstance(value, float) else value


for batch in table.to_batches():
    columns = [(field.name, field.type, batch.column(index)) for index, field in enumerate(batch.schema)]
    for row in range(batch.num_rows):
        values = {}
        for name, kind, column in columns:
            scalar = column[row]
            values[name] = plain(scalar if scalar.is_valid else None, kind)
        print(json.dumps(values))
