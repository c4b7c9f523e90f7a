"""Which device runs the network, in a line for people."""

import importlib.util
import shutil
import subprocess

GPU_PROBE = ('nvidia-smi', '--query-gpu=name', '--format=csv,noheader')
PROBE_TIMEOUT_S = 10.0
PLUGINS = ('jax_cuda12_plugin', 'jax_cuda13_plugin')
REMEDY = "run 'make setup CUDA=1', or pip install 'jax[cuda13]'"


def describe_device() -> str:
    """Return 'runs on: NVIDIA H100', or CPU, with the remedy where a GPU is here but JAX cannot use it."""
    import jax  # starts the device: whoever only looks at a machine asks `idle_gpu`

    device = jax.devices()[0]
    if device.platform != 'cpu':
        return f'runs on: {device.device_kind}'
    gpu = installed_gpu()
    return f'runs on: CPU ({gpu} is here, but JAX cannot use it: {REMEDY})' if gpu else 'runs on: CPU'


def describe_memory() -> str:
    """Return what this process holds of the device's memory: ', 7.1 of 139.8 GB in use'; '' on a CPU."""
    import jax

    stats = jax.devices()[0].memory_stats() or {}
    if 'bytes_in_use' not in stats:
        return ''
    limit = f' of {stats["bytes_limit"] / 1e9:.1f}' if 'bytes_limit' in stats else ''
    return f', {stats["bytes_in_use"] / 1e9:.1f}{limit} GB in use'


def idle_gpu() -> str:
    """Return the name of a GPU for which JAX has no plugin, without starting it; '' where all is well."""
    has_plugin = any(importlib.util.find_spec(plugin) for plugin in PLUGINS)
    return '' if has_plugin else installed_gpu()


def expected_device() -> str:
    """Return the GPU that JAX will use, or 'CPU', without starting it."""
    return 'CPU' if idle_gpu() else installed_gpu() or 'CPU'


def installed_gpu() -> str:
    """Return the name of the first NVIDIA GPU that the driver shows; '' without one."""
    if shutil.which(GPU_PROBE[0]) is None:
        return ''
    try:
        ended = subprocess.run(GPU_PROBE, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ''  # a driver that does not answer offers nothing
    return next((line.strip() for line in ended.stdout.splitlines() if line.strip()), '')
