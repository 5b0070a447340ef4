#!/usr/bin/env bash
# safetensors 0.8.0 writes other bytes in each process for the same tensors and the same metadata.
#
# Guess before: a file is a function of its tensors and its metadata, so that a hash identifies it. The tensors are
# sorted, and the metadata keeps the order of the dict or is sorted too.
# Seen: the keys of the metadata stand in another order in each process. Eight processes that save one array with eight
# keys, by `safetensors.numpy.save`, write several files; with one key they write one.
# Fails if the files with eight keys are all equal, or those with one key are not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet safetensors==0.8.0 "numpy<3"
cat >digest.py <<'PYTHON'
import hashlib
import sys

import numpy as np
from safetensors.numpy import save

metadata = {f"key{number}": "value" for number in range(int(sys.argv[1]))}
print(hashlib.sha256(save({"weight": np.zeros((2, 2), np.float32)}, metadata=metadata)).hexdigest()[:16])
PYTHON
for keys in 1 8; do
    for _ in 1 2 3 4 5 6 7 8; do
        env/bin/python digest.py "$keys"
    done | sort -u >"files$keys"
    echo "$keys keys: $(wc -l <"files$keys") different files of 8"
done
test "$(wc -l <files1)" -eq 1
test "$(wc -l <files8)" -gt 1
