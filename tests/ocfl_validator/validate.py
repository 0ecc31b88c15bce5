"""Validates the OCFL storage root that is its argument, and prints what came of it as JSON; needs `.venv-ocfl`."""

import json
import sys
from pathlib import Path

import ocfl
from ocfl.validator import Validator

root = Path(sys.argv[1])
store = ocfl.StorageRoot(root=str(root))
is_valid = store.validate()
codes = set()
for place in (path.parent for path in root.rglob("0=ocfl_object_1.1")):
    validator = Validator(log_warnings=True)
    validator.validate_object(str(place))
    codes |= set(validator.log.codes)
found = {"valid": is_valid, "objects": store.num_objects, "good": store.good_objects, "codes": sorted(codes)}
sys.stdout.write("\n" + json.dumps(found) + "\n")
