"""Look-ups of the CSV feature source, beside the least that any source could do: a dictionary of ready tuples.

.venv/bin/python benchmarks/feature_look_up.py [--rows 1000000] [--columns 10]
"""

from __future__ import annotations

import argparse
import logging
import random
import resource
import tempfile
import time
import timeit
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from sfs_core import Batch, FeatureContext, FeatureQuery, FeatureSource, Schema
from sfs_core.host.registry import Registry

BATCHES = (1, 100, 10_000)


def main() -> None:
    """Write a file, load it, look rows up, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=10)
    options = parser.parse_args()
    names = [f"x{i}" for i in range(options.columns)]
    chance = random.Random(1)
    table = {str(i): tuple(chance.gauss(0, 1) for _ in names) for i in range(options.rows)}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        path = Path(folder) / "features.csv"
        with path.open("w") as file:
            file.write(f"id,{','.join(names)}\n")
            file.writelines(f"{id_},{','.join(map(repr, row))}\n" for id_, row in table.items())
        source = _source(path, names, pool)
        begin = time.perf_counter()
        source.open()
        print(f"{options.rows:,} rows of {options.columns} floats, {path.stat().st_size / 1e6:.0f} MB")
        seconds, memory = time.perf_counter() - begin, _resident() / 1e6
        print(f"loaded in {seconds:.1f} s, {memory:.0f} MB at the most, the bare table included\n")
        _print_look_ups(source, table, chance)


def _source(path: Path, names: list[str], pool: ThreadPoolExecutor) -> FeatureSource:
    cls = Registry.discover().feature_source("csv")
    schema = Schema((name, pa.float64()) for name in names)
    context = FeatureContext("bench", "alice", logging.getLogger("bench"), Path(), schema, pool)
    return cls(cls.Config.model_validate({"path": path}), context)


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _print_look_ups(source: FeatureSource, table: dict[str, tuple[float, ...]], chance: random.Random) -> None:
    print("| rows | csv, µs | µs per row | ÷ bare dictionary |\n|---|---|---|---|")
    everybody = list(table)
    for rows in BATCHES:
        ids = chance.choices(everybody, k=rows)
        look_up = _microseconds(lambda ids=ids: source.fetch(FeatureQuery(ids)))
        bare = _microseconds(lambda ids=ids: Batch(source.schema, len(ids), rows=[table[id_] for id_ in ids]))
        print(f"| {rows} | {look_up:.1f} | {look_up / rows:.2f} | {look_up / bare:.1f} |")


def _microseconds(call: Callable[[], object]) -> float:
    timer = timeit.Timer(call)
    number, _ = timer.autorange()
    return min(timer.repeat(5, max(number // 5, 1))) / max(number // 5, 1) * 1e6


if __name__ == "__main__":
    main()
