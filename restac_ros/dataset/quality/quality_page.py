"""The quality report as one HTML page that needs nothing else: for a browser, a wiki, an e-mail."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

from restac_ros.contract.schema import Contract
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.quality.findings import Finding
from restac_ros.dataset.quality.measures import Spread
from restac_ros.dataset.quality.page_parts import PAGE_STYLE, badge, picture
from restac_ros.dataset.quality.quality import EpisodeQuality, QualityReport, StreamQuality, assess
from restac_ros.dataset.quality.quality_figure import film_png, timeline_png, touch_png
from restac_ros.dataset.quality.quality_file import report_file
from restac_ros.dataset.quality.trace import Trace

PICTURED_ALWAYS = 3  # of more episodes only those with a fault
MAX_PICTURED = 20  # a megabyte each


class Page:
    """Collects the sections of the episodes, drawn as they are assessed; `html` completes them."""

    def __init__(self) -> None:
        self._sections: list[str] = []
        self._pictured = 0

    def add(self, episode: EpisodeQuality, trace: Trace) -> None:
        """Draw an episode: the first ones, and those that have something to show."""
        index = len(self._sections)
        pictured = self._pictured < MAX_PICTURED and (index < PICTURED_ALWAYS or episode.verdict != 'good')
        self._pictured += pictured
        self._sections.append(''.join(_episode(index, episode, trace if pictured else None)))

    def html(self, report: QualityReport) -> str:
        """The whole page."""
        name = escape(Path(report.path).resolve().name)
        head = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<title>{name}: {report.verdict}</title>'
            f'<style>{PAGE_STYLE}</style></head><body><h1>{badge(report.verdict)}{name}</h1>'
            f'<div class="soft path">{escape(report.kind)} {escape(report.path)}</div>'
        )
        return ''.join([head, *_overview(report), *self._sections, '</body></html>\n'])


class Written(NamedTuple):
    """A report, and the files that hold it."""

    report: QualityReport
    json_file: Path
    page_file: Path


def write_quality(path: Path, contract: Contract | None = None, to: Path | None = None) -> Written:
    """Assess a recording or a data set, and leave the report as JSON and as a page in the directory `to`.

    By default that is with what it describes: in a data set's meta/restac_ros, in a bag's directory, beside a
    bag that is a file.

    Raises:
        BagError, DatasetError, ContractError: see `quality.assess`.
        DatasetError: the report cannot be written.
    """
    drawn = Page()
    report = assess(path, contract, drawn.add)
    json_file = report_file(path, to)
    page_file = json_file.with_suffix('.html')
    try:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        for file, text in ((json_file, report.to_json()), (page_file, drawn.html(report))):
            temporary = file.with_name(f'.{file.name}.partial')
            temporary.write_text(text, encoding='utf-8')
            temporary.replace(file)
    except OSError as error:
        found = f'{json_file} cannot be written: {error.strerror or error}'
        raise DatasetError(f'{found}. Give a directory for the report (--to).') from error
    return Written(report, json_file, page_file)


def _overview(report: QualityReport) -> Iterator[str]:
    """Of a data set: the count of verdicts, a line per episode, and what concerns all."""
    if len(report.episodes) < 2 and not report.findings:
        return
    counts = ', '.join(f'{count} {verdict}' for verdict, count in sorted(report.verdicts.items()))
    yield f'<section><h2>{len(report.episodes)} episodes: {escape(counts)}</h2>'
    yield f'{_findings(report.findings)}<table>'
    yield '<tr><th>episode<th class="left">task<th>length<th>frames<th>contacts'
    yield '<th class="left">worst finding</tr>'
    for index, episode in enumerate(report.episodes):
        worst = escape(episode.findings[0].text) if episode.findings else ''
        yield (
            f'<tr><td><a href="#e{index}">{index}</a> {badge(episode.verdict)}<td class="left">'
            f'{escape(episode.task)}<td>{episode.duration_s:.1f} s<td>{episode.frames}'
            f'<td>{len(episode.contacts)}'
            f'<td class="left">{worst}</tr>'
        )
    yield '</table></section>'


def _episode(index: int, episode: EpisodeQuality, trace: Trace | None) -> Iterator[str]:
    """The section of one episode, with pictures if there is a trace."""
    unfolded = '' if index else ' open'
    yield f'<details name="episode" id="e{index}"{unfolded}><summary>{badge(episode.verdict)}'
    yield f'<h2>{escape(episode.task) or "no task text"}</h2></summary>'
    yield (
        f'<div class="soft">{escape(episode.source)}<br>{episode.duration_s:.2f} s, {episode.frames} frames '
        f'at {episode.fps} fps, {episode.usable_frames} usable, {episode.longest_run} in a row; contract '
        f'{escape(episode.contract)} <span class="path">{episode.contract_digest[:12]}</span></div>'
    )
    yield _findings(episode.findings)
    if trace is not None and trace.time_ns.size:
        yield picture(timeline_png(trace, episode), 'streams, ages, touch and state over time')
        yield picture(film_png(trace.stills), 'stills')
        yield picture(touch_png(trace), 'touch: reference, strongest contact, change')
    yield _streams(episode)
    if episode.skew_ms:
        yield (
            f'<p class="soft">Samples of one frame were captured {episode.skew_ms.p50:.0f} ms apart '
            f'(95 %: {episode.skew_ms.p95:.0f} ms, at most {episode.skew_ms.max:.0f} ms).</p>'
        )
    yield ''.join(f'<p class="soft">{escape(note)}</p>' for note in episode.notes)
    yield '</details>'


def _findings(findings: list[Finding]) -> str:
    lines = [
        f'<li>{badge(finding.severity)}{escape(finding.text)} '
        f'<span class="soft">[{escape(finding.kind)}]</span>'
        f'<span class="remedy">{escape(finding.remedy)}</span></li>'
        for finding in findings
    ]
    return f'<ul>{"".join(lines)}</ul>' if lines else ''


def _streams(episode: EpisodeQuality) -> str:
    head = (
        '<tr><th>stream<th>messages<th>rate<th>declared<th>interval<th>delay<th>age<th>lost<th>repeated'
        '<th>invalid frames<th class="left">encoding</tr>'
    )
    rows = [_stream_row(name, stream) for name, stream in episode.streams.items()]
    return (
        f'<table>{head}{"".join(rows)}</table><p class="soft">Interval, delay (capture to receipt) and age '
        '(in frames): median / 95 %, in ms.</p>'
    )


def _stream_row(name: str, stream: StreamQuality) -> str:
    off = abs(stream.rate_hz / stream.declared_rate_hz - 1) > 0.05
    encodings = ', '.join(stream.encodings)
    cells = [
        (f'{stream.rate_hz:.1f} Hz', off),
        (f'{stream.declared_rate_hz:g} Hz', False),
        *((_pair(values), False) for values in (stream.interval_ms, stream.delay_ms, stream.age_ms)),
        (str(stream.lost), stream.lost > 0.01 * stream.messages),
        (_repeated(stream), bool(stream.frozen)),
        (str(stream.invalid_frames), stream.invalid_frames > 0),
    ]
    marked = ''.join(f'<td{" class=off" if is_off else ""}>{escape(text)}' for text, is_off in cells)
    return (
        f'<tr><td title="{escape(stream.topic)}">{escape(name)}<td>{stream.messages}{marked}'
        f'<td class="left">{escape(encodings)}</tr>'
    )


def _repeated(stream: StreamQuality) -> str:
    if stream.role not in ('camera', 'tactile'):
        return ''
    return 'not examined' if stream.repeated_images is None else str(stream.repeated_images)


def _pair(values: Spread | None) -> str:
    return f'{values.p50:.1f} / {values.p95:.1f}' if values else ''
