"""The device that runs a policy, and why a GPU that is here does not."""

from pathlib import Path

import pytest

from restac_ros.model import device

H100 = 'NVIDIA H100 80GB HBM3'


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver that shows one GPU; the test may write another answer into the program."""
    probe = tmp_path / 'nvidia-smi'
    probe.write_text(f'#!/bin/sh\necho "{H100}, 570.86.15, 81559"\n')
    probe.chmod(0o755)
    monkeypatch.setattr(device, 'GPU_PROBE', (str(probe), *device.GPU_PROBE[1:]))
    monkeypatch.setattr(device, 'PLUGINS', {'no_such_plugin': 525})
    monkeypatch.delenv('JAX_PLATFORMS')
    return probe


@pytest.mark.usefixtures('driver')
def test_name_driver_and_memory_of_the_gpu_are_read() -> None:
    assert device.installed_gpu() == device.Gpu(H100, '570.86.15', 81559)
    assert str(device.installed_gpu()) == f'{H100}, driver 570.86.15, 79.6 GiB'


def test_memory_that_the_driver_does_not_say_is_left_out(driver: Path) -> None:
    driver.write_text('#!/bin/sh\necho "NVIDIA Thor, 580.00, [N/A]"\n')
    assert str(device.installed_gpu()) == 'NVIDIA Thor, driver 580.00'


@pytest.mark.parametrize(
    ('plugins', 'platforms', 'problem', 'remedy'),
    [
        ({'no_such_plugin': 525}, '', 'JAX has no plugin for it', "run 'make setup'"),
        ({'json': 525}, 'cpu', 'JAX_PLATFORMS is cpu', 'unset JAX_PLATFORMS'),
        ({'json': 571, 'no_such_plugin': 525}, '', '>= 571 is needed', "or run 'make setup GPU=cuda12'"),
        ({'json': 571}, '', 'its driver is too old for json', 'update the driver'),
        ({'json': 525}, '', '', ''),
        ({'json': 571, 'csv': 525}, 'cuda,cpu', '', ''),
    ],
)
@pytest.mark.usefixtures('driver')
def test_a_gpu_that_jax_will_not_use_is_said_with_reason_and_remedy(
    plugins: dict[str, int], platforms: str, problem: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules of the standard library stand for plugins that are installed."""
    monkeypatch.setattr(device, 'PLUGINS', plugins)
    monkeypatch.setenv('JAX_PLATFORMS', platforms)
    found = device.policy_device()
    if problem:
        assert (found.name, problem in found.problem, remedy in found.remedy) == ('CPU', True, True)
        assert H100 in found.problem
    else:
        assert found == (f'{H100}, driver 570.86.15, 79.6 GiB', '', '')


@pytest.mark.usefixtures('driver')
def test_the_line_of_a_run_says_it_too() -> None:
    """JAX itself was started for the CPU by these tests."""
    said = device.describe_device()
    assert said.startswith(f'runs on: CPU ({H100}, driver 570.86.15, 79.6 GiB is here, but JAX has no plugin')
    assert said.endswith("run 'make setup', or pip install 'jax[cuda13]')")


@pytest.mark.parametrize('answer', ['exit 9', 'echo "NVIDIA-SMI has failed"; exit 9', 'echo nothing'])
def test_a_driver_that_does_not_answer_is_no_gpu(driver: Path, answer: str) -> None:
    driver.write_text(f'#!/bin/sh\n{answer}\n')
    assert device.installed_gpu() is None
    assert device.policy_device() == ('CPU', '', '')
