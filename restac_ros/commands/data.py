"""Subcommands on recordings, data sets and the streams they come from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from restac_ros.commands.paths import absolute, new_run_directory
from restac_ros.dataset.video.video_choice import Codec, asked_video


@dataclass(frozen=True)
class Convert:
    """Append recordings to a LeRobot v3.0 data set; a refused one leaves it as it was.

    A recording is one episode, a paused journal one per stretch; or say where episodes begin and end.
    Those that the data set holds already are skipped: after an interrupt the same call goes on from there.
    """

    bags: Annotated[tuple[Path, ...], Positional]
    """Journals, rosbag2 directories, or .mcap and .db3 files."""
    to: Path
    """Data set; made if absent."""
    task: str | None = None
    """What the episodes show; default: what the markers say, or each journal says of itself."""
    marker_topic: str | None = None
    """Topic of std_msgs/Bool, true while an episode runs, or std_msgs/String, its task, then empty."""
    range: tuple[str, ...] = ()
    """START:END of each episode, s after the recording's first message; START: is up to its end."""
    contract: Path | None = None
    """Robot facts (YAML), for bags that hold none; default: the installed config/contract.yaml."""
    on_gap: Literal['refuse', 'longest_run'] = 'refuse'
    """A recording with unusable frames inside: refuse it, or keep its longest run without."""
    bridge_frames: int = 0
    """Close gaps of at most so many frames in which only images are missing, by repeating the last ones; such
    frames are marked: `valid.<stream>` is false."""
    allow_false_rate: bool = False
    """Accept recordings whose measured rate is more than 5 % off the fps label."""
    again: bool = False
    """Also recordings whose episodes were deleted from the data set."""
    workers: int | None = None
    """Recordings to convert at once; default: one per core. The result is the same with any number."""
    engine: Literal['processes', 'ray'] = 'processes'
    """Processes of this machine, or tasks of a Ray cluster that sees the same files (restac_ros[ray])."""
    ray_address: str | None = None
    """HOST:PORT of the cluster, or auto; default: a Ray of this machine's own, for as long as it takes."""
    dry_run: bool = False
    """Write nothing; say what each recording would become."""
    video_codec: Codec | None = None
    """Of the cameras; default: what the data set has, in a new one h264, which LeRobot decodes fastest."""
    video_quality: int | None = None
    """Constant rate factor, less is better; default: no visible loss (12 for h264, 10 for hevc and av1)."""

    def run(self) -> int:
        """Exit status: 1 when a recording was refused."""
        from restac_ros.commands.converting import Conversion, convert_all
        from restac_ros.dataset.episodes import TimeRange

        asked = Conversion(
            bags=tuple(map(absolute, self.bags)),
            dataset=absolute(self.to),
            task=self.task,
            contract=absolute(self.contract),
            workers=self.workers,
            engine=self.engine,
            ray_address=self.ray_address,
            on_gap=self.on_gap,
            bridge_frames=self.bridge_frames,
            allow_false_rate=self.allow_false_rate,
            dry_run=self.dry_run,
            again=self.again,
            video=asked_video(self.video_codec, self.video_quality),
            marker_topic=self.marker_topic,
            ranges=tuple(TimeRange.parse(text) for text in self.range),
        )
        return convert_all(asked)


@dataclass(frozen=True)
class Export:
    """Write a LeRobot v3.0 data set in the layout of v2.1, which openpi reads; nothing is encoded anew.

    An earlier export of the same data set is replaced, in one step.
    """

    dataset: Annotated[Path, Positional]
    """LeRobot v3.0 data set."""
    to: Path
    """Directory: absent, empty, or an earlier export. On the same disk its videos take no space."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.commands.exporting import export_dataset

        return export_dataset(absolute(self.dataset), absolute(self.to))


@dataclass(frozen=True)
class Recover:
    """Complete the recordings that a crash or a power cut left unfinished; loses what was not written yet."""

    directory: Annotated[Path, Positional]
    """Where the journals are, or one unfinished journal (NAME.partial)."""

    def run(self) -> int:
        """Exit status: 1 when one could not be recovered."""
        from restac_ros.commands.converting import recover_all

        return recover_all(absolute(self.directory))


@dataclass(frozen=True)
class Repair:
    """Say what is broken in a LeRobot v3.0 data set, whoever wrote it; with --yes, mend it.

    Whole episodes stay as they are; broken ones are left out and named. Nothing is deleted: what is replaced
    or left out goes to DATASET.repair-N.
    """

    dataset: Annotated[Path, Positional]
    """What to examine."""
    yes: bool = False
    """Do what was said."""

    def run(self) -> int:
        """Exit status: 1 while something is broken."""
        from restac_ros.commands.repairing import repair_dataset

        return repair_dataset(absolute(self.dataset), agreed=self.yes)


@dataclass(frozen=True)
class Quality:
    """Say how good a recording or a data set is: rates, gaps, freezes, contacts; as a page and as JSON."""

    path: Annotated[Path, Positional]
    """Journal, bag, or data set."""
    contract: Path | None = None
    """Robot facts (YAML), for bags that hold none; default: the installed config/contract.yaml."""
    to: Path | None = None
    """Directory for quality.json and quality.html; default: with what they describe."""

    def run(self) -> int:
        """Exit status: 1 when the verdict is bad."""
        from restac_ros.commands.assessment import assess_path

        return assess_path(self.path, self.contract, self.to)


@dataclass(frozen=True)
class View:
    """Draw one moment of a recorded run, as rviz would show it: gate, chunk, touch and the last 20 s."""

    recordings: Annotated[tuple[Path, ...], Positional]
    """Bags that together hold the run: a journal and a session log, or one bag with all topics."""
    png: Path = field(default_factory=lambda: new_run_directory() / 'view.png')
    """Picture to write."""
    at: float | None = None
    """Moment, s after the first recording's beginning; default: the last one at which all still arrived."""
    contract: Path | None = None
    """Robot facts (YAML); default: what the recordings hold."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.contract.load import load_contract
        from restac_ros.view.render import render

        contract = None if self.contract is None else load_contract(self.contract)
        self.png.parent.mkdir(parents=True, exist_ok=True)
        print(render(self.recordings, self.png, contract, self.at))
        return 0


@dataclass(frozen=True)
class Info:
    """Say what is at a path: a bag, a journal, a data set or a checkpoint."""

    path: Annotated[Path, Positional]
    """What to look at."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.commands.info import print_info

        print_info(self.path)
        return 0


@dataclass(frozen=True)
class Doctor:
    """Check every stream of the contract live, and this machine: what is wrong, and what mends it."""

    contract: Path | None = None
    """Robot facts (YAML); default: the installed config/contract.yaml."""
    seconds: float = 5.0
    """How long to listen, s."""
    journals: Path | None = None
    """Where recordings will go, whose disk is tried; default: runs/ in the current directory."""
    json: Path | None = None
    """Also write the findings here."""
    namespace: str = ''
    """Namespace that relative topics of the contract are expanded by, such as left."""
    remap: tuple[str, ...] = ()
    """ROS remappings, each FROM:=TO."""

    def run(self) -> int:
        """Exit status: 1 when something is wrong."""
        from restac_ros.commands.doctor import run_doctor

        return run_doctor(
            contract=absolute(self.contract),
            seconds=self.seconds,
            journals=absolute(self.journals or Path('runs')),
            json_file=absolute(self.json),
            namespace=self.namespace,
            remaps=self.remap,
        )
