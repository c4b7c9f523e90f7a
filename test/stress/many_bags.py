"""Many small bags through Ray, and through this machine's own processes: the same data set to the byte."""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from restac_ros.bench.recordings import START_NS, Scene, make_messages, write_recording
from restac_ros.contract.load import load_contract
from restac_ros.dataset.convert_many import convert_many
from restac_ros.dataset.engines import EngineKind
from restac_ros.dataset.lerobot_access import private_cache
from restac_ros.dataset.shards import EpisodeRequest


@dataclass(frozen=True)
class ManyBagsStress:
    """Convert many bags by Ray and by processes, and compare the two data sets byte by byte."""

    count: int = 100
    """Bags."""
    seconds: float = 1.0
    """Length of each, s."""
    workers: int = 2
    """Processes, and Ray's."""
    size: tuple[int, int] = (96, 72)
    """Of the cameras' images, px."""

    def run(self) -> int:
        """Exit status: 1 when they differ, or a bag was refused."""
        contract = load_contract('config/contract.yaml')
        with (
            tempfile.TemporaryDirectory(prefix='rr_') as name,
            private_cache(),
        ):  # Ray's sockets: a short name
            folder, requests = Path(name), []
            for number in range(self.count):
                scene = Scene(self.size, seed=number)
                messages = make_messages(contract, self.seconds, scene, START_NS + number * 10**12)
                bag = write_recording(folder / f'bag-{number:04d}', contract, messages, 'press')
                requests.append(EpisodeRequest(bag))
            print(f'{self.count} bags made', flush=True)
            made = {
                kind: self._convert(requests, folder / kind / 'data', kind) for kind in ('ray', 'processes')
            }
            differing = sorted(
                name for name in made['ray'].keys() | made['processes'].keys()
                if made['ray'].get(name) != made['processes'].get(name)
            )  # fmt: skip
            print(f'{len(made["ray"])} files, {len(differing)} differ {differing[:5]}')
        return int(bool(differing))

    def _convert(self, requests: list[EpisodeRequest], root: Path, engine: EngineKind) -> dict[str, bytes]:
        """Return the bytes of each file of the data set; notes name its directory, which is left out."""
        begun_s = time.monotonic()
        for answer in convert_many(requests, root, self.workers, engine=engine):
            if answer.report is None:
                raise RuntimeError(f'{answer.bag} was refused: {answer.refusal}')
        print(f'{engine}: {time.monotonic() - begun_s:.1f} s', flush=True)
        files = (path for path in sorted(root.rglob('*')) if path.is_file())
        found = {
            path.relative_to(root).as_posix(): path.read_bytes().replace(str(root).encode(), b'DATASET')
            for path in files
        }
        shutil.rmtree(root)
        return found
