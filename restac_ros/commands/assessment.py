"""`restac-ros quality`: chooses the contract to read a recording with, and prints the report."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from restac_ros.commands.terminal import coloured, print_line
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.dataset_files import check_present, is_dataset
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.quality.findings import Finding
from restac_ros.dataset.quality.quality_page import Written, write_quality
from restac_ros.installation import config_file


def assess_path(path: Path, contract: Path | None = None, to: Path | None = None) -> int:
    """Assess a recording or data set, write and print the report; exit status 1 when the verdict is bad.

    Raises:
        BagError, DatasetError, ContractError, GraphError: the path or the contract cannot be read.
    """
    if not path.exists():
        check_present(path)
    written = write_quality(path, recording_contract(path, contract), to)
    print_quality(written)
    return int(written.report.verdict == 'bad')


def recording_contract(path: Path, contract: Path | None) -> Contract | None:
    """Return the contract to read a recording with: the given one, None for its own, else the installed one.

    Raises:
        BagError, ContractError, GraphError: the recording or the contract cannot be read.
    """
    if contract is not None:
        return load_contract(contract)
    if is_dataset(path) or read_notes(open_bag(path)).contract_text is not None:
        return None
    return load_contract(config_file('contract.yaml'))


def print_quality(written: Written, console: Console | None = None) -> None:
    """Print the verdicts and the findings of a quality report, and its files."""
    console = console or Console()
    report = written.report
    for index, episode in enumerate(report.episodes):
        title = f'episode {index}: {episode.task}' if report.kind == 'data set' else episode.source
        verdict = f'{coloured(episode.verdict)}, {episode.duration_s:.1f} s'
        console.print(f'{escape(title)}: {verdict}', soft_wrap=True)
        _print_findings(console, episode.findings)
    _print_findings(console, report.findings)
    console.print(f'verdict: {coloured(report.verdict)}')
    for file in (written.page_file, written.json_file):
        print_line(str(file), console)


def _print_findings(console: Console, findings: list[Finding]) -> None:
    for found in findings:
        console.print(f'  {coloured(found.severity)} {escape(found.text)}', soft_wrap=True, highlight=False)
        console.print(f'         [dim]{escape(found.remedy)}[/]', soft_wrap=True, highlight=False)
