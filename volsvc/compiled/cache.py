"""The cache of machine code on disk.

numba's own cache refuses to start where nothing can be written, does not see that a kernel or
constant of another module has changed, and trusts the files that it reads. This one is read
wherever an installation has filled it, written where that is possible, and ignores what does not
fit.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numba
from numba.core import config as numba_config
from numba.core.caching import UserWideCacheLocator, _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from volsvc.compiled.fingerprint import closure_digest, code_digest

_CHECKSUM_BYTES: Final = hashlib.sha256().digest_size

# Its attributes are made at run time.
config: Any = numba_config

log = logging.getLogger(__name__)


class KernelCache(_Cache):
    """The cache of one kernel, which numba asks before it compiles for a signature."""

    def __init__(self, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
        """`options` are those of `numba.njit`."""
        self._function = function
        self._options = repr(options)
        # As with *.pyc, each version of Python has files of its own.
        module, tag = function.__module__.rpartition(".")[2], sys.implementation.cache_tag
        name = f"{module}.{function.__qualname__}.{tag}".replace("<", "").replace(">", "")
        self._files = KernelFiles(cache_folders(Path(inspect.getfile(function))), name)

    @property
    def cache_path(self) -> str:
        """The folder that the kernel's machine code is in; empty if it is in memory alone."""
        return str(self._files.used or "")

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the machine code for a signature, or None if there is none that fits."""
        target_context.refresh()
        try:
            reduced = self._files.load(self._code, self._key(sig, target_context.codegen()))
            if reduced is None:
                return None
            return CompileResult._rebuild(target_context, *reduced)  # noqa: SLF001 - as numba does
        except Exception as error:  # noqa: BLE001 - whatever it is, the code can be compiled anew
            log.warning("machine code of %s is compiled anew: %r", self._function.__name__, error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save machine code for a signature."""
        if data.library.has_dynamic_globals:
            log.warning("kernel holds an address, and cannot be cached: %s", self._function)
            return
        self._files.save(self._code, self._key(sig, data.codegen), data._reduce())  # noqa: SLF001

    def enable(self) -> None:
        """Do nothing: the cache is always in use."""

    def disable(self) -> None:
        """Do nothing, as `enable`."""

    def flush(self) -> None:
        """Do nothing: files of a function that has changed are not read."""

    @cached_property
    def _code(self) -> str:
        # Not before the first call: a module that is being imported lacks some of its globals.
        return code_digest(self._function)[:16]

    def _key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        """Return what machine code is compiled for: types, processor, options and numba."""
        options = (self._options, config.BOUNDSCHECK, int(config.OPT))
        closure = closure_digest(self._function)
        return sig, codegen.magic_tuple(), options, numba.__version__, closure


class KernelFiles:
    """The files of one kernel, one for each signature: a checksum, then pickled machine code.

    Their names tell what the code was compiled from and for, so that processes that write at the
    same time cannot mix them up. `used` is the folder that was read or written last.
    """

    def __init__(self, folders: Sequence[Path], name: str) -> None:
        """Their names begin with `name`."""
        self._folders = folders
        self._name = name
        self.used: Path | None = None

    def load(self, code: str, key: tuple[Any, ...]) -> Any:
        """Return what was saved for the digest of a kernel's code and a key, or None."""
        for folder in self._folders:
            path = folder / self._file_name(code, key)
            try:
                content = path.read_bytes()
            except OSError:
                continue
            checksum, pickled = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
            if hashlib.sha256(pickled).digest() != checksum:
                log.warning("machine code is damaged and compiled anew: %s", path)
                continue
            saved_key, data = pickle.loads(pickled)  # noqa: S301 - as much trusted as *.pyc
            if saved_key == key:
                self.used = folder
                return data
        return None

    def save(self, code: str, key: tuple[Any, ...], data: Any) -> None:
        """Save in the first folder that can be written, and remove files of former code there."""
        pickled = dumps((key, data))
        content = hashlib.sha256(pickled).digest() + pickled
        for folder in self._folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _write(folder / self._file_name(code, key), content)
            except OSError:
                continue
            self.used = folder
            self._remove_former(folder, code)
            return
        _warn_of_no_folder(" or ".join(map(str, self._folders)))

    def _remove_former(self, folder: Path, code: str) -> None:
        for path in folder.glob(f"{self._name}-*.nbc"):
            if not path.name.startswith(f"{self._name}-{code}-"):
                # Another process may be doing the same.
                with suppress(OSError):
                    path.unlink()

    def _file_name(self, code: str, key: tuple[Any, ...]) -> str:
        target = hashlib.sha256(repr(key).encode()).hexdigest()
        return f"{self._name}-{code}-{target[:16]}.nbc"


def cache_folders(source: Path) -> list[Path]:
    """Return the folders that may hold the machine code of a source file, the first choice first.

    NUMBA_CACHE_DIR if it is set; else `__pycache__` beside the source, which an installation by
    another user may have filled, then the user's own cache.
    """
    subfolder = UserWideCacheLocator.get_suitable_cache_subpath(str(source))
    if config.CACHE_DIR:
        return [Path(config.CACHE_DIR) / subfolder]
    folders = [source.parent / "__pycache__"]
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    # Without a home it would be a folder named ~ in the working directory.
    if Path(caches).is_absolute():
        folders.append(Path(caches, "volsvc", subfolder))
    return folders


def _write(path: Path, content: bytes) -> None:
    # Renamed once it is whole, because other processes may read at the same time.
    unfinished = path.with_suffix(f".{uuid4().hex}.tmp")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@lru_cache
def _warn_of_no_folder(folders: str) -> None:
    log.warning("machine code is kept in memory alone, for no folder can be written: %s", folders)
