"""Which device runs the network, in a line for people."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

GPU_PROBE = ('nvidia-smi', '--query-gpu=name,driver_version,memory.total', '--format=csv,noheader,nounits')
CAPABILITY_QUERY = '--query-gpu=compute_cap'  # apart: drivers before 510 refuse a query with it
PROBE_TIMEOUT_S = 10.0
_JAX_PROBE = "import jax; device = jax.devices()[0]; print(device.platform, device.device_kind, sep='\\t')"
JAX_PROBE = (sys.executable, '-P', '-c', _JAX_PROBE)
JAX_PROBE_TIMEOUT_S = 60.0  # imports JAX and starts CUDA, on a machine that may be busy
PLUGINS = {'jax_cuda13_plugin': 580, 'jax_cuda12_plugin': 525}
"""JAX's plugins, and the major version of the oldest driver that runs each; as in scripts/gpu.sh."""
CAPABILITIES = {'jax_cuda13_plugin': 7.5}
"""The least compute capability of a plugin that older GPUs lack; as in scripts/gpu.sh."""


class Gpu(NamedTuple):
    """An NVIDIA GPU as its driver describes it; None is what the driver does not report."""

    name: str
    driver: str
    memory_mib: int | None
    capability: float | None = None

    def __str__(self) -> str:
        memory = '' if self.memory_mib is None else f', {self.memory_mib / 1024:.1f} GiB'
        return f'{self.name}, driver {self.driver}{memory}'


class PolicyDevice(NamedTuple):
    """What a policy will run on: a GPU or 'CPU'; and, where a GPU is here but unused, why and the remedy."""

    name: str
    problem: str = ''
    remedy: str = ''


class JaxAnswer(NamedTuple):
    """The device that JAX starts; '' and why, where that is none but the CPU."""

    device_kind: str
    problem: str = ''


def describe_device() -> str:
    """Return 'runs on: NVIDIA H100 ...'; or CPU, and why not the GPU that is here."""
    import jax  # starts the device: to only describe a machine, call `policy_device`

    device, gpu = jax.devices()[0], installed_gpu()
    if device.platform != 'cpu':
        return f'runs on: {_card(device.device_kind, gpu)}'
    if gpu is None:
        return 'runs on: CPU'
    problem, remedy = _why_idle(gpu, os.environ, _installed_plugins())
    why = f'{gpu} is here, but {problem}; {remedy}' if problem else f'JAX does not use {gpu}: it said why'
    return f'runs on: CPU ({why})'


def policy_device() -> PolicyDevice:
    """Return what a policy will run on; JAX is asked in a process of its own, where an NVIDIA GPU is here."""
    gpu = installed_gpu()
    if gpu is None:
        return PolicyDevice('CPU')
    answer = ask_jax()
    if answer.device_kind:
        return PolicyDevice(_card(answer.device_kind, gpu))
    problem, remedy = _why_idle(gpu, os.environ, _installed_plugins())
    if not problem:
        problem = f'JAX does not start it: {answer.problem}'
        remedy = f"see all that JAX says: {sys.executable} -c 'import jax; jax.devices()'"
    return PolicyDevice('CPU', f'{gpu} is here, but {problem}', remedy)


def ask_jax() -> JaxAnswer:
    """Start JAX's device in another process, which takes little of its memory and ends at once."""
    env = os.environ | {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}
    try:
        ended = subprocess.run(
            JAX_PROBE, capture_output=True, text=True, timeout=JAX_PROBE_TIMEOUT_S, check=False, env=env
        )
    except subprocess.TimeoutExpired:
        return JaxAnswer('', f'no answer within {JAX_PROBE_TIMEOUT_S:g} s')
    except OSError as error:
        return JaxAnswer('', str(error))
    platform, _, kind = _last_line(ended.stdout).partition('\t')
    if ended.returncode == 0 and kind and platform != 'cpu':
        return JaxAnswer(kind)
    return JaxAnswer('', _last_line(ended.stderr) or f'it says nothing, exit status {ended.returncode}')


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), '')


def _card(device_kind: str, gpu: Gpu | None) -> str:
    """Return JAX's device, with what the driver tells of it where it is the one that the driver shows."""
    if gpu is None:
        return device_kind
    return str(gpu) if device_kind == gpu.name else f'{device_kind}, driver {gpu.driver}'


def describe_memory() -> str:
    """Return what this process holds of the device's memory: ', 7.1 of 139.8 GB in use'; '' on a CPU."""
    import jax

    stats = jax.devices()[0].memory_stats() or {}
    if 'bytes_in_use' not in stats:
        return ''
    limit = f' of {stats["bytes_limit"] / 1e9:.1f}' if 'bytes_limit' in stats else ''
    return f', {stats["bytes_in_use"] / 1e9:.1f}{limit} GB in use'


def _why_idle(gpu: Gpu, environment: Mapping[str, str], plugins: Sequence[str]) -> tuple[str, str]:
    """Return why JAX will not use a GPU, and the remedy; two empty strings where no reason is known."""
    platforms, visible = environment.get('JAX_PLATFORMS', ''), environment.get('CUDA_VISIBLE_DEVICES')
    if platforms and not {'cuda', 'gpu'} & set(platforms.split(',')):
        return f'JAX_PLATFORMS is {platforms}', 'unset JAX_PLATFORMS'
    if visible is not None and visible.partition(',')[0].strip() in ('', '-1', 'NoDevFiles'):
        return f'CUDA_VISIBLE_DEVICES is {visible!r}, which hides it', 'unset CUDA_VISIBLE_DEVICES'
    if not plugins:
        return 'JAX has no plugin for it', "run 'make setup GPU=auto', or pip install 'jax[cuda13]'"
    needed = min(PLUGINS[plugin] for plugin in plugins)
    major = gpu.driver.partition('.')[0]
    if major.isdigit() and int(major) < needed:
        other = ", or run 'make setup GPU=cuda12'" if int(major) >= min(PLUGINS.values()) else ''
        return f'its driver is too old for {plugins[0]}: >= {needed} is needed', f'update the driver{other}'
    least = min(CAPABILITIES.get(plugin, 0.0) for plugin in plugins)
    if gpu.capability is not None and gpu.capability < least:
        problem = f'its compute capability is {gpu.capability}; {plugins[0]} needs >= {least}'
        return problem, "run 'make setup GPU=cuda12'"
    return '', ''


def _installed_plugins() -> list[str]:
    return [plugin for plugin in PLUGINS if importlib.util.find_spec(plugin)]


def installed_gpu() -> Gpu | None:
    """Return the first NVIDIA GPU that the driver shows; None without one."""
    for line in _ask_driver(*GPU_PROBE):
        parts = [part.strip() for part in line.split(',')]
        if len(parts) == 3:
            return Gpu(parts[0], parts[1], int(parts[2]) if parts[2].isdigit() else None, _capability())
    return None


def _capability() -> float | None:
    said = next(iter(_ask_driver(GPU_PROBE[0], CAPABILITY_QUERY, *GPU_PROBE[2:])), '')
    return float(said) if re.fullmatch(r'\d+\.\d', said) else None


def _ask_driver(*command: str) -> list[str]:
    """Return the lines that nvidia-smi prints; none where a driver does not answer."""
    if shutil.which(command[0]) is None:
        return []
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return ended.stdout.splitlines()
