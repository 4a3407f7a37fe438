"""The front door: reads the flags and calls the conductor. No logic of its own."""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

REPOSITORY = Path(__file__).parent


def arguments() -> argparse.ArgumentParser:
    """All flags."""
    parser = argparse.ArgumentParser(
        prog="run_pipeline.py",
        usage="%(prog)s [MODE] [FLAGS]",
        description="An adaptive BTC/USD one-minute trader. Without a flag: one live cycle on paper, for cron.",
        epilog="Exit codes: 0 done, 3 a module fell back (the decision is NEUTRAL where it was needed), 1 could not run,"
        " 4 --analyze found something that cheats.",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--train", action="store_true", help="train all modules on --candles FILE")
    mode.add_argument("--replay", action="store_true", help="run the live cycle for each minute of --candles FILE")
    mode.add_argument("--backtest", action="store_true", help="what the trained models would have earned on --candles FILE")
    mode.add_argument("--walk-forward", action="store_true", help="train and test on --candles FILE, window after window")
    mode.add_argument("--analyze", action="store_true", help="whether anything trained looks ahead or leaks; exit code 4 if so")
    mode.add_argument("--report", action="store_true", help="one HTML page of all that was measured: performance/report.html")
    mode.add_argument("--loop", action="store_true", help="stay and run a cycle after each candle's close")
    mode.add_argument("--demo", action="store_true", help="train and replay on the simulated market, in a fresh folder")
    mode.add_argument("--check", action="store_true", help="check every file of the workspace against the catalog")
    parser.add_argument("--only", metavar="NAMES", default="", help="with --train: some modules, e.g. m2_regime,m3_specialist")
    parser.add_argument("--minutes", type=_count, metavar="N", help="with --replay: N more minutes")
    parser.add_argument("--from", dest="start", metavar="TIME", help="not before this time (UTC), where --candles are tested")
    parser.add_argument("--to", dest="end", metavar="TIME", help="not after this time (UTC), where --candles are tested")
    parser.add_argument("--jobs", type=_count, metavar="N", help="with --walk-forward: N folds at a time")
    parser.add_argument("--cluster", metavar="ADDRESS", help="with --walk-forward: folds on the workers of this Dask scheduler")
    parser.add_argument("--workspace", type=Path, metavar="DIR", help="folder of all tables and models (default: this one)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file with the settings that differ")
    parser.add_argument("--candles", type=Path, metavar="FILE", help="candles: our CSV, Binance's CSV or zip, gzip too")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")
    parser.add_argument("--verbose", action="store_true", help="show an error's traceback")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    """Run the mode that the flags name; the exit code."""
    parser = arguments()
    options = parser.parse_args(argv)
    if options.only and not options.train:
        parser.error("--only goes with --train")
    if options.minutes and not options.replay:
        parser.error("--minutes goes with --replay")
    tests = options.replay or options.backtest or options.walk_forward
    if options.candles and not (options.train or tests or options.analyze):
        parser.error("--candles goes with --train, --replay, --backtest, --walk-forward or --analyze")
    if (options.start or options.end) and not tests:
        parser.error("--from and --to go with --replay, --backtest or --walk-forward")
    if (options.jobs or options.cluster) and not options.walk_forward:
        parser.error("--jobs and --cluster go with --walk-forward")
    if options.jobs and options.cluster:
        parser.error("--jobs or --cluster: the cluster has its own number of workers")

    def work() -> int:
        from modules.core.module import Run
        from modules.core.settings import load_settings

        if options.demo:
            from modules.conductor.demo import demo

            return demo(options.workspace or REPOSITORY / "demo", options.config, options.quiet)
        run = Run.open(options.workspace or REPOSITORY, load_settings(options.config), candles=options.candles)
        if options.check:
            from modules.conductor.check import check

            return check(run)
        if options.analyze:
            from modules.evaluation.analyze import analyze

            return analyze(run, options.quiet)
        if options.report:
            from modules.evaluation.report import report

            return report(run, options.quiet)
        if options.train:
            from modules.conductor.training import train

            return train(run, [name for name in options.only.split(",") if name], options.quiet)
        if tests:
            from modules.conductor.replay import replay, stamp_of

            start, end = (stamp_of(text) if text else None for text in (options.start, options.end))
            if options.backtest:
                from modules.evaluation.backtest import backtest

                return backtest(run, start, end, options.quiet)
            if options.walk_forward:
                from modules.conductor.training import train
                from modules.evaluation.walk_forward import walk_forward

                return walk_forward(run, train, start, end, options.jobs or 1, options.cluster or "", options.quiet)
            return replay(run, options.minutes, start, end, options.quiet)
        from modules.conductor import cycle

        return cycle.loop(run, options.quiet) if options.loop else cycle.live(run, options.quiet)

    from modules.core.module import guarded

    return guarded(work, options.verbose)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # so early that nothing is guarded yet
        sys.exit(130)
