"""What one call of a live stream costs beside its arithmetic, at best, in the middle and at worst: a table of calls.

``python benchmarks/worst_cases.py``. The amplifier of `exported.py`, one sample and 64 samples a call. The arithmetic
is the compiled function, with its arguments laid out; on the C path also a loop in C over many calls, a call's share of
it, where everything stays in the nearest cache. `step` and `step_into` are what a user calls. Each call is timed by
itself, interleaved with the others, over many thousands. Goes to ``results/worst_cases.json``.
"""

from __future__ import annotations

import ctypes
import gc
import json
import time
from collections.abc import Callable

import numpy as np
import torch
from exported import Amplifier
from tables import RESULTS, machine

import leadline
from leadline.graph.reading import Reading
from leadline.sampling.exported.keeping import compiled
from leadline.sampling.exported.library import compiler, opened
from leadline.sampling.exported.source import c_code

CALLS, LOOP, CHUNKS, BACKENDS = 20_000, 64, (1, 64), ("c", "numba")
_LOOP = """
int amplifier_loop(STATE *s, const real *in, real *out, long size, long times) {
    int error = 0;
    for (long n = 0; n < times && !error; n++) error = amplifier_step(s, in, out, size);
    return error;
}
"""


def arithmetic_in_c(reading: Reading, chunk: np.ndarray, out: np.ndarray) -> Callable[[], object]:
    """Return a call of `LOOP` steps within C."""
    code = c_code(reading.stream(backend="torch").plan(64), "amplifier", torch.float32, "Amplifier")
    library, _ = opened(compiled(code.source + _LOOP, code.header, code.name, compiler() or "cc"))
    library.amplifier_bytes.restype = ctypes.c_size_t
    state = ctypes.create_string_buffer(library.amplifier_bytes())
    library.amplifier_reset(state)
    library.amplifier_loop.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_long] * 2
    where = ctypes.addressof(state), chunk.ctypes.data, out.ctypes.data, chunk.size, LOOP
    return lambda: (state, library.amplifier_loop(*where))


def ways(reading: Reading, backend: str, size: int) -> dict[str, Callable[[], object]]:
    """Return the arithmetic alone, and the two ways to call it, on sequences of their own."""
    chunk, out = torch.randn(1, 1, size), torch.zeros(1, 1, size)
    made, into, bare = (reading.stream(backend=backend) for _ in range(3))
    for each in (made, into, bare):
        each.reset()
        each.step_into(chunk, out)
    made.step(chunk)
    held = bare._live._held

    def alone() -> object:
        return held.go(size, held.given, held.found)

    loop = {"loop": arithmetic_in_c(reading, chunk.numpy(), out.numpy())} if backend == "c" else {}
    return loop | {
        "arithmetic": alone,
        "step": lambda: made.step(chunk),
        "step_into": lambda: into.step_into(chunk, out),
    }


def timed(actions: dict[str, Callable[[], object]], calls: int) -> dict[str, np.ndarray]:
    """Time each call of each action, in turn; return nanoseconds."""
    times = {name: np.zeros(calls, np.int64) for name in actions}
    clock = time.perf_counter_ns
    for n in range(calls):
        for name, action in actions.items():
            start = clock()
            action()
            times[name][n] = clock() - start
    return times


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    reading = leadline.read(Amplifier().eval(), torch.randn(1, 1, 64), layout="b c t -> b k t")
    empty = timed({"nothing": lambda: None}, CALLS)["nothing"]  # what the clock itself takes
    rows = []
    print(f"{'':24}{'median':>10}{'99 %':>10}{'99.9 %':>10}{'worst':>10}   microseconds")
    for backend in BACKENDS:
        for size in CHUNKS:
            actions = ways(reading, backend, size)
            timed(actions, 500)
            gc.collect()
            gc.disable()
            for name, nanoseconds in timed(actions, CALLS if size == 1 else CALLS // 10).items():
                times = LOOP if name == "loop" else 1
                found = (nanoseconds - np.median(empty)) / 1000 / times
                at = [float(np.quantile(found, q)) for q in (0.5, 0.99, 0.999, 1)]
                rows.append({"backend": backend, "chunk": size, "way": name, "microseconds": at})
                print(f"{f'{backend} {size} {name}':24}" + "".join(f"{x:10.2f}" for x in at))
            gc.enable()
    record = {"machine": machine(), "quantiles": [0.5, 0.99, 0.999, 1], "rows": rows}
    (RESULTS / "worst_cases.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
