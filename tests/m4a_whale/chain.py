"""A small chain behind a real HTTP server, a market with transfers on disk, and how tests make both."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from werkzeug import Request, Response

from modules.core.module import Run
from modules.core.settings import load_settings
from modules.core.tables import Columns
from modules.m1_data_engine.simulated_market import Simulation, simulate

MINUTE = 60_000
NOON = 1_711_972_800_000
"""2024-04-01 12:00 UTC."""
SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "samples"


def name_of(*parts: object) -> str:
    """A hash for anything."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def paying(txid: str, *outputs: tuple[float, str], source: str = "elsewhere", inputs: int = 1, fee: int = 2_000) -> dict:
    """A transaction as esplora writes it; outputs are (BTC, address)."""
    total = sum(round(value * 1e8) for value, _ in outputs)
    before = {"scriptpubkey_address": source, "value": (total + fee) // inputs}
    return {
        "txid": txid,
        "vin": [{"prevout": before} for _ in range(inputs)],
        "vout": [{"scriptpubkey_address": address, "value": round(value * 1e8)} for value, address in outputs],
        "fee": fee,
        "weight": 800,
    }


class Chain:
    """Answers as a mempool.space-like server does; ``broken`` maps a path to what is answered there instead."""

    def __init__(self, summaries: bool = True):
        self.blocks: list[dict[str, Any]] = []
        self.orphans: list[dict[str, Any]] = []
        self.summaries, self.page = summaries, 25
        self.asked: list[str] = []
        self.broken: dict[str, Response] = {}
        self.after_each: Callable[[], object] = lambda: None
        for number in range(8, 0, -1):
            self.add(NOON - number * 60 * MINUTE)

    def add(self, mined_ms: int, *transactions: dict, branch: str = "") -> dict[str, Any]:
        """A block with a coinbase and these transactions, at the end of the chain."""
        height = 799_992 + len(self.blocks)
        transactions = (paying(name_of("coinbase", height, branch), (3.125, "miner")), *transactions)
        previous = self.blocks[-1]["id"] if self.blocks else name_of("before")
        block = {
            "id": name_of(height, branch, previous),
            "height": height,
            "timestamp": mined_ms // 1000,
            "previousblockhash": previous,
            "tx_count": len(transactions),
            "transactions": list(transactions),
        }
        self.blocks.append(block)
        return block

    def orphan(self, count: int) -> None:
        """Take the newest blocks off the chain; the server still knows them, as real ones do."""
        self.orphans += self.blocks[-count:]
        del self.blocks[-count:]

    def __call__(self, request: Request) -> Response:
        path = request.path
        self.asked.append(path)
        self.after_each()
        if path in self.broken:
            return self.broken[path]
        if path == "/api/blocks/tip/hash":
            return Response(self.blocks[-1]["id"])
        parts = path.split("/")
        if path.startswith("/api/block-height/"):
            at = [b["id"] for b in self.blocks if b["height"] == int(parts[3])]
            return Response(at[0]) if at else Response("Not Found", 404)
        every = self.blocks + self.orphans
        if path.startswith("/api/tx/"):
            return answer(next(t for b in every for t in b["transactions"] if t["txid"] == parts[3]))
        block = next(b for b in every if b["id"] in parts)
        if path.endswith("/summary"):
            if not self.summaries:
                return Response("Not Found", 404)
            rows = [{"txid": t["txid"], "value": sum(o["value"] for o in t["vout"])} for t in block["transactions"]]
            return answer(rows)
        if "/txs/" in path:
            start = int(parts[-1])
            return answer(block["transactions"][start : start + self.page])
        return answer({key: value for key, value in block.items() if key != "transactions"})


def answer(content: Any, **more: Any) -> Response:
    return Response(json.dumps(content), content_type="application/json", **more)


def run_in(folder: Path, **whale: Any) -> Run:
    """A workspace's run; waits between attempts are none."""
    return Run.open(folder, load_settings(overrides=overrides(folder, **whale)))


def overrides(folder: Path, **whale: Any) -> dict[str, dict[str, Any]]:
    return {"data": {"rows": 20_000, "chunk_rows": 20_000}, "learning": {"folds": 4}, "whale": whale}


def transfers_of(market: Simulation, labels: bool = True) -> Columns:
    """The simulated market's transfers as ``historical_transactions``."""
    rows: Columns = dict(market.transfers)
    rows["txid"] = np.array([name_of(i) for i in range(len(rows["timestamp"]))], object)
    for name in ("to_exchange", "from_exchange", "planted"):
        rows[name] = rows[name].astype(int)
    if not labels:
        del rows["planted"]
    return rows


def market_on_disk(folder: Path, minutes: int, seed: int, variant: str = "strong", **whale: Any) -> tuple[Run, Simulation]:
    """What stands there when the room trains: candles and transactions."""
    market = simulate(minutes, seed, variant)
    run = run_in(folder, **whale)
    run.workspace.write("candles_history", market.candles)
    run.workspace.write("historical_transactions", transfers_of(market))
    return run, market


def sample(*parts: str) -> Any:
    """One of the recorded answers of real services; the test is skipped where they are not at hand."""
    import pytest

    path = SAMPLES.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"recorded answers are not at hand: {'/'.join(parts)}")
    return json.loads(path.read_text())
