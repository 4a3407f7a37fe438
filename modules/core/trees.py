"""LightGBM models on the live path: its own C library by ctypes.

``import lightgbm`` costs over a second (it brings scikit-learn and pandas); the library that does the work loads in
milliseconds and gives the same bits.
"""

import ctypes
import importlib.util
from pathlib import Path

import numpy as np

from modules.core.errors import ArtifactError

_NORMAL, _RAW, _FLOAT64 = 0, 1, 1
_library: ctypes.CDLL | None = None


def _load() -> ctypes.CDLL:
    global _library
    if _library is None:
        spec = importlib.util.find_spec("lightgbm")
        if spec is None or not spec.submodule_search_locations:
            raise ArtifactError("lightgbm is not installed: pip install -r requirements.txt")
        try:
            _library = ctypes.CDLL(str(Path(spec.submodule_search_locations[0]) / "lib" / "lib_lightgbm.so"))
        except OSError as error:
            raise ArtifactError(f"LightGBM's library cannot be loaded ({error}); it needs libgomp1") from error
        _library.LGBM_GetLastError.restype = ctypes.c_char_p
    return _library


class Trees:
    """A booster from its text form.

    Parameters
    ----------
    model : the text that ``Booster.model_to_string`` gives

    Raises
    ------
    ArtifactError : the text is no LightGBM model
    """

    def __init__(self, model: bytes):
        self._handle = ctypes.c_void_p()
        self._lib = _load()
        rounds = ctypes.c_int()
        self._call("BoosterLoadModelFromString", model, ctypes.byref(rounds), ctypes.byref(self._handle))
        classes, features = ctypes.c_int(), ctypes.c_int()
        self._call("BoosterGetNumClasses", self._handle, ctypes.byref(classes))
        self._call("BoosterGetNumFeature", self._handle, ctypes.byref(features))
        self.classes, self.features = classes.value, features.value

    def predict(self, rows: np.ndarray, raw: bool = False) -> np.ndarray:
        """Probabilities, (N, classes), (N, 1) for a binary model; with ``raw`` the trees' sums before the link.

        Parameters
        ----------
        rows : (N, features) in the order that the model was trained on; the caller checks it against the manifest
        """
        rows = np.ascontiguousarray(rows, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.features:
            raise ArtifactError(f"the model takes {self.features} features, it was given {rows.shape[1:]}")
        result = np.empty(len(rows) * self.classes)
        length = ctypes.c_int64()
        self._call(
            "BoosterPredictForMat",
            self._handle,
            rows.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int(_FLOAT64),
            ctypes.c_int32(rows.shape[0]),
            ctypes.c_int32(rows.shape[1]),
            ctypes.c_int(1),
            ctypes.c_int(_RAW if raw else _NORMAL),
            ctypes.c_int(0),
            ctypes.c_int(-1),
            b"num_threads=1",
            ctypes.byref(length),
            result.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
        )
        return result.reshape(len(rows), self.classes)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._lib.LGBM_BoosterFree(self._handle)

    def _call(self, name: str, *arguments: object) -> None:
        if getattr(self._lib, f"LGBM_{name}")(*arguments):
            raise ArtifactError(f"LightGBM: {self._lib.LGBM_GetLastError().decode(errors='replace')}")
