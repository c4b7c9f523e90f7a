"""The tables of a run, from summaries as the nodes write them."""

import io
import json
from pathlib import Path

from rich.console import Console

from restac_ros.commands.run import print_gate_and_contact
from restac_ros.commands.summary import left_unfinished, print_summary, read_summaries, saved_dataset
from restac_ros.process import Process
from restac_ros.supervise import Ending

TALLY = {
    'received': 90,
    'lost': 2,
    'bytes': 1,
    'zero_stamps': 0,
    'refused': 0,
    'restarts': 0,
    'numbered': True,
}
SUMMARIES = {
    'policy_node': {
        'problem': '',
        'changes': ["prompt is now 'pull [it]'"],
        'run_id': 'run7',
        'checkpoint': 'abc123',
        'prompt': 'pull [it]',
        'streams': {'main': TALLY},
        'prefixes': 30,
        'touches': 40,
        'chunks': 25,
        'held': 3,
        'hold_reasons': {'main stale': 3},
        'gate': {'min': 0.1, 'max': 0.75, 'saturated': 10},
        'latency_ms': {'act': {'count': 25, 'p50_ms': 8.0, 'p99_ms': 9.25, 'max_ms': 11.0}},
    },
    'streamer_node': {
        'problem': '',
        'phase': 'halted',
        'reasons': ['halt requested: on request'],
        'last_stop': ['halt requested: on request'],
        'last_refusal': 'chunk 7 is not executed',
        'accepted': 28,
        'refused': 118,
        'faulty': 0,
        'foreign': 2,
        'set_points': 900,
    },
    'recorder_node': {
        'problem': 'disk is slow',
        'streams': {'main': {**TALLY, 'lost': 0}},
        'dataset': '/data/plug',
        'journal': '/data/plug.journals/x',
        'episodes': [4],
        'failures': [],
        'frames': 45,
        'bytes': 2_000_000,
        'written': {'main': 92},
        'dropped': {'main': 0},
    },
    'replay_node': {'problem': '', 'published': {'/main': 92}, 'streams': {'main': 92}},
}


def printed(summaries: dict) -> str:
    out = io.StringIO()
    print_summary(summaries, Ending(0, 'replay_node has played everything'), Console(file=out, width=100))
    return out.getvalue()


def test_every_figure_of_a_run_is_shown() -> None:
    text = printed(SUMMARIES)
    row = next(line for line in text.splitlines() if line.startswith('│ main'))
    assert [cell.strip() for cell in row.strip('│').split('│')] == ['main', '92', '90', '2', '90', '0', '92']
    for part in (
        '25 chunks',
        'held in place of 3',
        '3 x main stale',
        '0.100 to 0.750',
        '25%',
        'episode 4, 45 frames',
        '9.2',
    ):
        assert part in text
    assert 'recorder_node: disk is slow' in text


def test_it_says_which_run_and_policy_it_was_and_which_prompts_it_followed() -> None:
    text = printed(SUMMARIES)
    assert 'run: run7, checkpoint abc123' in text
    assert 'prompt at the end: pull [it]' in text
    assert "changed: prompt is now 'pull [it]'" in text


def test_it_says_what_the_streamer_executed_and_why_it_stands() -> None:
    text = printed(SUMMARIES)
    assert '900 set-points; chunks: 28 accepted, 118 refused, 0 faulty, 2 foreign' in text
    assert 'halted: halt requested: on request' in text
    assert 'last refusal: chunk 7 is not executed' in text


def test_it_says_how_an_attempt_in_the_cell_came_out() -> None:
    cell = {'problem': '', 'seed': 3, 'simulated_s': 9.1, 'touched_s': 3.4, 'inserted_s': 8.1}
    cell |= {'inserted': True, 'peak_n': 6.25}
    assert (
        'cell of seed 3, 9.1 s simulated: first contact after 3.4 s, the plug inserted after 8.1 s; '
        'peak force 6.2 N'
    ) in printed({'sim_node': cell})
    assert 'the plug was not inserted; peak' in printed({'sim_node': {**cell, 'inserted': False}})
    assert 'touched nothing' in printed({'sim_node': {**cell, 'touched_s': None, 'inserted_s': None}})


def test_a_log_that_cannot_be_read_does_not_end_a_run(tmp_path: Path, capsys) -> None:
    print_gate_and_contact(tmp_path / 'lost')
    assert 'gate against true contact: unknown' in capsys.readouterr().out


def test_a_run_without_summaries_still_says_how_it_ended() -> None:
    assert 'ended: replay_node has played everything' in printed({})


def test_only_a_run_that_saved_an_episode_names_its_dataset(tmp_path: Path) -> None:
    assert saved_dataset(SUMMARIES) == Path('/data/plug')
    assert saved_dataset({'recorder_node': {**SUMMARIES['recorder_node'], 'episodes': []}}) is None
    file = tmp_path / 'policy_node.json'
    file.write_text(json.dumps(SUMMARIES['policy_node']))
    listed = [Process(name, {'summary_file': str(tmp_path / f'{name}.json')}) for name in SUMMARIES]
    assert list(read_summaries(listed)) == ['policy_node']


def test_what_a_killed_recorder_left_is_named_with_the_command_that_completes_it(tmp_path: Path) -> None:
    (tmp_path / 'my take.partial').mkdir()
    recorder = Process('recorder_node', {'journal_dir': str(tmp_path)})
    [text] = left_unfinished([recorder], {})
    assert f"restac-ros recover '{tmp_path}/my take.partial'" in text
    assert left_unfinished([recorder], SUMMARIES) == [], 'one that ended in order has told what it left'


def test_a_policy_that_loaded_no_checkpoint_has_a_summary(tmp_path: Path) -> None:
    unnamed = {name: value for name, value in SUMMARIES['policy_node'].items() if name != 'run_id'}
    out = io.StringIO()
    print_summary({'policy_node': unnamed}, Ending(1, 'policy_node refused'), Console(file=out, width=200))
    assert '25 chunks published' in out.getvalue()
    assert 'checkpoint' not in out.getvalue()
