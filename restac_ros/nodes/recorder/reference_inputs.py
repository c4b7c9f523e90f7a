"""Subscribes to the reference images of tactile sensors, which are published latched."""

from collections.abc import Callable
from functools import partial

from restac_ros.contract.schema import Contract
from restac_ros.dataset.references import reference_topic
from restac_ros.framing.errors import DecodeError
from restac_ros.framing.sample import Sample, make_sample
from restac_ros.nodes.fields import LATCHED_QOS
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.subscriptions import message_class
from restac_ros.runtime.complaints import Complaints


class ReferenceInputs:
    """One subscription per tactile stream; nothing is received where no node publishes a reference."""

    def __init__(
        self,
        node: ManagedNode,
        contract: Contract,
        receive: Callable[[Sample], None],
        complaints: Complaints,
    ) -> None:
        """`receive` gets each reference as a sample of its stream, `complaints` what is none."""
        self._node, self._contract = node, contract
        self._receive, self._complaints = receive, complaints
        self._subscriptions = [
            node.create_subscription(
                message_class(spec.type),
                reference_topic(spec.topic),
                partial(self._on_reference, name),
                LATCHED_QOS,
                raw=True,
            )
            for name, spec in contract.by_role('tactile').items()
        ]

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_reference(self, stream: str, cdr: bytes) -> None:
        try:
            sample = make_sample(self._contract, stream, cdr, self._node.now_ns())
        except DecodeError as error:
            self._complaints.set(f'{stream} reference', 'header', f'{stream}: reference image: {error}')
            return
        if sample is not None:
            self._receive(sample)
