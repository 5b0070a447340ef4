#!/usr/bin/env bash
# fsspec 2026.9.0 with s3fs 2026.9.0: given the exact key of an existing object, take[1].mid, cat returns the content of
# take1.mid, get fetches take1.mid, and rm removes take1.mid and leaves take[1].mid.
#
# Guess before: cat, get and rm of a key that exists, as find returned it, act on that object and on no other. Brackets
# are ordinary in names of files ("take[1].mid"), and S3 itself gives them no meaning.
# Seen: on S3 and in the memory file system the text is a pattern, although an object of that very name exists: what
# matches it, another object, is read, fetched and removed, without a warning. Only where nothing matches, there is an
# error. cat_file, get_file and rm_file take the name as it is.
# Fails if one of the calls acts on the named object.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet fsspec==2026.9.0 s3fs==2026.9.0 moto==5.2.5 flask==3.1.3 flask-cors==6.0.5
cat >brackets.py <<'PYTHON'
import logging
import os

import fsspec
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
os.environ |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing")
os.environ |= {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
for kind in ("s3", "memory"):
    files = fsspec.filesystem(kind, use_listings_cache=False)
    files.mkdir("/takes" if kind == "memory" else "takes")
    files.pipe_file("takes/take[1].mid", b"of brackets")
    files.pipe_file("takes/take1.mid", b"of one")
    named = next(name for name in files.find("takes") if "[" in name)
    found = files.cat(named)
    print(kind, "cat", {name.split("/")[-1]: content for name, content in found.items()})
    files.get(named, f"got-{kind}/")
    print(kind, "get", os.listdir(f"got-{kind}"))
    files.rm(named)
    print(kind, "rm leaves", [name.split("/")[-1] for name in files.find("takes")])
server.stop()
PYTHON
env/bin/python brackets.py 2>errors | tee seen || { cat errors >&2; exit 1; }
diff seen - <<'SEEN'
s3 cat {'take1.mid': b'of one'}
s3 get ['take1.mid']
s3 rm leaves ['take[1].mid']
memory cat {'take1.mid': b'of one'}
memory get ['take1.mid']
memory rm leaves ['take[1].mid']
SEEN
