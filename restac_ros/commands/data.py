"""Subcommands on recordings, data sets and the streams they come from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from restac_ros.commands.paths import absolute, new_run_directory
from restac_ros.commands.terminal import counted, counting, print_line
from restac_ros.dataset.video.video_choice import Codec


@dataclass(frozen=True)
class Convert:
    """Append recordings to a LeRobot v3.0 data set; a refused one leaves it as it was.

    A recording is one episode, a paused journal one per stretch, unless markers or ranges are given. Those
    that the data set holds already are skipped: after an interrupt the same call continues from there.
    """

    bags: Annotated[tuple[Path, ...], Positional]
    """Journals, rosbag2 directories, or .mcap and .db3 files."""
    to: Path
    """Data set; made if absent."""
    task: str | None = None
    """Task text of the episodes; default: that of the markers, or of each journal."""
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
    """Processes of this machine, or tasks of a Ray cluster with the same file system (extra ray)."""
    ray_address: str | None = None
    """HOST:PORT of the cluster, or auto; default: a Ray of this machine's own, started for this call."""
    dry_run: bool = False
    """Write nothing; print what each recording would become."""
    compact: bool = False
    """Afterwards put many episodes into each file, as `restac-ros compact` does."""
    video_codec: Codec | None = None
    """Of the cameras; default: that of the data set, in a new one h264, which LeRobot decodes fastest."""
    video_quality: int | None = None
    """Constant rate factor, less is better; default: no visible loss (12 for h264, 10 for hevc and av1)."""

    def run(self) -> int:
        """Exit status: 1 when a recording was refused."""
        from restac_ros.commands.converting import convert_all

        return convert_all(self)


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
        from restac_ros.dataset.dataset_files import EARLIER_VERSION
        from restac_ros.dataset.export_v21 import export_v21

        target = absolute(self.to)
        with counting('exporting') as on_episode:
            episodes = export_v21(absolute(self.dataset), target, on_episode)
        print_line(f'{target}: {counted(episodes, "episode")}, LeRobot {EARLIER_VERSION}')
        print_line(f'openpi reads it with HF_LEROBOT_HOME={target.parent} and repo_id {target.name!r}')
        return 0


@dataclass(frozen=True)
class Recover:
    """Complete the recordings that a crash or a power cut left unfinished, with all that was written."""

    directory: Annotated[Path, Positional]
    """Where the journals are, or one unfinished journal (NAME.partial)."""

    def run(self) -> int:
        """Exit status: 1 when one could not be recovered."""
        from restac_ros.commands.converting import recover_all

        return recover_all(absolute(self.directory))


@dataclass(frozen=True)
class Repair:
    """List what is broken in a LeRobot v3.0 data set of any writer; with --yes, mend it.

    Whole episodes stay as they are; broken ones are left out and named. Nothing is deleted: what is replaced
    or left out goes to DATASET.repair-N.
    """

    dataset: Annotated[Path, Positional]
    """Data set to examine."""
    yes: bool = False
    """Mend it."""

    def run(self) -> int:
        """Exit status: 1 while something is broken."""
        from restac_ros.commands.repairing import repair_dataset

        return repair_dataset(absolute(self.dataset), agreed=self.yes)


@dataclass(frozen=True)
class Quality:
    """Assess a recording or a data set: rates, gaps, freezes, contacts; as a page and as JSON."""

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
    """Show a recorded run: one moment as a picture, as rviz would; with --mp4 all of it as a video, with
    --rerun in a browser, with --rrd as a file for Rerun."""

    recordings: Annotated[tuple[Path, ...], Positional]
    """Bags that together hold the run: a journal and a session log, or one bag with all topics. Of several
    paths those that are no recordings are skipped. With --rerun or --rrd also one data set."""
    png: Path = field(default_factory=lambda: new_run_directory() / 'view.png')
    """Picture to write."""
    at: float | None = None
    """Moment, s after the first recording's beginning; default: the last one at which all still arrived."""
    mp4: Path | None = None
    """Video to write: cameras, touch and gate side by side; with its last frame as PNG beside it."""
    contract: Path | None = None
    """Robot facts (YAML); default: what the recordings hold."""
    rerun: bool = False
    """Serve the whole run as a page for a browser of this machine, until Ctrl-C (extra view)."""
    rrd: Path | None = None
    """Write this file for Rerun (`rerun FILE` opens it) and serve nothing."""
    episode: int = 0
    """Of a data set, with --rerun or --rrd: the episode."""
    port: int = 9090
    """With --rerun: port of the page; that of its data is the next one."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.commands.viewing import draw_moment, draw_video, show_in_browser

        if self.mp4 is not None:
            return draw_video(self, self.mp4)
        return show_in_browser(self) if self.rerun or self.rrd else draw_moment(self)


@dataclass(frozen=True)
class Info:
    """Describe a bag, a journal, a data set or a checkpoint."""

    path: Annotated[Path, Positional]
    """Path of it."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.commands.info import print_info

        print_info(self.path)
        return 0


@dataclass(frozen=True)
class Doctor:
    """Check every stream of the contract live, and this machine; print faults with their remedies."""

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

        return run_doctor(self)
