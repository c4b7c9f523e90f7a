"""One clear message when something goes wrong, one when it is right again, none in between."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

SETTLE_NS = 1_000_000_000


class Complaint(NamedTuple):
    """What is wrong with a subject.

    `kind` (one word, say 'stale') decides whether it is news; `found` may hold ages and counts; `remedy` is
    said once for all that need the same.
    """

    kind: str
    found: str
    remedy: str = ''

    @property
    def text(self) -> str:
        """The whole sentence."""
        return f'{self.found}; {self.remedy}' if self.remedy else self.found


@dataclass
class _Standing:
    complaint: Complaint
    right_since_ns: int | None = None


class Complaints:
    """What is wrong at present, by subject; told when its kind changes.

    That something is right again is told when it has been for a second: a flickering fault is one message.
    """

    def __init__(
        self,
        warn: Callable[[str], None],
        inform: Callable[[str], None],
        steady_ns: Callable[[], int],
    ) -> None:
        self._warn = warn
        self._inform = inform
        self._steady_ns = steady_ns
        self._standing: dict[str, _Standing] = {}

    def set(self, subject: str, kind: str, text: str) -> None:
        """`subject` is wrong in the way `kind`, or right again when `kind` is empty."""
        if kind:
            self._tell(self._news({subject: Complaint(kind, text)}))
        elif subject in self._standing:
            self._settle(subject)

    def clear(self, subject: str) -> None:
        """`subject` is right (again)."""
        self.set(subject, '', '')

    def update(self, found: Mapping[str, Complaint]) -> None:
        """All that is wrong at present, by subject; everything else is right. News is one message."""
        for subject in [subject for subject in self._standing if subject not in found]:
            self._settle(subject)
        self._tell(self._news(found))

    def forget(self) -> None:
        """Start anew without a word."""
        self._standing.clear()

    @property
    def texts(self) -> list[str]:
        """All that is wrong now."""
        current = [standing for standing in self._standing.values() if standing.right_since_ns is None]
        return [standing.complaint.text for standing in current]

    def _news(self, found: Mapping[str, Complaint]) -> list[Complaint]:
        """Note what is found; what of it is new."""
        news = []
        for subject, complaint in found.items():
            before = self._standing.get(subject)
            if before is None or before.complaint.kind != complaint.kind:
                news.append(complaint)
            self._standing[subject] = _Standing(complaint)
        return news

    def _tell(self, news: Iterable[Complaint]) -> None:
        by_remedy: dict[str, list[str]] = {}
        for complaint in news:
            by_remedy.setdefault(complaint.remedy, []).append(complaint.found)
        for remedy, found in by_remedy.items():
            self._warn(Complaint('', ', '.join(found), remedy).text)

    def _settle(self, subject: str) -> None:
        now_ns, standing = self._steady_ns(), self._standing[subject]
        if standing.right_since_ns is None:
            standing.right_since_ns = now_ns
        elif now_ns - standing.right_since_ns >= SETTLE_NS:
            del self._standing[subject]
            self._inform(f'{subject}: right again')
