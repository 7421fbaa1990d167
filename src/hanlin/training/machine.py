"""What this machine can do for training."""

from __future__ import annotations

import os
from pathlib import Path

from hanlin.domain import InvalidInputError

BF16_FLAGS = ("avx512_bf16", "amx_bf16")


def choose_device(wanted: str) -> str:
    """Return ``cpu`` or ``cuda``; raise InvalidInputError (``device_unavailable``) when CUDA is asked for in vain."""
    import torch

    has_cuda = torch.cuda.is_available()
    if wanted == "cuda" and not has_cuda:
        raise InvalidInputError(
            "device 'cuda' is not to be had on this machine", code="device_unavailable", hint="available: cpu"
        )
    return "cuda" if has_cuda and wanted != "cpu" else "cpu"


def choose_precision(wanted: str, device: str) -> str:
    """Return ``bf16`` where the processor computes in it, else ``fp32``; an explicit wish is kept."""
    if wanted != "auto":
        return wanted
    return "bf16" if device == "cuda" or _cpu_has_bf16() else "fp32"


def choose_threads(wanted: int) -> int:
    """Return *wanted*, or as many threads as there are processors for this process."""
    return wanted or len(os.sched_getaffinity(0))


def thread_choices(wanted: int) -> tuple[int, ...]:
    """
    Return the numbers of threads worth timing: *wanted*, or all processors and all but one.

    Threads of one matrix product wait for each other: where somebody else needs a processor, one thread less can be
    several times as fast.
    """
    most = choose_threads(wanted)
    return (most,) if wanted or most == 1 else (most, most - 1)


def describe_machine() -> dict[str, str | int]:
    """Return the facts that a training time depends on."""
    names = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return {"cpu": names[0] if names else "unknown", "cores": len(os.sched_getaffinity(0))}


def _cpu_has_bf16() -> bool:
    flags = next((line for line in _cpu_lines() if line.startswith("flags")), "")
    return any(flag in flags for flag in BF16_FLAGS)


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
