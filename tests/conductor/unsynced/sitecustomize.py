"""Python runs this at the start of a process that finds it: no test here waits for the disk. A killed process loses
nothing by it, the kernel has its data; only a power cut would tell."""

import os

os.fsync = lambda _: None  # type: ignore[assignment]
