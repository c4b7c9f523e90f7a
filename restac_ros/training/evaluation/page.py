"""The evaluation as one HTML page that needs nothing else."""

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from restac_ros.dataset.page_parts import badge, page, picture, write_page_files
from restac_ros.training.evaluation.bootstrap import Estimate
from restac_ros.training.evaluation.dependence import Effects
from restac_ros.training.evaluation.phases import PHASE_ALL, PHASE_CONTACT
from restac_ros.training.evaluation.plots import bars_png, curves_png, gate_png, horizon_png, surprise_png
from restac_ros.training.evaluation.report import (
    NO_ACTIONS,
    NO_TOUCH,
    UNKNOWN,
    EvaluatedCheckpoint,
    EvaluationReport,
)
from restac_ros.training.evaluation.substitution import SUBSTITUTIONS

SECTIONS = (
    'Action error',
    'Is touch used',
    'Gate against contact',
    'Surprise and codebook',
    'Cameras and prompt',
    'Subtasks and action tokens',
    'Flow: loss by time, and fewer steps',
    'Training against deployment',
)
_COLOUR = {'used': 'good', 'not used': 'bad', 'not known': 'warning'}
_UNITS = {
    'position_m': ('position', 1e3, 'mm'),
    'rotation_rad': ('rotation', 1e3, 'mrad'),
    'gripper_mm': ('gripper', 1, 'mm'),
}


def evaluation_html(report: EvaluationReport) -> str:
    """The whole page."""
    name = Path(report.dataset).name
    head = f'<h1>Evaluation on {escape(name)}</h1><div class="soft path">{escape(report.dataset)}</div>'
    parts = (_errors, _touch, _gates, _surprise, _inputs, _words, _flow, _parity)
    sections = [
        f'<section><h2>{title}</h2>{"".join(part(report))}</section>'
        for title, part in zip(SECTIONS, parts, strict=True)
    ]
    body = ''.join([head, *_overview(report), *sections])
    return page(f'evaluation on {name}', body, 'h3 { font-size: 15px; margin: 18px 0 0; }')


def write_evaluation(report: EvaluationReport, directory: Path) -> Path:
    """Write evaluation.json and evaluation.html; return the page.

    Raises:
        PageError: they cannot be written.
    """
    to = directory / 'evaluation.html'
    write_page_files(to, evaluation_html(report), report.to_json())
    return to


def _overview(report: EvaluationReport) -> Iterator[str]:
    frames = ', '.join(f'{count} {phase}' for phase, count in report.frames.items())
    yield (
        f'<section><p class="soft">{report.which_episodes}; frames: {escape(frames)}. '
        f'Contract {escape(report.contract)}, data {report.fingerprint[:12]}, seed '
        f'{report.settings.seed}.</p><table><tr><th>checkpoint<th class="left">fusion<th '
        'class="left">encoder<th>steps<th>action error<th>in contact<th class="left">touch</tr>'
    )
    for one in report.checkpoints:
        contact = _estimate(one.errors[PHASE_CONTACT].action) if PHASE_CONTACT in one.errors else ''
        yield (
            f'<tr><td>{escape(one.name)}<td class="left">{one.fusion}<td class="left">{one.encoder}'
            f'<td>{one.trained_steps}<td>{_estimate(one.errors[PHASE_ALL].action)}<td>{contact}'
            f'<td class="left">{_verdict(one)}</tr>'
        )
    yield '</table>'
    for other in report.comparisons:
        told = ', '.join(f'{phase} {_percent(change)}' for phase, change in other.change.items())
        yield f'<p>{escape(other.name)} against {escape(other.against)}, same frames and noise: {told}.</p>'
    yield '</section>'


def _errors(report: EvaluationReport) -> Iterator[str]:
    executed = report.settings.executed
    yield (
        f'<p class="soft">Sampled chunks against what the demonstrator did, over the first {executed} steps, '
        f'{executed / report.fps:.2f} s. The action error is the mean absolute error over steps and '
        'dimensions; 1 is half the range (1 to 99 %) of a dimension. Brackets: 95 % intervals over episodes. '
        'An open-loop error is no rate of success.</p>'
    )
    groups = {one.name: {p: e.action for p, e in one.errors.items()} for one in report.checkpoints}
    yield picture(bars_png(groups, 'action error'), 'action error by phase')
    for one in report.checkpoints:
        yield f'<h3>{escape(one.name)}{"" if one.acts else NO_ACTIONS}</h3>'
        yield '<table><tr><th>phase<th>frames<th>action error'
        whole = one.errors[PHASE_ALL]
        units = {name: unit for name, unit in _UNITS.items() if name in whole.in_units}
        yield ''.join(f'<th>{label} [{unit}]' for label, _, unit in units.values())
        yield ''.join(f'<th>{name}' for name in whole.by_dimension)
        for phase, error in one.errors.items():
            yield f'</tr><tr><td>{phase}<td>{error.frames}<td>{_estimate(error.action)}'
            yield ''.join(f'<td>{_estimate(error.in_units[u], s)}' for u, (_, s, _) in units.items())
            yield ''.join(f'<td>{estimate.value:.3g}' for estimate in error.by_dimension.values())
        yield '</tr></table>'
        yield picture(horizon_png(one, executed, report.fps), 'error by step of the chunk')
    yield '<p class="soft">Single dimensions: mean absolute error, in m, rad, and mm of the gripper.</p>'


