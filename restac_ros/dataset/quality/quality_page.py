"""Writes the quality report as one self-contained HTML page, and as JSON."""

from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment

from restac_ros.contract.schema import Contract
from restac_ros.dataset.page_parts import page, picture, write_page_files
from restac_ros.dataset.quality.quality import EpisodeQuality, QualityReport, assess
from restac_ros.dataset.quality.quality_figure import film_png, timeline_png, touch_png
from restac_ros.dataset.quality.quality_file import report_file
from restac_ros.dataset.quality.trace import Trace

PICTURED_ALWAYS = 3  # of more episodes only those with a fault
MAX_PICTURED = 20  # a megabyte each
_TEMPLATES = Environment(autoescape=True)
_MACROS = """
{% macro badge(word) %}<span class="badge {{ word }}">{{ word }}</span>{% endmacro %}
{% macro listed(findings) %}{% if findings %}<ul>{% for finding in findings %}
<li>{{ badge(finding.severity) }}{{ finding.text }} <span class="soft">[{{ finding.kind }}]</span>
<span class="remedy">{{ finding.remedy }}</span></li>{% endfor %}</ul>{% endif %}{% endmacro %}
{% macro cell(text, off) %}<td{{ ' class=off' if off }}>{{ text }}{% endmacro %}
{% macro pair(spread) %}<td>{% if spread %}{{ '%.1f / %.1f' % (spread.p50, spread.p95) }}{% endif %}
{% endmacro %}
"""
_EPISODE = _TEMPLATES.from_string(
    _MACROS
    + """
<details name="episode" id="e{{ index }}"{{ '' if index else ' open' }}>
<summary>{{ badge(episode.verdict) }}<h2>{{ episode.task or 'no task text' }}</h2></summary>
<div class="soft">{{ episode.source }}<br>{{ '%.2f' % episode.duration_s }} s, {{ episode.frames }} frames
at {{ episode.fps }} fps, {{ episode.usable_frames }} usable, {{ episode.longest_run }} in a row; contract
{{ episode.contract }} <span class="path">{{ episode.contract_digest[:12] }}</span></div>
{{ listed(episode.findings) }}
{{ pictures | join | safe }}
<table><tr><th>stream<th>messages<th>rate<th>declared<th>interval<th>delay<th>age<th>lost<th>repeated
<th>invalid frames<th class="left">encoding</tr>
{% for name, stream in episode.streams.items() %}
<tr><td title="{{ stream.topic }}">{{ name }}<td>{{ stream.messages }}
{{ cell('%.1f Hz' % stream.rate_hz, (stream.rate_hz / stream.declared_rate_hz - 1) | abs > 0.05) }}
<td>{{ '%g Hz' % stream.declared_rate_hz }}
{{ pair(stream.interval_ms) }}{{ pair(stream.delay_ms) }}{{ pair(stream.age_ms) }}
{{ cell(stream.lost, stream.lost > 0.01 * stream.messages) }}
{% set repeated = 'not examined' if stream.repeated_images is none else stream.repeated_images %}
{{ cell(repeated if stream.role in ('camera', 'tactile'), stream.frozen) }}
{{ cell(stream.invalid_frames, stream.invalid_frames > 0) }}
<td class="left">{{ stream.encodings | join(', ') }}</tr>
{% endfor %}</table>
<p class="soft">Interval, delay (capture to receipt) and age (in frames): median / 95 %, in ms.</p>
{% if episode.skew_ms %}<p class="soft">Samples of one frame were captured
{{ '%.0f ms apart (95 %%: %.0f ms, at most %.0f ms)' % episode.skew_ms }}.</p>{% endif %}
{% for note in episode.notes %}<p class="soft">{{ note }}</p>{% endfor %}</details>
"""
)
_BODY = _TEMPLATES.from_string(
    _MACROS
    + """<h1>{{ badge(report.verdict) }}{{ name }}</h1>
<div class="soft path">{{ report.kind }} {{ report.path }}</div>
{% if report.episodes | length > 1 or report.findings %}
<section><h2>{{ report.episodes | length }} episodes:
{% for verdict, count in report.verdicts | dictsort %}{{ count }} {{ verdict }}{{ ', ' if not loop.last }}
{%- endfor %}</h2>{{ listed(report.findings) }}
<table><tr><th>episode<th class="left">task<th>length<th>frames<th>contacts<th class="left">worst finding</tr>
{% for episode in report.episodes %}
<tr><td><a href="#e{{ loop.index0 }}">{{ loop.index0 }}</a> {{ badge(episode.verdict) }}
<td class="left">{{ episode.task }}<td>{{ '%.1f' % episode.duration_s }} s<td>{{ episode.frames }}
<td>{{ episode.contacts | length }}
<td class="left">{{ episode.findings[0].text if episode.findings }}</tr>
{% endfor %}</table></section>
{% endif %}
{{ sections | join | safe }}"""
)


class Page:
    """Collects the sections of the episodes as they are assessed; `html` completes the page."""

    def __init__(self) -> None:
        self._sections: list[str] = []
        self._pictured = 0

    def add(self, episode: EpisodeQuality, trace: Trace) -> None:
        """Add an episode, with pictures if it is one of the first, or has a fault."""
        index = len(self._sections)
        is_pictured = self._pictured < MAX_PICTURED and (index < PICTURED_ALWAYS or episode.verdict != 'good')
        self._pictured += is_pictured
        pictures = _pictures(episode, trace) if is_pictured and trace.time_ns.size else []
        self._sections.append(_EPISODE.render(index=index, episode=episode, pictures=pictures))

    def html(self, report: QualityReport) -> str:
        """Return the whole page."""
        name = Path(report.path).resolve().name
        body = _BODY.render(name=name, report=report, sections=self._sections)
        return page(f'{name}: {report.verdict}', body.lstrip())


def _pictures(episode: EpisodeQuality, trace: Trace) -> list[str]:
    """Return image elements of what can be drawn."""
    return [
        picture(timeline_png(trace, episode), 'streams, ages, touch and state over time'),
        picture(film_png(trace.stills), 'stills'),
        picture(touch_png(trace), 'touch: reference, strongest contact, change'),
    ]


class Written(NamedTuple):
    """A report, and the files that hold it."""

    report: QualityReport
    json_file: Path
    page_file: Path


def write_quality(path: Path, contract: Contract | None = None, to: Path | None = None) -> Written:
    """Assess a recording or a data set, and write the report as JSON and as a page into the directory `to`.

    By default they go to a data set's meta/restac_ros, into a bag's directory, or beside a bag's file.

    Raises:
        BagError, DatasetError, ContractError: see `quality.assess`.
        PageError: the report cannot be written.
    """
    drawn = Page()
    report = assess(path, contract, drawn.add)
    json_file = report_file(path, to)
    page_file = json_file.with_suffix('.html')
    write_page_files(page_file, drawn.html(report), report.to_json())
    return Written(report, json_file, page_file)
