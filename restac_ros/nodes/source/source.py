"""A node that publishes the contract's topics in place of drivers, and ends after the last message."""

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

from pydantic import BeforeValidator, Field
from rclpy.duration import Duration
from rclpy.publisher import Publisher

from restac_ros.contract.schema import Contract
from restac_ros.nodes.diagnostics import Status
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.newest_values import others_publishing
from restac_ros.nodes.subscriptions import message_class
from restac_ros.process import PLAYED
from restac_ros.runtime.node_parameters import NodeParameters, texts_of
from restac_ros.runtime.playback import Outgoing, Played, play

HISTORY_S = 2.0  # what a reliable publisher keeps for a subscriber that lags
_MIN_DEPTH = 16
_CHECK_PERIOD_S = 0.2
CLOCK_TOPIC, CLOCK_TYPE = '/clock', 'rosgraph_msgs/msg/Clock'
_CLOCK_POLL_S = 0.002
_DISCOVERY_POLL_S = 0.05
ACKNOWLEDGE_TIMEOUT_S = 10.0


class SourceParameters(NodeParameters):
    """Parameters of all sources."""

    wait_subscribers: int = Field(
        ge=0, description="subscribers that each of the contract's topics must have first"
    )
    wait_nodes: Annotated[tuple[str, ...], BeforeValidator(texts_of)] = Field(
        description='nodes beside it that must subscribe to each of these topics first'
    )
    wait_timeout_s: float = Field(gt=0, description='how long to wait for them, s')
    discovery_s: float = Field(ge=0, le=60, description='how long to discover other publishers first, s')
    share_topics: bool = Field(description='publish even where others do')


class Topic(NamedTuple):
    """Type and rate of a published topic."""

    type: str
    rate_hz: float


def contract_topics(contract: Contract) -> dict[str, Topic]:
    """The topics of a contract; where streams share one, it has the sum of their rates."""
    return {
        topic: Topic(contract.streams[names[0]].type, sum(contract.streams[name].rate_hz for name in names))
        for topic, names in contract.by_topic().items()
    }


class SourceError(RuntimeError):
    """There is nothing to publish, or no subscriber; the text names the remedy."""


