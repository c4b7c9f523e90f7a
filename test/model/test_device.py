"""The device that runs a policy, and why a GPU that is here does not."""

import os
import re
import sys
from pathlib import Path

import pytest

from restac_ros.model import device

H100 = 'NVIDIA H100 80GB HBM3'


def driver_of(name: str, capability: str) -> str:
    """A program that answers like nvidia-smi."""
    first = f'*compute_cap*) echo "{capability}" ;;'
    return f'#!/bin/sh\ncase "$*" in {first} *) echo "{name}, 570.86.15, 81559" ;; esac\n'


def jax_answers(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let this program be what starts JAX in another process."""
    monkeypatch.setattr(device, 'JAX_PROBE', (sys.executable, '-c', program))


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver that shows one GPU; the test may write another answer into the program. JAX starts the CPU."""
    probe = tmp_path / 'nvidia-smi'
    probe.write_text(driver_of(H100, '9.0'))
    probe.chmod(0o755)
    jax_answers(monkeypatch, "print('cpu\\tcpu')")
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    monkeypatch.setattr(device, 'GPU_PROBE', (str(probe), *device.GPU_PROBE[1:]))
    monkeypatch.setattr(device, 'PLUGINS', {'no_such_plugin': 525})
    monkeypatch.delenv('JAX_PLATFORMS')
    return probe


@pytest.mark.usefixtures('driver')
def test_name_driver_and_memory_of_the_gpu_are_read() -> None:
    assert device.installed_gpu() == device.Gpu(H100, '570.86.15', 81559, 9.0)
    assert str(device.installed_gpu()) == f'{H100}, driver 570.86.15, 79.6 GiB'


def test_memory_that_the_driver_does_not_say_is_left_out(driver: Path) -> None:
    driver.write_text('#!/bin/sh\necho "NVIDIA Thor, 580.00, [N/A]"\n')
    assert str(device.installed_gpu()) == 'NVIDIA Thor, driver 580.00'


@pytest.mark.parametrize(
    ('plugins', 'platforms', 'problem', 'remedy'),
    [
        ({'no_such_plugin': 525}, '', 'JAX has no plugin for it', "run 'make setup GPU=auto'"),
        ({'json': 525}, 'cpu', 'JAX_PLATFORMS is cpu', 'unset JAX_PLATFORMS'),
        ({'json': 571, 'no_such_plugin': 525}, '', '>= 571 is needed', "or run 'make setup GPU=cuda12'"),
        ({'json': 571}, '', 'its driver is too old for json', 'update the driver'),
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
    assert (found.name, problem in found.problem, remedy in found.remedy) == ('CPU', True, True)
    assert H100 in found.problem


@pytest.mark.parametrize('visible', ['', '-1', ',0'])
@pytest.mark.usefixtures('driver')
def test_a_gpu_hidden_from_cuda_is_said(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, 'PLUGINS', {'json': 525})
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    found = device.policy_device()
    assert (found.name, found.remedy) == ('CPU', 'unset CUDA_VISIBLE_DEVICES')
    assert f'CUDA_VISIBLE_DEVICES is {visible!r}, which hides it' in found.problem


@pytest.mark.parametrize(
    ('capability', 'plugins', 'is_too_low'),
    [
        ('6.1', ['json'], True),
        ('7.5', ['json'], False),
        ('12.0', ['json'], False),
        ('[N/A]', ['json'], False),
        ('6.1', ['json', 'csv'], False),
    ],
)
def test_a_gpu_too_old_for_the_plugin_is_said(
    capability: str, plugins: list[str], is_too_low: bool, driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.write_text(driver_of('NVIDIA GTX 1080', capability))
    monkeypatch.setattr(device, 'PLUGINS', dict.fromkeys(plugins, 525))
    monkeypatch.setattr(device, 'CAPABILITIES', {'json': 7.5})
    found = device.policy_device()
    assert ('compute capability is 6.1; json needs >= 7.5' in found.problem) == is_too_low
    assert (found.remedy == "run 'make setup GPU=cuda12'") == is_too_low


def test_jax_is_asked_which_gpu_it_starts_and_that_card_is_named(
    driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its process prints before does not matter; nor what is thought of a GPU that it does run on."""
    jax_answers(monkeypatch, f"print('hello'); print('gpu\\t{H100}')")
    assert device.policy_device() == (f'{H100}, driver 570.86.15, 79.6 GiB', '', '')
    driver.write_text(driver_of('NVIDIA T400', '7.5'))
    assert device.policy_device() == (f'{H100}, driver 570.86.15', '', '')


@pytest.mark.parametrize(
    ('program', 'said'),
    [
        (
            "import sys; print('W\\nE: cuInit: 999\\n', file=sys.stderr); print('cpu\\tcpu')",
            'cuInit',
        ),
        ("raise SystemExit('RuntimeError: no CUDA')", 'RuntimeError: no CUDA'),
        ('import os; os._exit(3)', 'it says nothing, exit status 3'),
        ('import time; time.sleep(60)', 'no answer within 0.5 s'),
    ],
)
@pytest.mark.usefixtures('driver')
def test_what_jax_says_when_it_cannot_start_a_gpu_is_told(
    program: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, 'PLUGINS', {'json': 525})
    if 'sleep' in program:
        monkeypatch.setattr(device, 'JAX_PROBE_TIMEOUT_S', 0.5)
    jax_answers(monkeypatch, program)
    found = device.policy_device()
    assert found.name == 'CPU'
    assert re.search(rf'{H100}.* is here, but JAX does not start it: .*{said}', found.problem)
    assert 'jax.devices()' in found.remedy


def test_jax_is_asked_without_taking_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    jax_answers(
        monkeypatch, "import os; print('gpu', os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'], sep='\\t')"
    )
    monkeypatch.delenv('XLA_PYTHON_CLIENT_PREALLOCATE', raising=False)
    assert device.ask_jax() == ('false', '')
    assert 'XLA_PYTHON_CLIENT_PREALLOCATE' not in os.environ


def test_the_real_question_is_answered_by_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests run on the CPU: its answer is no GPU, and no failure."""
    monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
    assert device.ask_jax() == ('', 'it says nothing, exit status 0')


@pytest.mark.usefixtures('driver')
def test_the_line_of_a_run_says_it_too() -> None:
    """JAX itself was started for the CPU by these tests."""
    said = device.describe_device()
    assert said.startswith(f'runs on: CPU ({H100}, driver 570.86.15, 79.6 GiB is here, but JAX has no plugin')
    assert said.endswith("run 'make setup GPU=auto', or pip install 'jax[cuda13]')")


@pytest.mark.parametrize('answer', ['exit 9', 'echo "NVIDIA-SMI has failed"; exit 9', 'echo nothing'])
def test_a_driver_that_does_not_answer_is_no_gpu(driver: Path, answer: str) -> None:
    driver.write_text(f'#!/bin/sh\n{answer}\n')
    assert device.installed_gpu() is None
    assert device.policy_device() == ('CPU', '', '')
