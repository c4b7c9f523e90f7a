"""Plays a rosbag2 bag, MCAP or SQLite, as `ros2 bag play` does, where that tool isn't installed."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field

from restac_ros.dataset.bag.bag_reader import Bag, open_bag
from restac_ros.dataset.errors import BagError
from restac_ros.framing.decode import MESSAGE_TYPES
from restac_ros.nodes.running import run_node
from restac_ros.nodes.source.driver_messages import clock_message
from restac_ros.nodes.source.source import (
    CLOCK_TOPIC,
    CLOCK_TYPE,
    SourceError,
    SourceNode,
    SourceParameters,
    Topic,
)
from restac_ros.nodes.subscriptions import UnknownTypeError, message_class
from restac_ros.runtime.node_parameters import OptionalPath
from restac_ros.runtime.playback import Outgoing, ReadAhead, TimeMap, scheduled

CLOCK_PERIOD_NS = 5_000_000
GAP_NS = 100_000_000  # between the end of a bag and its next beginning


class ReplayParameters(SourceParameters):
    """See config/replay.yaml."""

    bag: OptionalPath = Field(description='rosbag2 directory, or an .mcap or .db3 file')
    rate: float = Field(gt=0, le=100, description='playing speed, 1 is real time')
    loop: bool = Field(description='begin anew at the end, until stopped')
    stamps: Literal['shift', 'keep'] = Field(description='move header stamps into the present, or keep them')
    any_topics: bool = Field(description="play a bag that holds none of the contract's streams")
    publish_clock: bool = Field(description="publish the bag's time on /clock, for nodes with use_sim_time")


class ReplayNode(SourceNode[ReplayParameters]):
    """Bag in, topics out."""

    model = ReplayParameters
    _bag: Bag  # from configure on, as the time of its first and last message
    _bounds_ns: tuple[int, int]
    refusals = (SourceError, BagError)

    def __init__(self) -> None:
        super().__init__('replay_node')
        self._reader: ReadAhead | None = None

    def open(self) -> dict[str, Topic]:
        if self.parameters.bag is None:
            raise SourceError('no bag: name one with -p bag:=DIRECTORY')
        if self.parameters.publish_clock:
            self.refuse_own_clock()
        self._bag = open_bag(self.parameters.bag)
        for note in self._bag.notes:
            self.get_logger().warning(note)
        if self._bag.bounds_ns is None:
            raise SourceError(f'{self._bag.path} holds no message')
        self._bounds_ns = self._bag.bounds_ns
        topics = {
            name: Topic(topic.type, self._rate_hz(topic.count)) for name, topic in self._bag.topics.items()
        }
        playable = {name: topic for name, topic in topics.items() if self._is_installed(name, topic.type)}
        ours = any(stream.topic in playable for stream in self.contract.streams.values())
        if not ours and not (self.parameters.any_topics and playable):
            raise SourceError(
                f'{self._bag.path} holds none of the topics of contract {self.contract.name!r}; it has '
                f'{", ".join(topics)}: correct the topics in the contract, or set any_topics to true '
                'for a bag of other things, such as a session log'
            )
        if self.parameters.publish_clock:
            playable[CLOCK_TOPIC] = Topic(CLOCK_TYPE, 1e9 / CLOCK_PERIOD_NS)
        return playable

    def messages(self, start_ns: int) -> Iterator[Outgoing]:
        self._reader = ReadAhead(self._passes(start_ns))
        return iter(self._reader)

    def deactivate(self) -> None:
        super().deactivate()
        if self._reader:
            self._reader.close()
            self._reader = None

    def _passes(self, start_ns: int) -> Iterator[Outgoing]:
        """The bag once, or again and again."""
        begin_ns, end_ns = self._bounds_ns
        parameters, topics = self.parameters, set(self._outlets) - {CLOCK_TOPIC}
        stamped = frozenset(MESSAGE_TYPES) if parameters.stamps == 'shift' else None
        length_ns = round((end_ns - begin_ns) / parameters.rate) + GAP_NS
        for repetition in itertools.count():
            time_map = TimeMap(begin_ns, start_ns, parameters.rate, repetition * length_ns)
            messages = scheduled(self._bag.messages(topics), time_map, stamped)
            yield from self._with_clock(messages, time_map) if parameters.publish_clock else messages
            if not parameters.loop:
                return

    def _with_clock(self, messages: Iterable[Outgoing], time_map: TimeMap) -> Iterator[Outgoing]:
        """The bag's time every 5 ms among the messages, never behind one."""
        next_due_ns = time_map.offset_ns
        for message in messages:
            while next_due_ns <= message.due_ns:
                bag_ns = time_map.bag_start_ns + round((next_due_ns - time_map.offset_ns) * time_map.rate)
                yield Outgoing(next_due_ns, CLOCK_TOPIC, clock_message(bag_ns))
                next_due_ns += CLOCK_PERIOD_NS
            yield message

    def _rate_hz(self, count: int) -> float:
        begin_ns, end_ns = self._bounds_ns
        return count * self.parameters.rate * 1e9 / max(end_ns - begin_ns, 10**9)

    def _is_installed(self, topic: str, type_name: str) -> bool:
        try:
            message_class(type_name)
        except UnknownTypeError as error:
            self.get_logger().warning(f'{topic} is not played: {error}')
            return False
        return True


def main() -> None:
    """Entry point."""
    run_node(ReplayNode)