def _touch(report: EvaluationReport) -> Iterator[str]:
    yield (
        '<p class="soft">The tactile image alone is exchanged, or the gate forced; frames and noise stay. '
        f'Rise of the action error in contact. Delayed: by {report.settings.delay} frames.</p><ul>'
    )
    yield ''.join(f'<li><b>{name}</b>: {escape(text)}</li>' for name, text in SUBSTITUTIONS.items())
    yield '</ul>'
    touching = [one for one in report.checkpoints if one.touch is not None]
    for one in report.checkpoints:
        reason = f': {escape(one.touch.verdict.reason)}' if one.touch else ''
        yield f'<p>{_verdict(one)} {escape(one.name)}{reason}</p>'
    if not touching:
        return
    rises = {
        one.name: _rises(one.touch.ablations, PHASE_CONTACT) if one.touch else {}
        for one in report.checkpoints
    }
    if any(rises.values()):
        yield picture(bars_png(rises, 'rise in contact [%]', percent=True), 'rise of the error by ablation')
    for one in touching:
        if one.touch:
            yield f'<h3>{escape(one.name)}</h3>{_effects(one.touch.ablations)}'


def _gates(report: EvaluationReport) -> Iterator[str]:
    yield (
        '<p class="soft">AUROC: probability that the gate of a frame in contact is above that of a free one; '
        '0.5 is chance. Rise: from the first frame in contact until the gate is half-way between its '
        'means; steps of one frame. Saturated: below 0.02 or above 0.98, where a gate neither learns nor '
        'shows contact.</p><table><tr><th>checkpoint<th>AUROC<th>of '
        'logvar<th>free<th>contact<th>shut<th>open<th>rise, median<th>contacts<th>open before<th>never</tr>'
    )
    for one in report.checkpoints:
        if one.touch is None:
            yield f'<tr><td>{escape(one.name)}<td colspan="10" class="left">{NO_TOUCH}</tr>'
            continue
        gate, rise = one.touch.gate, one.touch.gate.rise
        median = None if rise is None else rise.median_ms
        cells = [
            _estimate(gate.auroc),
            _estimate(gate.auroc_logvar),
            *('' if value is None else f'{value:.2f}' for value in (gate.free, gate.contact)),
            f'{gate.saturated_shut:.0%}',
            f'{gate.saturated_open:.0%}',
            '' if median is None else f'{median:.0f} ms',
            *(('', '', '') if rise is None else map(str, (rise.contacts, rise.open_before, rise.never))),
        ]
        yield f'<tr><td>{escape(one.name)}{"".join(f"<td>{cell}" for cell in cells)}</tr>'
    yield '</table>'
    curves = {one.name: one.touch.gate.curve if one.touch else [] for one in report.checkpoints}
    if any(one.touch for one in report.checkpoints):
        yield picture(gate_png(curves, report.trace), 'ROC of the gate, and gate over one episode')


def _surprise(report: EvaluationReport) -> Iterator[str]:
    yield (
        '<p class="soft">The tactile prior expects a variance of its own error: is it as wrong as it '
        'expects. Rank correlation 1 orders frames rightly, a ratio of 1 is calibrated, and its negative log '
        'likelihood has to be below that of one constant variance. Codes: bits of information about contact, '
        'of those there are.</p>'
    )
    for one in report.checkpoints:
        yield f'<h3>{escape(one.name)}</h3>'
        if one.touch is None:
            yield f'<p>{NO_TOUCH}</p>'
            continue
        if one.touch.surprise is None or one.touch.codebook is None:
            yield f'<p>The encoder {one.encoder!r} has no prior and no codebook.</p>'
            continue
        surprise, codes = one.touch.surprise, one.touch.codebook
        told = (
            ''
            if codes.contact_bits is None
            else f', {codes.contact_bits:.2f} of {codes.contact_entropy_bits:.2f} bits of contact'
        )
        yield (
            f'<p>Rank correlation {surprise.rank_correlation:.2f}, found / expected '
            f'{surprise.mean_ratio:.2f}, negative log likelihood {surprise.nll:.3f} against '
            f'{surprise.nll_constant:.3f} nats. Codebook: {codes.used} of {codes.size} rows, '
            f'{codes.perplexity:.1f} in effect{told}.</p>'
        )
        yield picture(surprise_png(one), 'expected against found residual, and use of the codebook')


