"""Sweeps on workers of Dask: killed ones lose nothing, and schedulers may be elsewhere."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import leadline

pytest.importorskip("distributed")

FACTORY = """
import os, time
from torch import nn, randn
from pathlib import Path

def build(width=4, depth=2, seed=0):
    with open(Path(__file__).with_name("begun.txt"), "a") as file:
        file.write(f"{os.getpid()} {width} {seed}\\n")
    time.sleep(0.3)
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(depth)]), randn(3, width)
"""
WIDTHS, SEEDS = [3, 4, 5, 6, 7, 8], 3


@pytest.fixture
def factory(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(FACTORY)
    return f"{tmp_path / 'own.py'}:build"


def begun(folder: Path) -> list[tuple[str, str]]:
    """Cells that were begun, each with the process that did."""
    path = folder / "begun.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def swept(factory: str, out: Path, **how: Any) -> Any:
    return leadline.sweep(factory, {"width": WIDTHS}, "gradient.total, count.macs", out, seeds=SEEDS, **how)


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_two_kills_change_nothing(tmp_path: Path, factory: str) -> None:
    """Each kill hits the worker that began the latest cell; that cell alone is begun again."""
    killed: list[str] = []
    over = threading.Event()

    def kill() -> None:
        for after in (4, 10):
            while not over.is_set() and len(begun(tmp_path)) < after:
                time.sleep(0.02)
            if over.is_set():
                return
            process, _ = begun(tmp_path)[-1]
            os.kill(int(process), signal.SIGKILL)
            killed.append(process)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        disturbed = swept(factory, tmp_path / "out", workers=2)
    finally:
        over.set()
        killer.join()
    assert len(killed) == 2
    assert disturbed.failed == 0
    tries: dict[str, list[str]] = {}
    for process, cell in begun(tmp_path):
        tries.setdefault(cell, []).append(process)
    assert len(tries) == len(WIDTHS) * SEEDS
    assert all(process in killed for each in tries.values() for process in each[:-1])
    (tmp_path / "begun.txt").unlink()
    undisturbed = swept(factory, tmp_path / "quiet", workers=0)
    assert files(tmp_path / "out") == files(tmp_path / "quiet")
    assert disturbed == undisturbed


@contextmanager
def scheduler(folder: Path) -> Iterator[str]:
    """A scheduler with two lots of workers, each as a cluster of another machine would bring them."""
    path = folder / "scheduler.txt"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with open(path, "w") as log:
        begin = [
            sys.executable,
            "-m",
            "distributed.cli.dask_scheduler",
            "--port",
            "0",
            "--no-dashboard",
            "--host",
            "127.0.0.1",
        ]
        running = [subprocess.Popen(begin, stdout=log, stderr=log)]
        try:
            while not (found := re.search(r"(tcp://\S+:\d+)", path.read_text())):
                time.sleep(0.1)
                assert running[0].poll() is None, path.read_text()
            for _ in range(2):
                more = ["--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder)]
                worker = [sys.executable, "-m", "distributed.cli.dask_worker", found[1], *more]
                running.append(subprocess.Popen(worker, **quiet))  # type: ignore[call-overload]
            yield found[1]
        finally:
            for each in running[::-1]:
                each.terminate()
            for each in running:
                each.wait(20)


@pytest.mark.slow
def test_two_machines_worth_of_workers_on_one_scheduler(tmp_path: Path, factory: str) -> None:
    with scheduler(tmp_path) as address:
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(4, timeout=120)
        found = swept(factory, tmp_path / "out", scheduler=address)
    assert found.failed == 0
    assert len({process for process, _ in begun(tmp_path)}) == 4
    assert len(begun(tmp_path)) == len(WIDTHS) * SEEDS
    swept(factory, tmp_path / "quiet", workers=0)
    assert files(tmp_path / "out") == files(tmp_path / "quiet")


@pytest.mark.slow
def test_an_interrupt_stops_cleanly_and_the_sweep_goes_on(tmp_path: Path, factory: str) -> None:
    words = ["sweep", factory, "width=" + ",".join(map(str, WIDTHS)), "--seeds", str(SEEDS), "--workers", "2"]
    words += ["--measure", "gradient.total, count.macs", "--out", str(tmp_path / "out")]
    command = [sys.executable, "-c", f"from leadline.cli import main; main({words!r})"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    while len(begun(tmp_path)) < 5:
        time.sleep(0.05)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of it
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.strip().splitlines()[-1] == "leadline: interrupted"
    assert "Traceback" not in error
    half = leadline.sweep.read(tmp_path / "out")
    assert 0 < half.failed < len(half.rows)
    finished = {name for name in files(tmp_path / "out") if name.startswith("cells")}
    before = {name: (tmp_path / "out" / name).read_bytes() for name in finished}
    begun_before = len(begun(tmp_path))
    whole = swept(factory, tmp_path / "out", workers=2)
    assert whole.failed == 0
    assert len(begun(tmp_path)) - begun_before == half.failed
    assert all((tmp_path / "out" / name).read_bytes() == content for name, content in before.items())


@pytest.mark.slow
def test_the_critical_line_of_tanh_networks(tmp_path: Path) -> None:
    """σ_w² = 1.7610 at σ_b² = 0.05 (Schoenholz et al. 2017), measured on networks of width 256."""
    near = (1.2, 1.3, 1.4, 1.5)  # a straight line over 0.1 errs by 0.2 %
    settings = {
        "sigma_w": [0.5, 1.0, *near, 2.0, 2.5, 3.0],
        "layers": [25, 50, 100],
        "width": 256,
        "sigma_b": 0.05**0.5,
    }
    found = leadline.sweep("mlp", settings, "gradient.rate", tmp_path, seeds=5, workers=2)
    assert found.failed == 0
    assert len(found.rows) == 9 * 3 * 5
    for row in found.rows:
        if row["sigma_w"] not in near:
            assert (float(str(row["gradient.rate"])) > 0) == (float(str(row["sigma_w"])) > 1.5), row
    critical = found.crossing("sigma_w", "gradient.rate", layers=100)
    assert critical is not None
    assert critical.value**2 == pytest.approx(1.7610, rel=0.02)
    print(f"σ_w² = {critical.value**2:.4f} ± {2 * critical.value * critical.sem:.4f}")
