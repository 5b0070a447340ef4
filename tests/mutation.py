"""Change the source in one place at a time, and report which changes no test notices: ``make mutation``.

Each group of modules is mutated by mutmut in a copy of the project, and only the group's own tests run. What mutmut
cannot see takes no part: code outside functions and functions with a decorator other than ``staticmethod`` and
``classmethod``. Neither do lines that raise a HypermeterError: the texts of errors are free.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
GROUPS = {
    "metrics": (
        ["music/metrics/*"],
        ["metrics", "metrics_arrays", "metrics_expectations", "metrics_syncopation", "metrics_timing"],
    ),
    "losses": (["model/losses.py"], ["losses"]),
    "rewards": (["learn/rl/rewards.py"], ["rewards"]),
    "midi": (["io/midi/*"], ["midi", "midi_tracks", "midi_files", "midi_drums", "own_grid", "humanize"]),
    "engine": (
        ["play/rules.py", "play/distribution.py", "play/random.py", "play/infill.py"],
        ["play_rules", "play_distribution", "play_random", "infill"],
    ),
}
"""Name -> modules below ``src/hypermeter``, and test files without ``test_``."""

NOT_IN_PROCESSES = "not becomes_an_array and not where_torch_is_not and not benchmark"
"""Leaves out tests that start processes, where a mutated module cannot be imported, and those of the benchmarks."""

KILLED = {1, 3, 24, -24, 36, 152, 255}
"""Exit codes that mutmut keeps of mutants: a test failed, or took too long."""


def prepare(folder: Path, modules: list[str], tests: list[str]) -> None:
    """Copy the project into a folder, with the settings of mutmut for these modules and tests."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    settings = {
        "source_paths": ["src"],
        "only_mutate": [f"src/hypermeter/{module}" for module in modules],
        "do_not_mutate_patterns": ["raise HypermeterError"],
        "also_copy": ["src"],
        "pytest_add_cli_args_test_selection": [f"tests/test_{name}.py" for name in tests],
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:xdist", "-k", NOT_IN_PROCESSES],
        "timeout_multiplier": 10.0,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    (folder / "pyproject.toml").write_text(f"{text}\n[tool.mutmut]\n" + "\n".join(lines) + "\n", "utf-8")


def mutmut(folder: Path, *names: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with open(folder / "mutmut.log", "a", encoding="utf-8") as log:
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names]
        subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log)


def exit_codes(folder: Path) -> dict[str, int | None]:
    """Return the exit code of each mutant's tests; None where they have not run."""
    codes: dict[str, int | None] = {}
    for path in sorted(folder.glob("mutants/**/*.meta")):
        codes |= json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    return codes


def main() -> None:
    parser = argparse.ArgumentParser(description="Change one place of the source; report what no test notices.")
    parser.add_argument("groups", nargs="*", default=list(GROUPS), help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--sample", type=int, default=50, help="mutants of each group; 0 takes all")
    parser.add_argument("--seed", type=int, default=18, help="of the sample")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutation")
    options = parser.parse_args()
    for group in options.groups:
        folder = options.out / group
        prepare(folder, *GROUPS[group])
        mutmut(folder, "none")  # writes the mutants, and what test runs which function
        names = sorted(exit_codes(folder))
        sample = random.Random(options.seed).sample(names, min(options.sample, len(names))) if options.sample else names
        mutmut(folder, *sample)
        codes = exit_codes(folder)
        survivors = sorted(name for name in sample if codes[name] not in KILLED)
        print(f"{group}: {len(sample) - len(survivors)} of {len(sample)} mutants killed, drawn from {len(names)}")
        for name in survivors:
            command = [sys.executable, "-m", "mutmut", "show", name]
            print(subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