def _inputs(report: EvaluationReport) -> Iterator[str]:
    yield (
        '<p class="soft">One camera shows another episode, or the prompt is another task of the data (of '
        'data with one task, its words backwards). Change: how far the chunk moves, in units of the action '
        'error; an input that changes nothing is not read.</p>'
    )
    changes = {
        one.name: {name: effect[PHASE_ALL].change for name, effect in one.inputs.items()}
        for one in report.checkpoints
    }
    yield picture(bars_png(changes, 'change of the chunk'), 'sensitivity to cameras and prompt')
    for one in report.checkpoints:
        yield f'<h3>{escape(one.name)}</h3>{_effects(one.inputs)}'


def _words(report: EvaluationReport) -> Iterator[str]:
    yield (
        '<p class="soft">A network that was taught subtasks plans its chunks by the stated one, and once '
        'more by the one that it generates, where that is usable. Right: to the letter, with the end. '
        'Actions as tokens are those that the language expert generates; where they decode to no chunk, '
        'a robot holds.</p>'
        '<table><tr><th>checkpoint<th>right<th>ended<th>usable<th>error, stated<th>error, generated<th>rise'
        '<th class="left">tokens<th>readable<th>error<th>of the action expert</tr>'
    )
    for one in report.checkpoints:
        said, tokens = one.subtasks, one.tokens
        cells = [''] * 6
        if said is not None:
            shares = _estimate(said.right), _estimate(said.ended), f'{said.usable:.0%}'
            rise = '' if said.rise is None else _percent(said.rise)
            cells = [*shares, _estimate(said.stated_error), _estimate(said.said_error), rise]
        yield f'<tr><td>{escape(one.name)}{"".join(f"<td>{cell}" for cell in cells)}'
        yield f'<td class="left">{"none" if tokens is None else tokens.kind}'
        if tokens is not None:
            yield f'<td>{tokens.readable:.0%}<td>{_estimate(tokens.error)}<td>{_estimate(tokens.flow_error)}'
    yield '</tr></table>'
    for one in report.checkpoints:
        if one.subtasks is not None:
            by = one.subtasks.by_subtask
            told = ', '.join(f'{escape(text)} {share:.0%}' for text, share in by.items())
            yield f'<p class="soft">{escape(one.name)}, right of each subtask: {told}.</p>'


def _flow(report: EvaluationReport) -> Iterator[str]:
    yield (
        '<p class="soft">Left: loss of the velocity by flow time. Middle and right: chunks of fewer Euler '
        'steps from the same noise.</p>'
    )
    yield picture(curves_png(report), 'flow loss by time; error and change by number of steps')
    yield '<table><tr><th>checkpoint<th>steps<th>action error<th>change from what is deployed</tr>'
    for one in report.checkpoints:
        for figure in one.steps:
            yield (
                f'<tr><td>{escape(one.name)}<td>{figure.steps}<td>{_estimate(figure.error)}'
                f'<td>{_estimate(figure.change)}</tr>'
            )
    yield '</table>'


def _parity(report: EvaluationReport) -> Iterator[str]:
    for one in report.checkpoints:
        parity = one.parity
        yield (
            f'<p>{badge("good")}{escape(one.name)}: the tensors of {parity.frames} frames are equal bit for '
            f'bit on the road of training and that of deployment ({escape(", ".join(parity.tensors))}); '
            f'{parity.chunks} chunks of the policy differ from the evaluated ones by at most '
            f'{parity.chunk_difference:.1e}.</p>'
        )


def _effects(found: Effects) -> str:
    phases = list(next(iter(found.values()), {}))
    head = ''.join(f'<th>{phase}: error<th>rise<th>change' for phase in phases)
    rows = [
        f'<tr><td>{escape(name)}'
        + ''.join(
            f'<td>{effect.error.value:.4f}<td>{_percent(effect.rise)}<td>{effect.change.value:.4f}'
            for effect in by_phase.values()
        )
        + '</tr>'
        for name, by_phase in found.items()
    ]
    return f'<table><tr><th>instead{head}</tr>{"".join(rows)}</table>'


def _rises(found: Effects, phase: str) -> Mapping[str, Estimate]:
    return {name: effect[phase].rise for name, effect in found.items() if phase in effect}


def _verdict(one: EvaluatedCheckpoint) -> str:
    if one.touch is None:
        return f'<span class="badge note">{NO_TOUCH}</span>'
    verdict = one.touch.verdict.verdict
    return f'<span class="badge {_COLOUR[verdict]}">{verdict}</span>'


def _estimate(estimate: Estimate | None, scale: float = 1.0) -> str:
    if estimate is None:
        return ''
    value, low, high = (part * scale for part in estimate)
    ends = f'{low:.3g}, {high:.3g}' if estimate.has_interval else UNKNOWN
    return f'{value:.3g} <span class="soft">[{ends}]</span>'


def _percent(estimate: Estimate) -> str:
    ends = f'{estimate.low:+.0%}, {estimate.high:+.0%}' if estimate.has_interval else UNKNOWN
    return f'{estimate.value:+.0%} <span class="soft">[{ends}]</span>'
