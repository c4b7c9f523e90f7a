"""Which device runs the network, in a line for people."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

GPU_PROBE = ('nvidia-smi', '--query-gpu=name,driver_version,memory.total', '--format=csv,noheader,nounits')
PROBE_TIMEOUT_S = 10.0
PLUGINS = {'jax_cuda13_plugin': 580, 'jax_cuda12_plugin': 525}
"""JAX's plugins, and the major version of the oldest driver that runs each; as in scripts/gpu.sh."""


class Gpu(NamedTuple):
    """An NVIDIA GPU as its driver describes it; `memory_mib` is None where the driver does not report it."""

    name: str
    driver: str
    memory_mib: int | None

    def __str__(self) -> str:
        memory = '' if self.memory_mib is None else f', {self.memory_mib / 1024:.1f} GiB'
        return f'{self.name}, driver {self.driver}{memory}'


class PolicyDevice(NamedTuple):
    """What a policy will run on: a GPU or 'CPU'; and, where a GPU is here but unused, why and the remedy."""

    name: str
    problem: str = ''
    remedy: str = ''


def describe_device() -> str:
    """Return 'runs on: NVIDIA H100 ...'; or CPU, and why not the GPU that is here."""
    import jax  # starts the device: to only describe a machine, call `policy_device`

    device, gpu = jax.devices()[0], installed_gpu()
    if device.platform != 'cpu':
        return f'runs on: {gpu or device.device_kind}'
    if gpu is None:
        return 'runs on: CPU'
    expected = policy_device()
    why = (
        f'{expected.problem}; {expected.remedy}'
        if expected.problem
        else f'JAX does not use {gpu}: it said why'
    )
    return f'runs on: CPU ({why})'


def policy_device() -> PolicyDevice:
    """Return what a policy will run on, without starting the device."""
    gpu = installed_gpu()
    if gpu is None:
        return PolicyDevice('CPU')
    problem, remedy = _why_idle(gpu, os.environ.get('JAX_PLATFORMS', ''), _installed_plugins())
    if problem:
        return PolicyDevice('CPU', f'{gpu} is here, but {problem}', remedy)
    return PolicyDevice(str(gpu))


def describe_memory() -> str:
    """Return what this process holds of the device's memory: ', 7.1 of 139.8 GB in use'; '' on a CPU."""
    import jax

    stats = jax.devices()[0].memory_stats() or {}
    if 'bytes_in_use' not in stats:
        return ''
    limit = f' of {stats["bytes_limit"] / 1e9:.1f}' if 'bytes_limit' in stats else ''
    return f', {stats["bytes_in_use"] / 1e9:.1f}{limit} GB in use'


def _why_idle(gpu: Gpu, platforms: str, plugins: Sequence[str]) -> tuple[str, str]:
    """Return why JAX will not use a GPU, and the remedy; two empty strings when it will."""
    if platforms and not {'cuda', 'gpu'} & set(platforms.split(',')):
        return f'JAX_PLATFORMS is {platforms}', 'unset JAX_PLATFORMS'
    if not plugins:
        return 'JAX has no plugin for it', "run 'make setup', or pip install 'jax[cuda13]'"
    needed = min(PLUGINS[plugin] for plugin in plugins)
    major = gpu.driver.partition('.')[0]
    if major.isdigit() and int(major) < needed:
        other = ", or run 'make setup GPU=cuda12'" if int(major) >= min(PLUGINS.values()) else ''
        return f'its driver is too old for {plugins[0]}: >= {needed} is needed', f'update the driver{other}'
    return '', ''


def _installed_plugins() -> list[str]:
    return [plugin for plugin in PLUGINS if importlib.util.find_spec(plugin)]


def installed_gpu() -> Gpu | None:
    """Return the first NVIDIA GPU that the driver shows; None without one."""
    if shutil.which(GPU_PROBE[0]) is None:
        return None
    try:
        ended = subprocess.run(GPU_PROBE, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # a driver that does not answer offers nothing
    for line in ended.stdout.splitlines():
        parts = [part.strip() for part in line.split(',')]
        if len(parts) == 3:
            return Gpu(parts[0], parts[1], int(parts[2]) if parts[2].isdigit() else None)
    return None
