"""Selects the run whose chunks a streamer executes: one at a time."""

from dataclasses import dataclass, field

LIVE_NS = 1_000_000_000  # a run that has sent no chunk for longer publishes no more


@dataclass
class ChunkOrigin:
    """Accepts the chunks of one run.

    With a `run_id` that is the run given. Without one the streamer was started by hand: it locks to the only
    run that publishes, and accepts nothing while there are two.

    Attributes:
        run_id: of the run whose chunks are executed; empty before the first of a streamer started by hand.
        foreign: chunks that were not executed as they came from another run.
    """

    run_id: str = ''
    foreign: int = 0
    _fixed: bool = field(init=False)
    _live: dict[str, tuple[int, str]] = field(init=False, default_factory=dict)  # last chunk, name for people

    def __post_init__(self) -> None:
        self._fixed = bool(self.run_id)

    @property
    def contested(self) -> bool:
        """Whether two runs publish and none was chosen."""
        return not self._fixed and len(self._live) > 1

    def accepts(self, run_id: str, name: str, now_ns: int) -> bool:
        """Return whether a chunk of run `run_id`, which people know by `name`, may be executed."""
        self._live[run_id] = now_ns, name
        self._forget(now_ns)
        if not self._fixed and not self.contested:
            self.run_id = run_id
        ours = run_id == self.run_id and not self.contested
        self.foreign += not ours
        return ours

    def problem(self, now_ns: int) -> str:
        """Return which other run publishes chunks, and what to do about it; empty when none does."""
        self._forget(now_ns)
        others = ' and '.join(name for run_id, (_, name) in self._live.items() if run_id != self.run_id)
        if not others:
            return ''
        remedy = 'stop it, or give the robots different ROS_DOMAIN_IDs or namespaces'
        if self._fixed:
            return (
                f'chunks of {others} are not executed: this streamer belongs to run {self.run_id}; {remedy}'
            )
        ours = self._live[self.run_id][1] if self.run_id in self._live else f'run {self.run_id}'
        return f'chunks come from {ours} and from {others}: none are executed; {remedy}'

    def _forget(self, now_ns: int) -> None:
        self._live = {run_id: last for run_id, last in self._live.items() if abs(now_ns - last[0]) <= LIVE_NS}
