"""`volsvc warmup`: compile the kernels, and say where they are cached."""

from __future__ import annotations

from volsvc.pipeline.warmup import ABOUT_S, warm_up


def run_warmup() -> None:
    """Compile what the cache lacks, with a line before and after."""
    done = warm_up(_announce)
    if not done.kernels:
        print("the kernels are plain Python: NUMBA_DISABLE_JIT is set")
        return
    made = f"{done.compiled} functions compiled" if done.compiled else "none compiled"
    place = f"cached under {done.folder}" if done.folder else "not cached: no folder can be written"
    print(f"{done.kernels} kernels are ready in {done.duration_s:.1f} s, {made}; {place}")


def _announce() -> None:
    print(f"compiling the kernels once: about {ABOUT_S} s", flush=True)
