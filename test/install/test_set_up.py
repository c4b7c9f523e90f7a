"""What scripts/setup.sh installs, by the GPU's driver and by what is asked for; and the image beside it.

The script itself runs, in a copy, with programs of the machine replaced: Python notes what it is asked for.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PYTHON = """#!/bin/sh
case "$1 $2" in
  '-m venv')
    for last; do :; done
    mkdir -p "$last/bin"; cp -p "$0" "$last/bin/python"; echo "$*" >> "$ASKED.venvs"
    echo "VIRTUAL_ENV='$PWD/$last'" > "$last/bin/activate" ;;
  '-m pip') for last; do :; done; cat "$last" >> "$ASKED"; echo "$*" >> "$ASKED.calls" ;;
  '-c import rclpy') exit 1 ;;
esac
"""
DF = '#!/bin/sh\necho Filesystem\necho disk 1 1 99999999 0% /\n'


class Workshop:
    """A copy of the scripts and the lock, on a machine whose programs are given."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.root = folder / 'checkout'
        shutil.copytree(repository / 'scripts', self.root / 'scripts')
        shutil.copy(repository / 'requirements.lock', self.root)
        self._bin = folder / 'bin'
        self._bin.mkdir()
        self._asked, self._calls = folder / 'asked.txt', folder / 'asked.txt.calls'
        self._venvs = folder / 'asked.txt.venvs'
        for name, text in {'python3.12': PYTHON, 'df': DF}.items():
            self.install(name, text)

    def install(self, name: str, text: str) -> None:
        """Put a program first on PATH."""
        (self._bin / name).write_text(text)
        (self._bin / name).chmod(0o755)

    def driver(self, version: str, capability: str = '8.9') -> None:
        """Put a driver into the machine, and a GPU."""
        answers = f'*compute_cap*) echo "{capability}" ;; *) echo "{version}, NVIDIA RTX" ;;'
        self.install('nvidia-smi', f'#!/bin/sh\ncase "$*" in {answers} esac\n')

    @property
    def stamp(self) -> Path:
        """What the set-up writes down when an environment is complete."""
        return self.root / '.venv' / '.restac-setup'

    def environments_made(self) -> list[str]:
        """How Python was asked for new environments in the last set-up."""
        return self._venvs.read_text().splitlines() if self._venvs.is_file() else []

    def pip_calls(self) -> list[str]:
        """What pip was asked in the last set-up."""
        return self._calls.read_text().splitlines() if self._calls.is_file() else []

    def set_up(self, **asked: str) -> tuple[int, str, set[str]]:
        """Run the script; return its status, what it said, and the packages that it installed."""
        for file in (self._asked, self._calls, self._venvs):
            file.unlink(missing_ok=True)
        env = {key: value for key, value in os.environ.items() if key not in ('GPU', 'AMENT_PREFIX_PATH')}
        env |= {
            'PATH': f'{self._bin}:{env["PATH"]}',
            'ASKED': str(self._asked),
            'PYTHON': 'python3.12',
            **asked,
        }
        ended = subprocess.run(
            [self.root / 'scripts' / 'setup.sh'],
            env=env,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        installed = self._asked.read_text().split('\n') if self._asked.is_file() else []
        return (
            ended.returncode,
            ended.stdout + ended.stderr,
            {line.partition('==')[0] for line in installed if line},
        )


@pytest.fixture
def workshop(repository: Path, tmp_path: Path) -> Workshop:
    return Workshop(repository, tmp_path)


def cuda(packages: set[str]) -> str:
    """The CUDA layers among packages."""
    return ' '.join(sorted(name for name in packages if re.fullmatch(r'jax-cuda\d+-plugin', name)))


@pytest.mark.parametrize(
    ('version', 'asked', 'plugin', 'said'),
    [
        ('', {}, '', 'installing dependencies'),
        ('580.95.05', {}, 'jax-cuda13-plugin', 'NVIDIA RTX, driver 580.95.05: JAX with CUDA 13'),
        ('570.86', {}, 'jax-cuda12-plugin', 'NVIDIA RTX, driver 570.86: JAX with CUDA 12'),
        ('525.60.13', {}, 'jax-cuda12-plugin', 'JAX with CUDA 12'),
        ('470.82', {}, '', 'driver 470.82: CUDA 12 needs >= 525, CUDA 13 >= 580'),
        ('580.95', {'GPU': 'none'}, '', 'GPU=none'),
        ('580.95', {'GPU': 'cuda12'}, 'jax-cuda12-plugin', 'GPU=cuda12'),
        ('', {'GPU': 'cuda13'}, 'jax-cuda13-plugin', 'GPU=cuda13'),
        ('Failed to initialize NVML', {}, '', 'no driver answers'),
    ],
)
def test_the_driver_decides_what_is_installed_unless_gpu_does(
    workshop: Workshop, version: str, asked: dict[str, str], plugin: str, said: str
) -> None:
    if version:
        workshop.driver(version)
    status, output, packages = workshop.set_up(**asked)
    assert (status, cuda(packages)) == (0, plugin), output
    assert said in output
    assert {'jax', 'torch', 'rclpy'} - {name.removeprefix('ros-') for name in packages} == set()


@pytest.mark.parametrize(
    ('capability', 'plugin', 'said'),
    [
        (
            '6.1',
            'jax-cuda12-plugin',
            '(without it: GPU=none); CUDA 13 needs compute capability 7.5, NVIDIA RTX has 6.1',
        ),
        ('7.0', 'jax-cuda12-plugin', 'NVIDIA RTX has 7.0'),
        ('7.5', 'jax-cuda13-plugin', 'CUDA 13 (without it: GPU=none)\n'),
        ('10.3', 'jax-cuda13-plugin', 'CUDA 13 (without it: GPU=none)\n'),
        ('Field "compute_cap" is not a valid field to query.', 'jax-cuda13-plugin', 'JAX with CUDA 13'),
    ],
)
def test_a_gpu_too_old_for_cuda_13_gets_cuda_12_whatever_its_driver(
    workshop: Workshop, capability: str, plugin: str, said: str
) -> None:
    workshop.driver('580.95', capability)
    status, output, packages = workshop.set_up()
    assert (status, cuda(packages)) == (0, plugin), output
    assert said in output


def test_cuda_13_asked_for_on_a_gpu_too_old_is_refused(workshop: Workshop) -> None:
    workshop.driver('580.95', '6.1')
    status, output, packages = workshop.set_up(GPU='cuda13')
    assert (status, packages) == (1, set())
    assert 'GPU=cuda13: CUDA 13 needs compute capability 7.5, NVIDIA RTX has 6.1; set GPU=cuda12' in output
    assert not (workshop.root / '.venv').exists()


def test_a_renewed_lock_leaves_cuda_12_with_its_own_libraries(workshop: Workshop) -> None:
    """PyTorch's CUDA 13 libraries have files of the same names: CUDA 12's are written after them, always."""
    workshop.driver('570.86')
    workshop.set_up()
    lock = workshop.root / 'requirements.lock'
    renewed = re.sub(r'^(nvidia-cudnn-cu13==.*)$', r'\1.1', lock.read_text(), flags=re.MULTILINE)
    assert renewed != lock.read_text()
    lock.write_text(renewed)
    status, output, packages = workshop.set_up()
    first, second = workshop.pip_calls()
    assert (status, cuda(packages)) == (0, 'jax-cuda12-plugin'), output
    assert '--force-reinstall' not in first
    assert '--force-reinstall --no-deps' in second
    of_pytorch, of_jax = (
        set(Path(workshop.root, call.split()[-1]).read_text().split()) for call in (first, second)
    )
    layer = {line.split(' ;')[0] for line in renewed.splitlines() if line.endswith("'cuda12'")}
    assert of_jax == layer
    assert not of_pytorch & layer
    assert any(line.startswith('nvidia-cudnn-cu13==') and line.endswith('.1') for line in of_pytorch)


@pytest.mark.parametrize('asked', ['none', 'cuda13'])
def test_without_cuda_12_all_is_installed_at_once(workshop: Workshop, asked: str) -> None:
    workshop.set_up(GPU=asked)
    assert len(workshop.pip_calls()) == 1


@pytest.mark.parametrize(
    ('version', 'asked', 'said'),
    [
        ('535.104', 'cuda13', "NVIDIA's driver >= 580; NVIDIA RTX has 535.104: update it, or set GPU=cuda12"),
        ('470.82', 'cuda12', "GPU=cuda12 needs NVIDIA's driver >= 525; NVIDIA RTX has 470.82: update it\n"),
        ('580.95', '1', "GPU is '1'; expected none, cuda12, cuda13, or auto"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_made(
    workshop: Workshop, version: str, asked: str, said: str
) -> None:
    workshop.driver(version)
    status, output, packages = workshop.set_up(GPU=asked)
    assert (status, packages) == (1, set())
    assert said in output
    assert not (workshop.root / '.venv').exists()


def test_what_was_asked_for_stays_until_something_else_is(workshop: Workshop) -> None:
    workshop.driver('580.95')
    assert cuda(workshop.set_up(GPU='none')[2]) == ''
    status, output, packages = workshop.set_up()  # up to date: nothing is installed
    assert (status, packages) == (0, set())
    (said,) = output.splitlines()
    assert (
        "GPU=none was chosen here once, so NVIDIA RTX, driver 580.95 stays unused; 'make setup GPU=auto'"
        in said
    )
    assert workshop.set_up(GPU='none') == (0, '', set())
    assert cuda(workshop.set_up(GPU='cuda12')[2]) == 'jax-cuda12-plugin'
    status, output, packages = workshop.set_up(GPU='auto')
    assert (status, cuda(packages)) == (0, 'jax-cuda13-plugin')
    assert 'making it anew' in output
    assert workshop.set_up(GPU='auto') == (0, '', set())


def test_a_driver_that_does_not_answer_for_once_takes_nothing_away(workshop: Workshop) -> None:
    workshop.driver('580.95')
    assert cuda(workshop.set_up()[2]) == 'jax-cuda13-plugin'
    workshop.driver('NVIDIA-SMI has failed')
    assert workshop.set_up() == (0, '', set())


def test_a_machine_without_a_gpu_is_not_told_that_none_was_chosen(workshop: Workshop) -> None:
    workshop.driver('NVIDIA-SMI has failed')
    workshop.set_up(GPU='none')
    assert workshop.set_up() == (0, '', set())


def test_a_newer_driver_keeps_the_cuda_that_is_installed(workshop: Workshop) -> None:
    workshop.driver('570.86')
    assert cuda(workshop.set_up()[2]) == 'jax-cuda12-plugin'
    workshop.driver('580.95')
    assert workshop.set_up() == (0, '', set())
    assert workshop.set_up(GPU='auto') == (0, '', set())
    (workshop.root / 'requirements.lock').open('a').write('# renewed\n')
    status, output, packages = workshop.set_up()
    assert (status, cuda(packages)) == (0, 'jax-cuda12-plugin'), output
    assert workshop.environments_made() == []


@pytest.mark.parametrize(('version', 'capability'), [('570.86', '8.9'), ('580.95', '6.1')])
def test_a_driver_or_a_gpu_that_runs_the_installed_cuda_no_more_gets_another(
    workshop: Workshop, version: str, capability: str
) -> None:
    workshop.driver('580.95')
    assert cuda(workshop.set_up()[2]) == 'jax-cuda13-plugin'
    workshop.driver(version, capability)
    status, output, packages = workshop.set_up()
    assert (status, cuda(packages)) == (0, 'jax-cuda12-plugin'), output
    assert '.venv has JAX for cuda13, now it is cuda12' in output
    assert not (workshop.root / '.venv.old').exists()


@pytest.mark.parametrize('step', ['venv', 'pip'])
def test_an_environment_stays_until_its_successor_is_complete(workshop: Workshop, step: str) -> None:
    workshop.driver('580.95')
    workshop.set_up()
    workshop.install('python3.12', PYTHON.replace(f"'-m {step}')", f"'-m {step}') exit 7 ;; never)"))
    status, output, packages = workshop.set_up(GPU='cuda12')
    assert (status != 0, packages) == (True, set()), output
    assert 'the new environment was not completed: the one before it is back in .venv' in output
    assert workshop.set_up() == (0, '', set())


def test_an_environment_comes_back_after_a_set_up_that_was_killed(workshop: Workshop) -> None:
    workshop.set_up()
    (workshop.root / '.venv').rename(workshop.root / '.venv.old')
    (workshop.root / '.venv' / 'bin').mkdir(parents=True)
    status, output, packages = workshop.set_up()
    assert (status, packages) == (0, set())
    assert 'the one before it is back in .venv' in output
    assert workshop.set_up() == (0, '', set())


def test_the_disk_must_hold_both_environments_and_what_to_do_is_said(workshop: Workshop) -> None:
    workshop.set_up(GPU='cuda13')
    workshop.install('df', DF.replace('99999999', '9999999'))
    status, output, packages = workshop.set_up(GPU='cuda12')
    assert (status, packages) == (1, set())
    assert "Free some ('rm -rf .venv' frees the 8 GB of the environment that is here)" in output
    assert workshop.set_up() == (0, '', set())


@pytest.mark.parametrize('stamp', ['as written', 'of an older release'])
@pytest.mark.parametrize('move', [Path.rename, shutil.copytree])
def test_a_checkout_elsewhere_gets_its_own_environment(
    workshop: Workshop, move: Callable[[Path, Path], object], stamp: str
) -> None:
    """Programs and activate of the one that came along name the directory that it was made in."""
    workshop.driver('570.86')
    workshop.set_up()
    if stamp != 'as written':
        forget_directory(workshop.stamp)
    before, workshop.root = workshop.root, workshop.root.parent / 'moved to'
    move(before, workshop.root)
    status, output, packages = workshop.set_up()
    assert (status, cuda(packages)) == (0, 'jax-cuda12-plugin'), output
    assert f'.venv was made in {before}, which its programs name, and now it is in {workshop.root}' in output
    assert len(workshop.environments_made()) == 1
    assert (workshop.root / '.venv' / 'bin' / 'activate').read_text().count(str(workshop.root)) == 1
    assert workshop.set_up() == (0, '', set())


def test_the_stamp_of_an_older_release_keeps_its_environment(workshop: Workshop) -> None:
    workshop.set_up()
    forget_directory(workshop.stamp)
    assert 'renewing .venv' in workshop.set_up()[1]
    assert workshop.environments_made() == []
    assert workshop.set_up() == (0, '', set())


def forget_directory(stamp: Path) -> None:
    """Write a stamp as releases before the directory was in it did: its fingerprint is another, too."""
    stamp.write_text('of-then ' + ' '.join(stamp.read_text().split(' ')[1:4]) + '\n')


def test_an_environment_whose_python_is_gone_is_made_anew(workshop: Workshop) -> None:
    workshop.set_up()
    (workshop.root / '.venv' / 'bin' / 'python').unlink()
    status, output, packages = workshop.set_up()
    assert (status, 'jax' in packages) == (0, True)
    assert 'the Python 3.12 of .venv does not run any more: making it anew' in output


def test_an_environment_for_an_installed_ros_stays_that_where_none_is_sourced(workshop: Workshop) -> None:
    workshop.install('python3.12', PYTHON.replace("'-c import rclpy') exit 1 ;;\n", ''))
    workshop.set_up(AMENT_PREFIX_PATH='/opt/ros/jazzy', GPU='cuda13')
    status, output, packages = workshop.set_up(GPU='cuda12')
    assert (status, {name for name in packages if name.startswith('ros-')}) == (0, set()), output
    assert 'ROS 2: an installed one, as before, though none is sourced in this shell' in output
    assert workshop.environments_made() == ['-m venv --clear --system-site-packages .venv']


def test_a_shell_of_another_checkout_is_no_installed_ros(workshop: Workshop) -> None:
    workshop.install('python3.12', PYTHON.replace("'-c import rclpy') exit 1 ;;\n", ''))
    workshop.set_up(AMENT_PREFIX_PATH='/elsewhere/install/restac_ros:/elsewhere/.venv')
    assert workshop.environments_made() == ['-m venv --clear .venv']


def test_a_sourced_ros_keeps_its_packages_and_gets_the_same_cuda(workshop: Workshop) -> None:
    workshop.driver('580.95')
    workshop.install('python3.12', PYTHON.replace("'-c import rclpy') exit 1 ;;\n", ''))
    status, output, packages = workshop.set_up(AMENT_PREFIX_PATH='/opt/ros/jazzy', ROS_DISTRO='jazzy')
    assert status == 0
    assert 'ROS 2: the sourced one, jazzy' in output
    assert (cuda(packages), {name for name in packages if name.startswith('ros-')}) == (
        'jax-cuda13-plugin',
        set(),
    )


def test_the_layers_of_the_lock_fit_its_jax_and_contradict_nothing(repository: Path) -> None:
    lines = [line for line in (repository / 'requirements.lock').read_text().splitlines() if line[0] != '#']
    base = dict(line.split('==') for line in lines if ';' not in line)
    layers: dict[str, dict[str, str]] = {'cuda12': {}, 'cuda13': {}}
    for line in lines:
        if match := re.fullmatch(r"([\w.-]+)==([\w.]+) ; extra == '(\w+)'", line):
            layers[match[3]][match[1]] = match[2]
        else:
            assert re.fullmatch(r'[\w.-]+==[\w.+]+', line), line
    for layer, packages in layers.items():
        assert packages[f'jax-{layer}-plugin'] == packages[f'jax-{layer}-pjrt'] == base['jax']
        assert set(packages) & set(base) == set()
    compiler, toolkit = layers['cuda13']['nvidia-cuda-nvcc'], base['cuda-toolkit']
    assert compiler.split('.')[:2] == toolkit.split('.')[:2], 'a compiler newer than the libraries beside it'


def test_the_drivers_of_the_set_up_are_those_of_the_doctor(repository: Path) -> None:
    """Their least compute capability, too, which the script says in tenths."""
    from restac_ros.model.device import CAPABILITIES, PLUGINS

    drivers, capabilities = (
        {f'jax_{layer}_plugin': int(number) for layer, number in re.findall(r'(cuda\d+)\) echo (\d+)', body)}
        for body in re.findall(
            r'^\w+_needed\(\) \{.*\n(.*)\n\}', (repository / 'scripts' / 'gpu.sh').read_text(), re.MULTILINE
        )
    )
    assert drivers == PLUGINS
    assert capabilities == {plugin: round(10 * least) for plugin, least in CAPABILITIES.items()}


@pytest.fixture
def dockerfile(repository: Path) -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each with its arguments on one line."""
    text = (repository / 'Dockerfile').read_text()
    text = re.sub(r'^#.*\n', '', text, flags=re.MULTILINE).replace('\\\n', ' ')
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line]


def test_the_image_calls_the_set_up_and_copies_all_that_it_reads(
    dockerfile: list[tuple[str, str]], repository: Path
) -> None:
    runs = [words for name, words in dockerfile if name == 'RUN']
    assert any('scripts/in_container.sh make setup GPU="$GPU"' in words for words in runs)
    assert any('scripts/in_container.sh make build GPU="$GPU"' in words for words in runs)
    copied = ' '.join(words for name, words in dockerfile if name == 'COPY').split()
    setup = (repository / 'scripts' / 'setup.sh').read_text()
    before = copied[: copied.index('.')]
    for file in {'requirements.lock', 'scripts'}:
        assert file in setup
        assert file in before, f'make setup reads {file} before it is copied'


def test_the_image_installs_what_the_set_up_asks_for(
    dockerfile: list[tuple[str, str]], repository: Path
) -> None:
    """One list for the image and for the messages of the set-up."""
    packages = (repository / 'scripts' / 'apt-packages.txt').read_text().split()
    setup = (repository / 'scripts' / 'setup.sh').read_text()
    named = set(re.findall(r'apt install ([a-z][\w.-]+)', setup))
    assert 'scripts/apt-packages.txt' in setup
    assert named
    assert named <= set(packages)
    assert ('COPY', 'scripts/apt-packages.txt /tmp/apt-packages.txt') in dockerfile
    assert any('--arg-file /tmp/apt-packages.txt apt-get install' in words for _, words in dockerfile)
    cameras = (repository / 'restac_ros' / 'sim' / 'cell' / 'cell_cameras.py').read_text()
    (drawing,) = re.findall(r'^OPENGL_PACKAGES = \((.*)\)$', cameras, re.MULTILINE)
    assert set(re.findall(r"'([\w-]+)'", drawing)) <= set(packages), 'the cell of the demo cannot be drawn'


def test_the_image_follows_the_rules_of_hadolint_that_text_can_show(
    dockerfile: list[tuple[str, str]],
) -> None:
    names = [name for name, _ in dockerfile]
    assert set(names) <= {
        'ARG',
        'FROM',
        'SHELL',
        'COPY',
        'RUN',
        'WORKDIR',
        'USER',
        'ENTRYPOINT',
        'CMD',
    }  # no ADD
    assert names[0] == 'ARG'  # the base image, with its tag
    assert re.fullmatch(r'BASE=[\w/]+:(?!latest)[\w.-]+', dockerfile[0][1])
    assert all(words.startswith('/') for name, words in dockerfile if name == 'WORKDIR')
    assert [words for name, words in dockerfile if name == 'USER'][-1] != 'root'
    assert all(
        isinstance(json.loads(words), list)
        for name, words in dockerfile
        if name in ('CMD', 'ENTRYPOINT', 'SHELL')
    )
    assert all('pipefail' in words for name, words in dockerfile if name == 'SHELL')
    for name, words in dockerfile:
        if name == 'RUN' and 'apt-get install' in words:
            assert {'--yes', '--no-install-recommends'} <= set(words.split())
            assert words.startswith('apt-get update')
            assert words.endswith('rm -rf /var/lib/apt/lists/*')
        assert 'sudo' not in words


def test_the_development_container_is_the_tools_of_the_image(
    dockerfile: list[tuple[str, str]], repository: Path
) -> None:
    described = json.loads((repository / '.devcontainer' / 'devcontainer.json').read_text())
    build = described['build']
    assert (repository / '.devcontainer' / build['dockerfile']).resolve() == repository / 'Dockerfile'
    assert ('FROM', f'${{BASE}} AS {build["target"]}') in dockerfile
    assert described['postCreateCommand'] == 'scripts/in_container.sh make build'
    assert described['remoteUser'] in [words for name, words in dockerfile if name == 'USER']
    assert (repository / 'scripts' / 'in_container.sh').stat().st_mode & 0o111


def test_a_command_in_the_container_has_ros_and_the_environment(workshop: Workshop, tmp_path: Path) -> None:
    """Without either it runs all the same: the set-up itself is such a command."""
    script = workshop.root / 'scripts' / 'in_container.sh'
    assert subprocess.check_output([script, 'echo', 'a b'], text=True) == 'a b\n'
    (workshop.root / '.venv' / 'bin').mkdir(parents=True)
    (workshop.root / '.venv' / '.restac-setup').write_text('x system none auto\n')
    (workshop.root / '.venv' / 'bin' / 'activate').write_text('export VIRTUAL_ENV=here\n')
    assert subprocess.check_output([script, 'sh', '-c', 'echo $VIRTUAL_ENV'], text=True) == 'here\n'


@pytest.mark.parametrize('script', ['setup.sh', 'gpu.sh', 'lock.sh', 'env.sh', 'in_container.sh'])
def test_every_script_is_good_bash(script: str, repository: Path, check: Callable[[Path], str]) -> None:
    assert check(repository / 'scripts' / script) == ''


@pytest.fixture
def check() -> Callable[[Path], str]:
    """bash's own check, and shellcheck's errors where it is installed."""

    def run(script: Path) -> str:
        said = subprocess.run(['bash', '-n', script], capture_output=True, text=True, check=False)
        output = said.stdout + said.stderr
        if shutil.which('shellcheck'):
            found = subprocess.run(
                ['shellcheck', '-s', 'bash', '-S', 'error', script],
                capture_output=True,
                text=True,
                check=False,
            )
            output += found.stdout
        return output

    return run
