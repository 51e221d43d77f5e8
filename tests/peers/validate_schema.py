"""Validates TOML files against a JSON Schema: validate_schema.py SCHEMA FILE...

One line for each file: `ok`, or the innermost fault.
"""
import json
import sys
import tomllib

import jsonschema

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
validator_of = jsonschema.validators.validator_for(schema)
validator_of.check_schema(schema)
validator = validator_of(schema)
for name in sys.argv[2:]:
    with open(name, "rb") as file:
        content = tomllib.load(file)
    fault = jsonschema.exceptions.best_match(validator.iter_errors(content))
    print("ok" if fault is None else " ".join(fault.message.split()))
