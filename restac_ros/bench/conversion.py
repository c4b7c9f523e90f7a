"""How fast bags become a data set and what bounds it: the real command, and one bag under a profiler."""

import multiprocessing as mp
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from restac_ros.bench.cpu_profile import CpuProfile, StackCall
from restac_ros.bench.processes import Watch, end_family, scratch
from restac_ros.bench.recordings import START_NS, Scene, drop_from_memory, make_messages, write_recording
from restac_ros.bench.settings import ConvertBench, size_px
from restac_ros.bench.table import Figure, finish, judged
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.convert_many import bag_bytes
from restac_ros.dataset.dataset_files import read_info
from restac_ros.installation import GraphError

MIN_SPEED = 5.0  # x real time, from raw 640x480 bags
BUSY_SHARE = 0.85  # of the cores in use: above this, the CPU bounds
_SPARE_BYTES = 2 * 10**9
TASK = 'bench'
LOADING = 'load libraries'
# By the innermost file on the stack that is listed.
PARTS = {
    'read': ('mcap_file', 'mcap_scan', 'sqlite_file', 'unpacking', 'bag_reader'),
    'decode and letterbox': ('decode', 'resize', 'values', 'kinematics', 'rotation'),
    'encode': ('video_encoder',),
    'survey': ('survey',),
    'choose frames': ('framer', 'buffer', 'grid', 'sample'),
    'write and read back': ('writer', 'lerobot_access', 'merge', 'transaction', 'dataset_files', 'features'),
}
_PART_OF = {file: part for part, files in PARTS.items() for file in files}


@dataclass(frozen=True)
class ConversionFigures:
    """Results. `parts` are CPU seconds of one bag, `cpu_s` of the whole command."""

    bags: int
    workers: int
    cores: int
    bag_mb: float
    episode_s: float
    wall_s: float
    cpu_s: float
    memory_peak_mb: float
    parts: dict[str, float]
    load_average: float

    @property
    def speed(self) -> float:
        """Seconds of episode in a second."""
        return self.episode_s / self.wall_s

    @property
    def speed_loaded(self) -> float:
        """The same without the time in which a process loads libraries, which long recordings make small."""
        return self.episode_s / max(self.wall_s - self.parts.get(LOADING, 0.0), 1e-3)

    @property
    def mb_per_s(self) -> float:
        """Bytes of bags in a second."""
        return self.bag_mb / self.wall_s

    @property
    def busy(self) -> float:
        """Cores in use, on average."""
        return self.cpu_s / self.wall_s

    @property
    def bound(self) -> str:
        """What a faster conversion would need, in words."""
        part, seconds = max(self.parts.items(), key=lambda item: item[1])
        usable = min(self.workers, self.cores)
        largest = f'most in: {part} ({seconds / sum(self.parts.values()):.0%})'
        if self.busy >= BUSY_SHARE * usable:
            return f'the CPU, {self.busy:.2f} of {usable} cores busy; {largest}'
        return f'waiting for the disk or each other, only {self.busy:.2f} of {usable} cores busy; {largest}'

    @property
    def rows(self) -> list[Figure]:
        """The table."""
        total = sum(self.parts.values())
        return [
            Figure('recorded', f'{self.episode_s:.1f} s, {self.bag_mb:.0f} MB'),
            Figure('wall time, with the start', f'{self.wall_s:.1f} s'),
            judged('speed', self.speed, '>=', MIN_SPEED, '{:.1f} x real time'),
            Figure('speed, once libraries are loaded', f'{self.speed_loaded:.1f} x real time'),
            Figure('bags read', f'{self.mb_per_s:.0f} MB/s'),
            Figure('CPU', f'{self.cpu_s:.1f} s, {self.busy:.2f} of {self.cores} cores'),
            *(
                Figure(f'  {part}, one bag', f'{seconds:.2f} s ({seconds / total:.0%})')
                for part, seconds in self.parts.items()
            ),
            Figure('bounded by', self.bound),
            Figure('memory of all processes, peak', f'{self.memory_peak_mb:.0f} MB'),
            Figure('load average of the machine', f'{self.load_average:.1f}'),
        ]


