"""The command as a user meets it: help for everything, and refusals in one line with status 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from restac_ros import cli


def restac_ros(*arguments: str) -> int:
    """Run the command in this process; its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', ['restac-ros', *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code


SUBCOMMANDS = (
    'up',
    'doctor',
    'convert',
    'recover',
    'delete',
    'merge',
    'adopt',
    'list',
    'quality',
    'info',
    'init-checkpoint',
    'import-checkpoint',
)


@pytest.mark.parametrize('words', [*((name,) for name in SUBCOMMANDS), ('bench', 'node'), ('bench', 'model')])
def test_every_subcommand_explains_itself(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert restac_ros(*words, '--help') == 0
    assert 'usage: restac-ros' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (('info', '/nowhere/at/all'), '/nowhere/at/all'),
        (('init-checkpoint', '--to', 'x', '--contract', '/nowhere.yaml'), '/nowhere.yaml'),
        (('recover', '/nowhere/at/all'), 'no such directory'),
        (('upp',), "upp: no such command; did you mean 'up'? known: up, record,"),
        (('train', 'tyni', '--steps', '4'), "train tyni: no such command; did you mean 'tiny'?"),
        (('bench', 'modl'), "bench modl: no such command; did you mean 'model'? known: node, model,"),
    ],
)
def test_refusals_are_one_message_and_status_2(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restac_ros(*words) == 2
    message = capsys.readouterr().err
    assert message.startswith('restac-ros: ')
    assert said in message


@pytest.mark.parametrize(
    'words',
    [
        ('quality', 'tuoch'),
        ('export', 'tuoch', '--to', 'v21'),
        ('repair', 'tuoch'),
        ('delete', 'tuoch', '0'),
        ('merge', 'tuoch', 'touch', '--to', 'both'),
        ('adopt', 'tuoch', '--contract', 'contract.yaml'),
        ('norm-stats', 'tuoch', '--to', 'stats.json'),
        ('train', 'tiny', '--data.datasets', 'tuoch', '--to', 'run'),
    ],
)
def test_a_data_set_that_does_not_exist_is_refused_with_the_nearest_that_does(
    words: tuple[str, ...],
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ('touch', 'plug'):
        (tmp_path / name / 'meta').mkdir(parents=True)
        (tmp_path / name / 'meta' / 'info.json').write_text('{}')
    (tmp_path / 'contract.yaml').write_text((repository / 'config' / 'contract.yaml').read_text())
    monkeypatch.chdir(tmp_path)
    assert restac_ros(*words) == 2
    said = capsys.readouterr().err
    assert 'tuoch: no such data set; in ' in said
    assert "did you mean 'touch'? known: plug, touch" in said


def test_a_bug_is_not_dressed_as_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> object:
        raise ZeroDivisionError('ours')

    monkeypatch.setattr(cli.tyro, 'cli', lambda *_, **__: type('Command', (), {'run': broken})())
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_a_recording_killed_half_way_is_recovered_by_command(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = f"""
import os, signal
from pathlib import Path
from restac_ros.contract.load import load_contract
from restac_ros.dataset.journal import Journal
contract = load_contract(Path('config/contract.yaml'))
journal = Journal(Path({str(tmp_path / 'plug')!r}), contract, start_ns=1, task='plug')
journal.write('main', bytes(20), 2)
journal.flush(3)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, '-c', program], cwd=repository, check=False)
    assert restac_ros('recover', str(tmp_path)) == 0
    assert 'plug: 1 messages' in capsys.readouterr().out
    assert restac_ros('recover', str(tmp_path)) == 0
    assert 'no unfinished recordings' in capsys.readouterr().out
