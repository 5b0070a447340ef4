"""The command: so many inputs, shared among the readers, and a table of what came of them."""

import argparse
import resource
import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .limits import Tally, make_input, try_inputs
from .readers import READERS


def main() -> int:
    parser = argparse.ArgumentParser(prog="campaign", description="Try inputs of every kind on every reader.")
    parser.add_argument("--seed", type=int, help="of the inputs; left out, a fresh one, which is printed")
    parser.add_argument("--inputs", type=int, default=100_000, help="number of all inputs")
    parser.add_argument("--readers", nargs="*", default=[], metavar="NAME", help="some readers; left out, all")
    parser.add_argument("--jobs", type=int, default=2, help="readers that are tried at the same time")
    parser.add_argument("--out", type=Path, default=Path("build/campaign"), help="folder for the inputs of findings")
    parser.add_argument("--one", type=int, metavar="NUMBER", help="write one input of one reader to standard output")
    options = parser.parse_args()
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    chosen = [reader for reader in READERS if not options.readers or reader.name in options.readers]
    if options.one is not None:
        sys.stdout.buffer.write(make_input(chosen[0], seed, options.one))
        return 0
    print(f"seed {seed}", flush=True)
    ready = []
    for reader in chosen:
        try:
            reader.needs()
            ready.append(reader)
        except Exception as error:  # whatever a missing program raises
            print(f"{reader.name} is not tried: {error}", flush=True)
    shares = sum(reader.share for reader in ready)
    began = time.monotonic()

    def tried(reader) -> Tally:
        count = max(round(options.inputs * reader.share / shares), 1)
        tally = try_inputs(reader, seed, range(count))
        print(_row(tally), flush=True)
        for number, what in list(tally.findings.items())[:50]:
            options.out.mkdir(parents=True, exist_ok=True)
            path = options.out / f"{reader.name.replace(' ', '_')}-{seed}-{number}"
            path.write_bytes(make_input(reader, seed, number))
            print(f"    {path}: {what}", flush=True)
        return tally

    print("| reader | inputs | read | refused | found | processor s | slowest, s | most memory, MB |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with ThreadPoolExecutor(options.jobs) as threads:
        tallies = list(threads.map(tried, ready))
    total = Tally("all")
    for tally in tallies:
        total.counts.update(tally.counts)
        total.processor_s += tally.processor_s
        total.slowest_s = max(total.slowest_s, tally.slowest_s)
        total.peak_bytes = max(total.peak_bytes, tally.peak_bytes)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(_row(total))
    print(f"{time.monotonic() - began:.0f} s; the largest process took {peak:.0f} MB")
    return 1 if total.counts["found"] else 0


def _row(tally: Tally) -> str:
    counts = [tally.counts[kind] for kind in ("read", "refused", "found")]
    numbers = [f"{number:,}" for number in (sum(counts), *counts)]
    cost = [f"{tally.processor_s:.0f}", f"{tally.slowest_s:.2f}", f"{tally.peak_bytes / 1e6:.0f}"]
    return f"| {' | '.join([tally.reader, *numbers, *cost])} |"


if __name__ == "__main__":
    sys.exit(main())
