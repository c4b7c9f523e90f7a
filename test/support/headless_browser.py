"""Chromium without a window, driven through a pipe by its DevTools protocol."""

import base64
import fcntl
import io
import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL import Image

PROGRAMS = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
_PATIENCE_S = 120.0
_SWITCHES = (
    '--headless=new',
    '--no-sandbox',
    '--use-angle=swiftshader',  # WebGL without a GPU
    '--enable-unsafe-swiftshader',
    '--ignore-gpu-blocklist',
    '--disable-background-networking',
    '--disable-component-update',
    '--no-first-run',
    '--window-size=1280,800',
    '--remote-debugging-pipe',
)


def browser_program() -> str | None:
    """Path of an installed Chromium; None where there is none."""
    return next((path for path in map(shutil.which, PROGRAMS) if path), None)


class HeadlessBrowser:
    """One page of a browser that ends with the block."""

    def __init__(self, program: str, profile: Path) -> None:
        there, self._to = self._pipe()
        self._from, back = self._pipe()
        line = [program, *_SWITCHES, f'--user-data-dir={profile}', 'about:blank']
        bound = f'exec "$0" "$@" 3<&{there} 4>&{back}'  # the two that it reads and writes
        self._process = subprocess.Popen(
            ['bash', '-c', bound, *line],
            pass_fds=(there, back),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for descriptor in (there, back):
            os.close(descriptor)
        self._count, self._received, self._session = 0, b'', ''
        targets = self._call('Target.getTargets')['targetInfos']
        page = next(target['targetId'] for target in targets if target['type'] == 'page')
        self._session = self._call('Target.attachToTarget', targetId=page, flatten=True)['sessionId']

    def open(self, url: str) -> None:
        """Load a page; what it fetches and draws by itself may follow."""
        self._call('Page.enable')
        self._call('Page.navigate', url=url)
        while self._receive().get('method') != 'Page.loadEventFired':
            pass

    def picture(self) -> np.ndarray:
        """What the page shows now, uint8 [H, W, 3] RGB."""
        data = base64.b64decode(self._call('Page.captureScreenshot')['data'])
        return np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for descriptor in (self._to, self._from):
            os.close(descriptor)

    @staticmethod
    def _pipe() -> tuple[int, int]:
        """Both ends of a pipe, at numbers that are none of the browser's own."""
        moved = []
        for descriptor in os.pipe():
            moved.append(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10))
            os.close(descriptor)
        return moved[0], moved[1]

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message = {'id': self._count, 'method': method, 'params': parameters}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._to, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._receive()
            if answer.get('id') == self._count:
                assert 'result' in answer, answer
                return answer['result']

    def _receive(self) -> dict[str, Any]:
        while b'\0' not in self._received:
            ready, _, _ = select.select([self._from], [], [], _PATIENCE_S)
            assert ready, f'the browser has not answered within {_PATIENCE_S:g} s'
            data = os.read(self._from, 1 << 20)
            assert data, f'the browser has ended with status {self._process.poll()}'
            self._received += data
        message, _, self._received = self._received.partition(b'\0')
        return json.loads(message)