class SourceNode[P: SourceParameters](ManagedNode[P]):
    """Publishes a timed sequence of serialised messages from a thread of its own, reliably, without drift.

    Subclasses return the topics when configured, and the messages when all subscribers are there.
    """

    refusals: ClassVar[tuple[type[Exception], ...]] = (SourceError,)
    contract: Contract  # from configure on

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._topics: dict[str, str] = {}  # of the streams, by name
        self.played = Played({})
        self._outlets: dict[str, Publisher] = {}
        self._thread: threading.Thread | None = None
        self._halt = threading.Event()
        self._complete = False
        self._failure = ''
        self.create_timer(_CHECK_PERIOD_S, self._check_thread, clock=self.steady_clock)

    @abstractmethod
    def open(self) -> dict[str, Topic]:
        """Topics by name; may raise one of `refusals`."""

    @abstractmethod
    def messages(self, start_ns: int) -> Iterator[Outgoing]:
        """The messages; `start_ns` is the node's clock at their beginning."""

    def configure(self) -> None:
        self.contract = self.load_contract()
        self._topics = {name: spec.topic for name, spec in self.contract.streams.items()}
        self.played = Played({})
        for topic, (type_name, rate_hz) in self.open().items():
            depth = max(_MIN_DEPTH, round(rate_hz * HISTORY_S))
            self._outlets[topic] = self.create_publisher(message_class(type_name), topic, depth)  # reliable

    def activate(self) -> None:
        self._halt.clear()
        self._complete, self._failure = False, ''
        self._thread = threading.Thread(target=self._run, name='source', daemon=True)
        self._thread.start()

    def deactivate(self) -> None:
        self._halt.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    def cleanup(self) -> None:
        for outlet in self._outlets.values():
            self.destroy_publisher(outlet)
        self._outlets.clear()

    def summarise(self) -> dict[str, object]:
        counts = self.played.counts
        return {
            'complete': self._complete,
            'published': {topic: counts.get(topic, 0) for topic in self._outlets},
            'streams': {name: counts[topic] for name, topic in self._topics.items() if topic in counts},
            'late_max_ms': round(self.played.late_max_ns / 1e6, 3),
        }

    def diagnose(self) -> list[Status]:
        sent = {topic: str(count) for topic, count in self.played.counts.items()}
        return [Status('playing', 'ok', f'{sum(self.played.counts.values())} messages published', sent)]

    def refuse_own_clock(self) -> None:
        """Raise SourceError where a node that publishes the clock is to follow it."""
        if self.get_parameter('use_sim_time').value:
            raise SourceError(
                f'use_sim_time is true, but what publishes {CLOCK_TOPIC} cannot wait for it; '
                'set use_sim_time to false for this node'
            )

    def _publish(self, message: Outgoing) -> None:
        self._outlets[message.topic].publish(message.cdr)

    def _check_thread(self) -> None:
        """End the process when the thread has ended by itself."""
        if self._thread is None or self._thread.is_alive() or self.exit_status is not None:
            return
        if self._failure:
            self.report_problem(self._failure)
        self.exit_status = 0 if self._complete else 1

    def _run(self) -> None:
        refused: tuple[type[Exception], ...] = (*self.refusals, *self._always_refused)
        try:
            self._check_alone()
            self._await_subscribers()
            if not self._halt.is_set():
                self._complete = self._play()
                self._await_acknowledgement()
                self._announce_end()
        except refused as error:
            self._failure = str(error)
        except Exception as error:  # a thread must not end silently
            self._failure = f'unexpected {type(error).__name__}: {error}'
            raise

    def _play(self) -> bool:
        pace_ns: Callable[[], int] = time.monotonic_ns
        pause: Callable[[float], bool] = self._halt.wait
        if self.get_parameter('use_sim_time').value:
            # Simulated time may run at any rate: it is polled.
            pace_ns, pause = self.now_ns, self._pause_simulated
            if not self.now_ns():
                self.get_logger().info(f'waiting for {CLOCK_TOPIC}, as use_sim_time is true')
            while not self.now_ns():
                if pause(_CLOCK_POLL_S):
                    return False
        self.get_logger().info('playing')
        # Two clocks, read at once: stamps are of the node's, pacing is steady unless time is simulated.
        messages, begun_ns = self.messages(self.now_ns()), pace_ns()
        return play(messages, self._publish, lambda: pace_ns() - begun_ns, pause, self.played)

    def _pause_simulated(self, wait_s: float) -> bool:
        return self._halt.wait(min(wait_s, _CLOCK_POLL_S))

    def _check_alone(self) -> None:
        """Refuse to publish beside other publishers: subscribers could not separate the streams."""
        if self.parameters.share_topics:
            return
        end_s = time.monotonic() + self.parameters.discovery_s
        while not (others := self._other_publishers()):
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                others = self._other_publishers(unnamed=True)
                break
            if self._halt.wait(min(left_s, _DISCOVERY_POLL_S)):
                return
        if not others:
            return
        found = ', '.join(f'{name} publishes {topic}' for name, topic in others.items())
        raise SourceError(
            f'not playing: {found}, too, and subscribers could not separate the two. Stop it, set '
            'ROS_DOMAIN_ID to a domain of its own, or share_topics to true if this is meant'
        )

    def _other_publishers(self, unnamed: bool = False) -> dict[str, str]:
        """Return a topic of ours by the name of each other node that publishes it.

        With `unnamed` also of those whose name is not discovered yet.
        """
        others: dict[str, str] = {}
        for topic, outlet in self._outlets.items():
            others |= dict.fromkeys(others_publishing(self, outlet, unnamed=unnamed), topic)
        return others

    def _await_subscribers(self) -> None:
        """Wait until every topic of the contract has its subscribers: so many, and those that are named."""
        names = self.parameters.wait_nodes
        wanted = max(self.parameters.wait_subscribers, len(names))
        awaited = [stream.topic for stream in self.contract.streams.values() if stream.topic in self._outlets]
        deadline_s = time.monotonic() + self.parameters.wait_timeout_s
        while missing := {topic: lack for topic in awaited if (lack := self._lacks(topic, wanted, names))}:
            if time.monotonic() >= deadline_s:
                found = ', '.join(f'{topic} {lack}' for topic, lack in missing.items())
                raise SourceError(
                    f'not playing: {wanted} subscribers expected for each topic within '
                    f'{self.parameters.wait_timeout_s:g} s, but {found}. Read the log of the nodes that '
                    'should subscribe, raise wait_timeout_s, or wait for none (wait_subscribers, wait_nodes)'
                )
            if self._halt.wait(0.05):
                return

    def _lacks(self, topic: str, wanted: int, names: tuple[str, ...]) -> str:
        """Return what a topic lacks of its subscribers, in words; '' when all are there.

        Views and loggers subscribe, too: a number alone does not show that a policy does.
        """
        outlet = self._outlets[topic]
        if (count := outlet.get_subscription_count()) < wanted:
            return f'has {count}'
        if not names:
            return ''
        infos = self.get_subscriptions_info_by_topic(outlet.topic_name)
        here = {info.node_name for info in infos if info.node_namespace == self.get_namespace()}
        missing = [name for name in names if name not in here]
        return f'lacks {", ".join(missing)}' if missing else ''

    def _announce_end(self) -> None:
        """Leave word for who started this node: while it ends, others would miss its streams."""
        if self._complete and (summary_file := self._raw('summary_file', '')):
            played = Path(summary_file).expanduser().with_suffix(PLAYED)
            played.parent.mkdir(parents=True, exist_ok=True)
            played.touch()

    def _await_acknowledgement(self) -> None:
        """Wait until subscribers have acknowledged everything; name the topics of those that have not."""
        timeout = Duration(seconds=ACKNOWLEDGE_TIMEOUT_S)
        late = [topic for topic, outlet in self._outlets.items() if not outlet.wait_for_all_acked(timeout)]
        if late:
            topics = ', '.join(late)
            self._failure = f'not acknowledged within {ACKNOWLEDGE_TIMEOUT_S:g} s, so perhaps lost: {topics}'
            self._complete = False
