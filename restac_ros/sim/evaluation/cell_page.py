"""A closed-loop evaluation as one HTML page; videos lie beside it."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from restac_ros.dataset.page_parts import page, picture, write_page_files
from restac_ros.sim.evaluation.cell_figures import ALIGNED_M, CellFigures
from restac_ros.sim.evaluation.cell_plots import insertions_png, reliability_png
from restac_ros.sim.evaluation.cell_report import COLUMNS, CellReport
from restac_ros.sim.evaluation.conditions import AS_IT_IS, CONDITIONS
from restac_ros.training.evaluation.bootstrap import Estimate
from restac_ros.training.evaluation.plots import bars_png, gate_png

_LEFT = 2  # columns of text


def write_page(report: CellReport, directory: Path) -> Path:
    """Write sim_evaluation.json and sim_evaluation.html; return the page.

    Raises:
        PageError: they cannot be written.
    """
    to = directory / 'sim_evaluation.html'
    html = page('evaluation in the cell', ''.join(_body(report, directory)))
    write_page_files(to, html, report.to_json())
    return to


def _body(report: CellReport, directory: Path) -> Iterator[str]:
    settings = report.settings
    yield (
        '<h1>Evaluation in the simulated cell</h1>'
        f'<p class="soft">{settings.seeds} scenes, seeds {settings.first_seed} to '
        f'{settings.first_seed + settings.seeds - 1}, the same for all; at most {settings.limit_s:g} s each. '
        f'Contract {escape(report.contract)}, prompt "{escape(report.prompt)}". {escape(report.conduct())} '
        f'restac_ros {escape(report.version)}.</p><p class="soft"><code>{escape(report.command)}</code></p>'
    )
    yield from _section('Success', _success(report))
    yield from _section('All figures', _table(report))
    yield from _section('Touch', _touch(report))
    yield from _section('Conditions and checkpoints', _legend(report))
    if report.films:
        yield from _section('Videos', _films(report, directory))


def _section(title: str, parts: Iterator[str]) -> Iterator[str]:
    yield f'<section><h2>{title}</h2>'
    yield from parts
    yield '</section>'


def _success(report: CellReport) -> Iterator[str]:
    yield (
        '<p class="soft">Inserted: the plug has been in for a second. Bars: Wilson\'s 95 % intervals. '
        'Curves: with nothing changed.</p>'
    )
    changed = [CONDITIONS[one.condition].group for one in report.figures if one.condition != AS_IT_IS]
    for group in dict.fromkeys(changed or ['none']):
        shown = [one for one in report.figures if CONDITIONS[one.condition].group in ('none', group)]
        bars = bars_png(_bars(shown), 'inserted [%]', percent=True, cut=False)
        yield picture(bars, f'success, changed: {group}')
    settings = report.settings
    yield picture(
        insertions_png(report.insertions_s, settings.seeds, settings.limit_s), 'insertions over time'
    )


def _bars(figures: Sequence[CellFigures]) -> dict[str, dict[str, Estimate]]:
    groups: dict[str, dict[str, Estimate]] = {}
    for one in figures:
        groups.setdefault(one.checkpoint, {})[one.condition] = one.success
    return groups


def _table(report: CellReport) -> Iterator[str]:
    yield (
        '<p class="soft">Differences of success are in points, over the same scenes, with 95 % intervals '
        "(Newcombe 1998) and p of McNemar's exact test. Aligned: the first contact is at most "
        f'{1000 * ALIGNED_M:.0f} mm from the hole. Times and forces are medians. Alignment ends with the '
        'first contact; interaction and insertion times are those of successes. Rise, of all contacts, and '
        'contact to gate, of first contacts: until the gate is half-way open. One that was open before, or '
        'never opens, has no such time and is counted. Halted, dropped: how attempts ended.</p>'
        '<div style="overflow-x:auto"><table style="white-space:nowrap"><tr>'
    )
    yield ''.join(f'<th{" class=left" if place < _LEFT else ""}>{name}' for place, name in enumerate(COLUMNS))
    for row in report.rows():
        yield '</tr><tr>'
        yield ''.join(
            f'<td{" class=left" if place < _LEFT else ""}>{escape(text)}' for place, text in enumerate(row)
        )
    yield '</tr></table></div>'


def _touch(report: CellReport) -> Iterator[str]:
    plain = {one.checkpoint: one for one in report.figures if one.condition == AS_IT_IS}
    feeling = {name: one.gate for name, one in plain.items() if one.gate is not None}
    if not feeling:
        yield '<p>No checkpoint feels.</p>'
        return
    yield (
        '<p class="soft">With nothing changed, against true contact. AUROC: probability that the gate of a '
        'frame in contact is above that of a free one.</p>'
    )
    curves = {name: gate.curve for name, gate in feeling.items()}
    yield picture(gate_png(curves, report.trace), 'ROC of the gate, and gate over one attempt')
    surprises = {name: one.surprise for name, one in plain.items() if one.surprise is not None}
    for name, surprise in surprises.items():
        yield (
            f'<p>{escape(name)}: logvar against residual: rank correlation {surprise.rank_correlation:.2f}, '
            f'found / expected {surprise.mean_ratio:.2f}, negative log likelihood {surprise.nll:.3f} against '
            f'{surprise.nll_constant:.3f} nats of one constant variance.</p>'
        )
    yield picture(
        reliability_png({name: surprise.reliability for name, surprise in surprises.items()}),
        'expected against found residual',
    )


def _legend(report: CellReport) -> Iterator[str]:
    named = {one.condition for one in report.figures}
    yield '<ul>'
    yield ''.join(f'<li><b>{n}</b>: {escape(c.text)}</li>' for n, c in CONDITIONS.items() if n in named)
    yield '</ul><table><tr><th>checkpoint<th class="left">fusion<th>steps<th>prefix, tactile, chunk [ms]'
    yield '<th class="left">fingerprint<th>path'
    for one in report.checkpoints:
        durations = ', '.join(f'{value:g}' for value in vars(one.durations).values())
        yield (
            f'</tr><tr><td>{escape(one.name)}<td class="left">{one.fusion}<td>{one.trained_steps}<td>'
            f'{durations}<td class="left">{one.fingerprint}<td>{escape(one.path)}'
        )
    yield '</tr></table>'


def _films(report: CellReport, directory: Path) -> Iterator[str]:
    for film in report.films:
        source = escape(film.relative_to(directory).as_posix())
        yield f'<video controls width="896" src="{source}"></video>'
