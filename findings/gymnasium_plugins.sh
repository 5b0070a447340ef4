#!/usr/bin/env bash
# Gymnasium 1.4.0 reads no entry points: a package that declares its environments under "gymnasium.envs" is not found.
#
# Guess before: `gymnasium.make("tiny/Still-v0")` works right after `pip install` of a package with an entry point of that
# group, without an import, as it does with Gymnasium 0.29.1.
# Seen with 1.4.0: `NamespaceNotFound: Namespace tiny not found. Have you installed the proper package for tiny?`, although
# the package is installed; `gymnasium.make("tiny_envs:tiny/Still-v0")`, which names the module, works in both.
# Fails if either version behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/package"
cat >"$folder/package/tiny_still.py" <<'PYTHON'
import gymnasium


class Still(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def step(self, action):
        return 0, 0.0, True, False, {}
PYTHON
cat >"$folder/package/tiny_envs.py" <<'PYTHON'
from gymnasium.envs.registration import register, registry


def register_envs():
    if "tiny/Still-v0" not in registry:
        register("tiny/Still-v0", entry_point="tiny_still:Still")


register_envs()
PYTHON
cat >"$folder/package/pyproject.toml" <<'TOML'
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "tiny-envs"
version = "1"

[project.entry-points."gymnasium.envs"]
__root__ = "tiny_envs:register_envs"

[tool.setuptools]
py-modules = ["tiny_envs", "tiny_still"]
TOML
for version in 0.29.1 1.4.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet "gymnasium==$version" "numpy<3" "$folder/package"
    for name in tiny/Still-v0 tiny_envs:tiny/Still-v0; do
        printf '%s %s: ' "$version" "$name"
        "$folder/$version/bin/python" - "$name" <<'PYTHON' | tee -a "$folder/seen"
import sys, warnings
warnings.simplefilter("ignore")
import gymnasium
try:
    print("made", gymnasium.make(sys.argv[1]).unwrapped.__class__.__name__)
except gymnasium.error.Error as error:
    print(type(error).__name__)
PYTHON
    done
done
diff "$folder/seen" <(printf 'made Still\nmade Still\nNamespaceNotFound\nmade Still\n')