def main(settings: ConvertBench) -> int:
    """Run, print a table, write JSON if asked; 1 when the target is missed. What was made is removed.

    Raises:
        GraphError: the conversion failed.
        JournalError: too little free disk in `settings.directory`.
    """
    contract = load_contract(settings.contract_file)
    with scratch(settings.directory, _needed_bytes(settings, contract)) as folder:
        bags = settings.bag or make_bags(settings, contract, folder)
        figures = measure_conversion(bags, settings.contract_file, settings.workers, folder)
    title = f'converter, {figures.bags} bags, {figures.workers} workers'
    derived = {'speed': figures.speed, 'mb_per_s': figures.mb_per_s, 'bound': figures.bound}
    return finish(title, figures.rows, settings.json, asdict(figures) | derived)


def make_bags(settings: ConvertBench, contract: Contract, folder: Path) -> tuple[Path, ...]:
    """Different recordings."""
    bags = []
    for number in range(settings.bags):
        scene = Scene(size_px(settings.size), seed=number)
        messages = make_messages(contract, settings.seconds, scene, START_NS + number * 10**12)
        bags.append(write_recording(folder / f'bag-{number}', contract, messages, TASK))
        if not settings.from_memory:
            drop_from_memory(bags[-1])
    return tuple(bags)


def measure_conversion(bags: Sequence[Path], contract: Path, workers: int, folder: Path) -> ConversionFigures:
    """Convert the bags with the command, then the first of them once more under the profiler.

    Raises:
        GraphError: the conversion failed.
    """
    target, log = folder / 'data', folder / 'convert.log'
    line = [sys.executable, '-P', '-m', 'restac_ros.cli', 'convert', *map(str, bags), '--to', str(target)]
    line += ['--task', TASK, '--contract', str(contract), '--workers', str(workers)]
    begun_s = time.monotonic()
    with log.open('wb') as said:
        child = subprocess.Popen(line, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            with Watch(child.pid) as watch:
                status = child.wait()
                wall_s = time.monotonic() - begun_s
        finally:
            end_family(child)
    if status != 0:
        raise GraphError(f'the conversion ended with status {status}; it said:\n{log.read_text()}')
    info = read_info(target)
    return ConversionFigures(
        bags=len(bags),
        workers=workers,
        cores=len(os.sched_getaffinity(0)),
        bag_mb=sum(bag_bytes(bag) for bag in bags) / 1e6,
        episode_s=info['total_frames'] / info['fps'],
        wall_s=wall_s,
        cpu_s=watch.cpu_s,
        memory_peak_mb=max(sample.rss_bytes for sample in watch.samples) / 1e6,
        parts=profile_parts(bags[0], contract),
        load_average=os.getloadavg()[0],
    )


def profile_parts(bag: Path, contract: Path) -> dict[str, float]:
    """CPU seconds by part of converting one bag in a process of its own, largest first."""
    with ProcessPoolExecutor(1, mp.get_context('spawn')) as pool:
        return pool.submit(_profiled, bag, contract).result()


def _profiled(bag: Path, contract: Path) -> dict[str, float]:
    os.environ.setdefault('HF_HUB_OFFLINE', '1')
    with tempfile.TemporaryDirectory(dir=bag.parent) as folder, CpuProfile(part_of) as profile:
        convert_episode(bag, load_contract(contract), Path(folder) / 'data', TASK)
    return {
        part: round(seconds, 3)
        for part, seconds in sorted(profile.seconds.items(), key=lambda item: -item[1])
    }


def part_of(stack: list[StackCall]) -> str:
    """The part of a conversion that a stack belongs to; the survey's own reading belongs to `read`."""
    for call in stack:
        if call.file.startswith('<frozen importlib'):
            return LOADING
        name = call.file.rpartition('/')[2].removesuffix('.py')
        if '/restac_ros/' in call.file and name in _PART_OF:
            return _PART_OF[name]
    return 'other'


def _needed_bytes(settings: ConvertBench, contract: Contract) -> int:
    """Bags, and a fifth of that for data sets."""
    if settings.bag:
        return _SPARE_BYTES + round(0.2 * sum(bag_bytes(bag) for bag in settings.bag))
    pixels = {'camera': size_px(settings.size)[0] * size_px(settings.size)[1] * 3, 'tactile': 240 * 320 * 3}
    rate = sum(spec.rate_hz * pixels.get(spec.role, 600) for spec in contract.streams.values())
    return _SPARE_BYTES + round(1.2 * rate * settings.seconds * settings.bags)
