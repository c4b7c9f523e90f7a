"""Prints the summary of a run, as tables, from the files that its processes write at their end."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from restac_ros.process import Process
from restac_ros.supervise import Ending, Supervisor

_STAGES = {
    'frame_cameras': 'framing and decoding, cameras',
    'frame_tactile': 'framing and decoding, GelSight',
    'frame_state': 'framing, state',
    'prefix': 'encode_prefix',
    'tactile': 'encode_tactile',
    'act': 'act',
    'touch_to_gate': 'GelSight frame received -> gate published',
    'touch_overhead': '  of that, all but the call',
    'act_overhead': 'chunk due -> published, all but the call',
    'gate_rise_to_chunk': 'gate risen -> new chunk published',
    'contact_to_chunk': 'contact received -> new chunk published',
    'camera_to_chunk': 'oldest image captured -> chunk published',
}

Summaries = Mapping[str, Mapping]


def run_processes(listed: Sequence[Process], directory: Path) -> tuple[Ending, Summaries]:
    """Run processes until they have ended, then print their summary and what they left unfinished."""
    ending = Supervisor(listed, directory).run()
    summaries = read_summaries(listed)
    print_summary(summaries, ending)
    for text in left_unfinished(listed, summaries):
        print(text)
    return ending, summaries


def read_summaries(processes: Sequence[Process]) -> dict[str, dict]:
    """Read the summary of every process that wrote one, by executable."""
    return {
        process.executable: json.loads(process.summary_file.read_text(encoding='utf-8'))
        for process in processes
        if process.summary_file.is_file()
    }


def print_summary(summaries: Summaries, ending: Ending, console: Console | None = None) -> None:
    """Print streams, chunks, gate, latencies, episode and problems of a run."""
    console = console or Console()
    console.rule('summary')
    if streams := _streams(summaries):
        console.print(streams)
    if latencies := summaries.get('policy_node', {}).get('latency_ms'):
        console.print(_latencies(latencies))
    problems = {name: text['problem'] for name, text in summaries.items() if text.get('problem')}
    lines = [
        *_policy_lines(summaries),
        *_streamer_lines(summaries),
        *_cell_lines(summaries),
        *_recorder_lines(summaries),
        *(f'[bold red]{name}: {problem}[/]' for name, problem in problems.items()),
    ]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
    console.print(f'ended: {ending.reason}', soft_wrap=True, highlight=False)


def left_unfinished(processes: Sequence[Process], summaries: Summaries) -> list[str]:
    """Return what a recorder that was killed has left, each with the command that completes it."""
    killed = [p for p in processes if p.executable == 'recorder_node' and p.executable not in summaries]
    journals = [Path(str(process.parameters['journal_dir'])) for process in killed]
    return [
        f'left unfinished: {partial}\n  to complete it: restac-ros recover {shlex.quote(str(partial))}'
        for journal in journals
        for partial in sorted(journal.glob('*.partial'))
    ]


def saved_dataset(summaries: Summaries) -> Path | None:
    """Return the data set that the run has added an episode to, if it has."""
    recorder = summaries.get('recorder_node', {})
    return Path(recorder['dataset']) if recorder.get('episodes') else None


def _streams(summaries: Summaries) -> Table | None:
    listeners = {name: text for name, text in summaries.items() if name in ('policy_node', 'recorder_node')}
    names = list(dict.fromkeys(stream for text in listeners.values() for stream in text.get('streams', {})))
    if not names:
        return None
    source = next((text['streams'] for text in summaries.values() if 'published' in text), None)
    table = Table(title='messages', title_justify='left')
    table.add_column('stream', no_wrap=True, min_width=max(map(len, names)))  # headings wrap instead
    if source is not None:
        table.add_column('published', justify='right')
    for listener in listeners:
        table.add_column(f'{listener.removesuffix("_node")}: in', justify='right')
        table.add_column('lost', justify='right')
    if 'recorder_node' in listeners:
        table.add_column('journal', justify='right')
    for stream in names:
        row = [stream]
        if source is not None:
            row.append(str(source.get(stream, 0)))
        for text in listeners.values():
            row += _counts(text.get('streams', {}).get(stream))
        if 'recorder_node' in listeners:
            row.append(str(listeners['recorder_node'].get('written', {}).get(stream, '-')))
        table.add_row(*row)
    return table


def _counts(tally: Mapping | None) -> list[str]:
    if tally is None:
        return ['-', '-']
    lost = 'unknown' if tally['lost'] is None else str(tally['lost'])
    return [str(tally['received']), f'[bold red]{lost}[/]' if tally['lost'] else lost]


def _latencies(latencies: Mapping[str, Mapping]) -> Table:
    table = Table('stage', title='latency, ms', title_justify='left')
    for heading in ('count', 'p50', 'p99', 'max'):
        table.add_column(heading, justify='right')
    for stage, values in latencies.items():
        figures = [f'{values[key]:.1f}' for key in ('p50_ms', 'p99_ms', 'max_ms')]
        table.add_row(_STAGES.get(stage, stage), str(int(values['count'])), *figures)
    return table


def _policy_lines(summaries: Summaries) -> list[str]:
    policy = summaries.get('policy_node')
    if not policy or 'chunks' not in policy:
        return []
    lines = []
    if 'run_id' in policy:  # a checkpoint was loaded
        lines.append(f'run: {policy["run_id"]}, checkpoint {policy["checkpoint"]}')
        lines.append(f'prompt at the end: {escape(policy["prompt"])}')
    lines += [
        *(f'  changed: {escape(change)}' for change in policy.get('changes', ())),
        f'policy: {policy["prefixes"]} prefixes, {policy["touches"]} tactile frames, '
        f'{policy["chunks"]} chunks published, held in place of {policy["held"]}'
        + (', often for several reasons at once:' if len(policy['hold_reasons']) > 1 else ''),
    ]
    for reason, count in policy['hold_reasons'].items():
        lines.append(f'  {count} x {reason}')
    gate = policy['gate']
    if gate['min'] is not None:
        share = gate['saturated'] / max(1, policy['touches'])
        lines.append(f'gate: {gate["min"]:.3f} to {gate["max"]:.3f}, saturated in {share:.0%} of the frames')
    return lines


def _streamer_lines(summaries: Summaries) -> list[str]:
    streamer = summaries.get('streamer_node')
    if not streamer or 'accepted' not in streamer:
        return []
    counted = ', '.join(f'{streamer[name]} {name}' for name in ('accepted', 'refused', 'faulty', 'foreign'))
    lines = [f'streamer: {streamer["set_points"]} set-points; chunks: {counted}']
    if streamer['last_stop']:
        lines.append(f'  last stop: {"; ".join(streamer["last_stop"])}')
    if streamer['phase'] == 'halted':
        lines.append(f'[bold red]  halted: {"; ".join(streamer["reasons"])}[/]')
    if streamer['refused']:
        lines.append(f'  last refusal: {streamer["last_refusal"]}')
    return lines


def _cell_lines(summaries: Summaries) -> list[str]:
    cell = summaries.get('sim_node')
    if not cell or 'inserted' not in cell:
        return []
    what = f'cell of seed {cell["seed"]}, {cell["simulated_s"]:.1f} s simulated'
    if cell['touched_s'] is None:
        return [f'{what}: the plug touched nothing']
    came = f'inserted after {cell["inserted_s"]:.1f} s' if cell['inserted'] else 'was not inserted'
    return [
        f'{what}: first contact after {cell["touched_s"]:.1f} s, the plug {came}; '
        f'peak force {cell["peak_n"]:.1f} N'
    ]


def _recorder_lines(summaries: Summaries) -> list[str]:
    recorder = summaries.get('recorder_node')
    if not recorder or 'journal' not in recorder:
        return []
    lines = [f'journal: {recorder["journal"]} ({recorder["bytes"] / 1e6:.0f} MB)']
    if dropped := sum(recorder['dropped'].values()):
        lines.append(f'[bold red]dropped {dropped} messages: the disk was too slow[/]')
    if recorder['episodes']:
        episodes = ', '.join(map(str, recorder['episodes']))
        lines.append(f'data set: {recorder["dataset"]}: episode {episodes}, {recorder["frames"]} frames')
    lines += [f'[bold red]no episode: {failure}[/]' for failure in recorder['failures']]
    return lines
