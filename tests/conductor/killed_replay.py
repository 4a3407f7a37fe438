"""A replay that is killed again and again at random moments, each time by SIGKILL and each time started anew.

Run as a program, because each life is a fork of one that has the imports behind it: 200 cold starts would take minutes.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from modules.conductor.replay import replay
from modules.core.module import Run
from modules.core.settings import load_settings


def life(workspace: Path, config: Path, candles: Path) -> int:
    """The process id of a replay of all that is left to do."""
    child = os.fork()
    if child == 0:
        os._exit(replay(Run.open(workspace, load_settings(config), candles=candles), quiet=True))
    return child


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(workspace: Path, config: Path, candles: Path, undisturbed: Path, kills: int, seed: int) -> None:
    """Replay ``undisturbed`` in one go, and ``workspace`` with ``kills`` deaths on the way."""
    started = time.perf_counter()
    assert ended(life(undisturbed, config, candles)) == 0
    minute_s = (time.perf_counter() - started) / (len(candles.read_text().splitlines()) - 1)
    started = time.perf_counter()
    assert ended(life(undisturbed, config, candles)) == 0
    idle_s = time.perf_counter() - started

    moments = random.Random(seed)
    fatal = 0
    minutes = set()
    for _ in range(kills):
        child = life(workspace, config, candles)
        # Less than half a minute's work on average, so that the candles outlast the kills.
        time.sleep(moments.uniform(0.3, 1.2) * idle_s + moments.uniform(0, 2.5) * minute_s)
        os.kill(child, signal.SIGKILL)
        fatal += ended(child) == -signal.SIGKILL
        minutes.add(Run.open(workspace, load_settings(config)).workspace.newest("final_signals"))
    assert ended(life(workspace, config, candles)) == 0
    print(fatal, len(minutes))


if __name__ == "__main__":
    *paths, kills, seed = sys.argv[1:]
    main(*map(Path, paths), int(kills), int(seed))
