import threading
from contextlib import contextmanager

import numpy as np
import pytest

from twist_sim.appearance import nominal_appearance
from twist_sim.ros.camera_worker import CameraError, CameraWorker, FrameRequest

LOOK = nominal_appearance()


def request(number):
    return FrameRequest(np.array([float(number)]), LOOK, number)


class Recorder:
    """A camera whose shutter the test holds."""

    def __init__(self):
        self.shutter = threading.Semaphore(0)
        self.exposing = threading.Semaphore(0)
        self.delivered = []
        self.threads = []

    @contextmanager
    def open(self):
        self.threads.append(threading.current_thread())
        yield self.take
        self.threads.append(threading.current_thread())

    def take(self, state, appearance):
        self.exposing.release()
        assert self.shutter.acquire(timeout=10)
        return np.full((2, 2, 3), int(state[0]), dtype=np.uint8)

    def deliver(self, frame, stamp):
        self.delivered.append((int(frame[0, 0, 0]), stamp))


def test_frames_carry_the_stamp_of_the_state_that_they_show():
    recorder = Recorder()
    worker = CameraWorker(recorder.open, recorder.deliver)
    for number in (3, 4, 5):
        recorder.shutter.release()
        asked = request(number)
        worker.request(asked)
        assert asked.delivered.wait(10)
    worker.close()
    assert recorder.delivered == [(3, 3), (4, 4), (5, 5)]
    assert worker.dropped == 0


def test_a_slow_camera_drops_the_older_request_and_never_falls_behind():
    recorder = Recorder()
    worker = CameraWorker(recorder.open, recorder.deliver)
    worker.request(request(1))
    assert recorder.exposing.acquire(timeout=10)
    worker.request(request(2))
    newest = request(3)
    worker.request(newest)
    recorder.shutter.release(2)
    assert newest.delivered.wait(10)
    worker.close()
    assert [number for number, _ in recorder.delivered] == [1, 3]
    assert worker.dropped == 1


def test_the_camera_is_opened_and_closed_in_its_own_thread():
    recorder = Recorder()
    worker = CameraWorker(recorder.open, recorder.deliver)
    worker.wait_until_open(10)
    worker.close()
    assert len(recorder.threads) == 2
    assert recorder.threads[0] is recorder.threads[1] is not threading.current_thread()


def test_a_camera_that_does_not_open_says_why():
    @contextmanager
    def broken():
        raise RuntimeError("no GL here")
        yield

    worker = CameraWorker(broken, lambda frame, stamp: None)
    with pytest.raises(CameraError, match="no GL here"):
        worker.wait_until_open(10)


def test_a_camera_that_fails_later_is_noticed():
    asked = threading.Event()

    @contextmanager
    def fragile():
        def take(state, appearance):
            asked.set()
            raise RuntimeError("lens cap")

        yield take

    worker = CameraWorker(fragile, lambda frame, stamp: None)
    worker.wait_until_open(10)
    worker.request(request(1))
    assert asked.wait(10)
    worker.close()
    with pytest.raises(CameraError, match="lens cap"):
        worker.check()
