"""Ask an engine, in one process, for the onsets of many patterns."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

HERE = Path(__file__).parent
TIMEOUT_S = 900

Onsets = list[tuple[Fraction, tuple[tuple[str, str | float], ...]]] | str
"""Time in cycles and values by name of each onset, in order; or what is wrong with the pattern, as text."""


def missing_tidal() -> str:
    """Return the reason why TidalCycles cannot be asked, or nothing."""
    if shutil.which("ghc") is None:
        return "needs ghc and TidalCycles: apt-get install ghc libghc-tidal-dev"
    packages = subprocess.run(["ghc-pkg", "list", "--simple-output", "tidal"], capture_output=True, text=True)
    return "" if "tidal-" in packages.stdout else "needs TidalCycles: apt-get install libghc-tidal-dev"


def missing_strudel() -> str:
    """Return the reason why Strudel cannot be asked, or nothing."""
    if shutil.which("node") is None:
        return "needs node"
    return "" if (HERE / "node_modules" / "@strudel").is_dir() else "needs Strudel: cd tests/engines && npm ci"


def ask_tidal(
    minis: Sequence[str], codes: Sequence[str], cycles: tuple[int, int], folder: Path
) -> tuple[list[Onsets], ...]:
    """Return what TidalCycles plays of texts in mini-notation, and of expressions; `folder` is for its program."""
    lines = ["{-# LANGUAGE OverloadedStrings #-}", "module Codes (codes) where", "import Sound.Tidal.Context"]
    for number, code in enumerate(codes):
        body = "\n".join(f"  {line}" for line in code.splitlines())
        lines += [f"c{number} :: ControlPattern", f"c{number} =", body]
    names = ", ".join(f"c{number}" for number in range(len(codes)))
    lines += ["codes :: [ControlPattern]", f"codes = [{names}]"]
    (folder / "Codes.hs").write_text("\n".join(lines) + "\n", "utf-8")
    program, sources = folder / "tidal", [str(folder / "Codes.hs"), str(HERE / "tidal.hs")]
    compiler = ["ghc", "-v0", "-O0", "-outputdir", str(folder), *sources, "-o", str(program)]
    subprocess.run(compiler, check=True, timeout=TIMEOUT_S)
    text = "".join(f"{mini}\n" for mini in minis)
    asked = [str(program), *map(str, cycles)]
    answer = subprocess.run(asked, input=text, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    results: dict[str, list[Onsets]] = {"mini": [[] for _ in minis], "code": [[] for _ in codes]}
    for line in answer.stdout.splitlines():
        kind, number, time, *values = line.split("\t")
        onsets = results[kind][int(number)]
        if time == "error":
            results[kind][int(number)] = f"error: {values[0]}"
        elif not isinstance(onsets, str):
            pairs = zip(values[::2], values[1::2], strict=True)
            onsets.append((Fraction(time), rounded(dict(pairs))))
    return tuple([_in_order(onsets) for onsets in results[kind]] for kind in ("mini", "code"))


def ask_strudel(minis: Sequence[str], codes: Sequence[str], cycles: tuple[int, int]) -> tuple[list[Onsets], ...]:
    """Return what Strudel plays of texts in mini-notation, and of programs."""
    question = json.dumps({"cycles": cycles, "minis": list(minis), "codes": list(codes)})
    command = ["node", "strudel.mjs"]
    asked = subprocess.run(
        command, input=question, capture_output=True, text=True, check=True, timeout=TIMEOUT_S, cwd=HERE
    )
    answer = json.loads(asked.stdout)
    return tuple([_of_strudel(onsets) for onsets in answer[kind]] for kind in ("minis", "codes"))


def _of_strudel(onsets: list | str) -> Onsets:
    if isinstance(onsets, str):
        return f"error: {onsets}"
    result = []
    for time, value in onsets:
        if not isinstance(value, dict):
            value = {"word": ":".join(map(str, value)) if isinstance(value, list) else value}
        result.append((Fraction(time), rounded(value)))
    return _in_order(result)


def _in_order(onsets: Onsets) -> Onsets:
    return onsets if isinstance(onsets, str) else sorted(onsets, key=str)


def rounded(values: Mapping[str, object]) -> tuple[tuple[str, str | float], ...]:
    """Return values by name in an order, with numbers to six decimals; pan, which is no value of drums, is left out."""
    pairs = []
    for name, value in sorted(values.items()):
        if name == "pan":
            continue
        try:
            pairs.append((name, round(float(Fraction(str(value))) + 1e-10, 6) + 0.0))
        except ValueError:
            pairs.append((name, str(value)))
    return tuple(pairs)
