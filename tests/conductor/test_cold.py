"""What a cold process loads each minute, and how long that takes."""

import json
import statistics
import subprocess
import sys
import time

import pytest

from tests.conftest import REPOSITORY, SYNCED

HEAVY = (
    "sklearn",
    "lightgbm",
    "hmmlearn",
    "pyod",
    "torch",
    "transformers",
    "numba",
    "matplotlib",
    "pandas",
    "polars",
    "scipy",
)
TOLD = """
import json, sys
import run_pipeline
code = run_pipeline.main(sys.argv[1:])
print(json.dumps([code, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def loaded(desk, *flags: object) -> tuple[int, set[str]]:
    """Exit code and top-level packages of a command in a process of its own."""
    command = [sys.executable, "-c", TOLD, *desk.door(*flags)[2:]]
    done = subprocess.run(command, capture_output=True, text=True, env=SYNCED, timeout=120, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules)


def test_a_replayed_minute_loads_no_training_library(trained):
    code, modules = loaded(trained, "--replay", "--candles", trained.follow, "--minutes", 1, "--quiet")
    assert code == 0
    assert modules.isdisjoint({*HEAVY, "requests", "rich"})


def test_a_live_cycle_loads_no_training_library(trained):
    trained.config.write_text(trained.config.read_text() + '[exchange]\nbase_url = "http://127.0.0.1:9"\nattempts = 1\n')
    code, modules = loaded(trained)
    assert code == 3, "nobody listens there: a fallback, by the same path as any cycle"
    assert "requests" in modules
    assert modules.isdisjoint(HEAVY)


def test_the_check_loads_no_training_library(trained):
    code, modules = loaded(trained, "--check")
    assert code == 0
    assert modules.isdisjoint({*HEAVY, "requests"})


@pytest.mark.slow
def test_a_cold_minute_takes_at_most_half_as_long_again_as_the_imports_of_others(trained):
    peer = [sys.executable, "-c", "import pandas, talib"]
    if subprocess.run(peer, capture_output=True, check=False).returncode:
        pytest.skip("pandas and TA-Lib are not installed: there is nothing to compare with")
    ours = trained.door("--replay", "--candles", trained.follow, "--minutes", 1, "--quiet")
    assert subprocess.run(ours, env=SYNCED, check=False).returncode == 0  # the first one lays the warm-up down
    spans: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(11):
        for name, command in (("peer", peer), ("ours", ours)):
            began = time.perf_counter()
            subprocess.run(command, env=SYNCED, cwd=REPOSITORY, check=True)
            spans[name].append(time.perf_counter() - began)
    ratio = statistics.median(spans["ours"]) / statistics.median(spans["peer"])
    assert ratio <= 1.5, {name: [round(span, 3) for span in each] for name, each in spans.items()}
