"""Model files and their manifest: nothing is loaded that the manifest does not vouch for."""

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

from modules.core import clock
from modules.core.catalog import ARTIFACTS
from modules.core.errors import ArtifactError, NotTrainedError
from modules.core.tables import Workspace, signature, write_atomically

MANIFEST = "models/manifest.json"
_ENTRY = {"path", "sha256", "made_at", "fitted_from", "fitted_to", "features"}


class Artifacts:
    """The model files of a workspace, by their catalog names.

    Each is recorded with its SHA-256, when it was made, from which span of candles, and which features it takes in
    which order. A load checks the hash before it reads a byte as anything else.
    """

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self._manifest: dict[str, Any] = {}
        self._signature: tuple[int, ...] = ()
        self._loaded: dict[str, tuple[str, Any]] = {}

    def save(self, name: str, data: bytes, span: tuple[int, int], features: list[str], k: str | int | None = None) -> None:
        """Write a model file and its entry in the manifest.

        Parameters
        ----------
        span : stamps of the first and the last candle that it was fitted on, Unix ms
        features : names of its inputs, in their order
        k : fills ``{k}`` in the catalog's name and path
        """
        path = self.workspace.root / ARTIFACTS[name].path.format(k=k)
        write_atomically(path, data)
        entry = {
            "path": ARTIFACTS[name].path.format(k=k),
            "sha256": hashlib.sha256(data).hexdigest(),
            "made_at": clock.now_ms(),
            "fitted_from": int(span[0]),
            "fitted_to": int(span[1]),
            "features": list(features),
        }
        self._write_manifest({**self._read_manifest(), name.format(k=k): entry})

    def save_pickle(self, name: str, model: Any, span: tuple[int, int], features: list[str], k: Any = None) -> None:
        self.save(name, pickle.dumps(model, protocol=5), span, features, k)

    def save_json(self, name: str, content: Any, span: tuple[int, int], features: list[str], k: Any = None) -> None:
        self.save(name, json.dumps(content, indent=1).encode(), span, features, k)

    def load(self, name: str, k: str | int | None = None) -> bytes:
        """The bytes of a model file.

        Raises
        ------
        NotTrainedError : the workspace has no manifest
        ArtifactError : the file is missing or is not the one that the manifest names
        """
        entry = self.entry(name, k)
        path = self.workspace.root / entry["path"]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be read ({error.strerror}); train again with --train") from error
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise ArtifactError(
                f"{path}: is not the file that {MANIFEST} names (its SHA-256 differs); put the right one back or train again"
            )
        return data

    def load_json(self, name: str, k: str | int | None = None) -> Any:
        return self.once(name, k, json.loads)

    def load_pickle(self, name: str, k: str | int | None = None) -> Any:
        return pickle.loads(self.load(name, k))

    def once(self, name: str, k: str | int | None, read: Any) -> Any:
        """``read(bytes)`` of a model file, kept for as long as the manifest names the same file."""
        key, sha256 = name.format(k=k), self.entry(name, k)["sha256"]
        if self._loaded.get(key, ("",))[0] != sha256:
            self._loaded[key] = sha256, read(self.load(name, k))
        return self._loaded[key][1]

    def entry(self, name: str, k: str | int | None = None) -> dict[str, Any]:
        """What the manifest says of a model file."""
        manifest = self._read_manifest()
        if not manifest:
            raise NotTrainedError(self.workspace.root)
        if name.format(k=k) not in manifest:
            raise ArtifactError(f"{name.format(k=k)} was never trained in {self.workspace.root}; train again with --train")
        return manifest[name.format(k=k)]

    def fitted_to(self) -> int:
        """The newest candle that anything was fitted on, Unix ms; -1 where nothing was. Scalers do not count: they are
        fitted on the newest chunk by design, and know no label."""
        entries = self._read_manifest().items()
        return max((int(entry["fitted_to"]) for name, entry in entries if not name.startswith("scaler_")), default=-1)

    def names(self) -> list[str]:
        return list(self._read_manifest())

    def forget(self, writer: str) -> None:
        """Drop a room's entries from the manifest before it trains anew."""
        prefixes = {artifact.name.split("{k}")[0] for artifact in ARTIFACTS.values() if artifact.writer == writer}
        manifest = {n: e for n, e in self._read_manifest().items() if not any(n.startswith(p) for p in prefixes)}
        self._write_manifest(manifest)

    def drop(self, names: list[str]) -> None:
        """Delete model files and their entries."""
        manifest = self._read_manifest()
        if names:
            self._write_manifest({name: entry for name, entry in manifest.items() if name not in names})
        for name in names:
            (self.workspace.root / manifest[name]["path"]).unlink(missing_ok=True)

    def check(self) -> list[str]:
        """One sentence for each model file that is missing or changed."""
        faults = []
        for name in self.names():
            try:
                entry = self._read_manifest()[name]
                path = self.workspace.root / entry["path"]
                if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
                    faults.append(f"{path}: is not the file that {MANIFEST} names (its SHA-256 differs)")
            except OSError as error:
                faults.append(f"{path}: cannot be read ({error.strerror})")
        return faults

    def _read_manifest(self) -> dict[str, Any]:
        path = self.workspace.root / MANIFEST
        there = signature(path) if path.is_file() else ()
        if there != self._signature:  # another process may train while this one runs
            self._manifest = _parsed(path) if there else {}
            self._signature = there
        return self._manifest

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        path = self.workspace.root / MANIFEST
        write_atomically(path, json.dumps(manifest, indent=1, sort_keys=True).encode())
        self._manifest, self._signature = manifest, signature(path)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
        if isinstance(manifest, dict) and all(set(entry) >= _ENTRY for entry in manifest.values()):
            return manifest
        raise ValueError("an entry lacks what it must hold")
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: is no manifest ({error}); train again with --train") from error
