"""nnpy and nanomsg, bindings of PyPI that load libnanomsg.so.5, unmodified: what they do must work with our library.

ci/capi runs it with LD_LIBRARY_PATH set to the library, and once without, with nanomsg's own.
"""

import errno
import socket
import tempfile
import threading
import time

import nanomsg
import nnpy

KEPT = []


def free_port():
    """A port that is kept until the program ends; as nobody listens there, a library can bind to it."""
    keeper = socket.socket()
    keeper.bind(("127.0.0.1", 0))
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    KEPT.append(keeper)
    return keeper.getsockname()[1]


def connections(of):
    return of.get_statistic(nnpy.STAT_CURRENT_CONNECTIONS)


def soon(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def nnpy_pairs(folder):
    for url in ("inproc://nnpy", f"tcp://127.0.0.1:{free_port()}", f"ipc://{folder}/nnpy"):
        left, right = nnpy.Socket(nnpy.AF_SP, nnpy.PAIR), nnpy.Socket(nnpy.AF_SP, nnpy.PAIR)
        left.bind(url)
        right.connect(url)
        left.send(b"hello")
        assert right.recv() == b"hello"
        right.send("text")
        assert left.recv() == b"text"
        left.close()
        right.close()


def nnpy_publishes():
    publisher, subscriber = nnpy.Socket(nnpy.AF_SP, nnpy.PUB), nnpy.Socket(nnpy.AF_SP, nnpy.SUB)
    publisher.bind("inproc://nnpy-pub")
    subscriber.connect("inproc://nnpy-pub")
    subscriber.setsockopt(nnpy.SUB, nnpy.SUB_SUBSCRIBE, "flub")
    soon(lambda: connections(publisher) == 1)
    publisher.send("other")
    publisher.send("flubber")
    assert subscriber.recv() == b"flubber"
    try:
        subscriber.recv(nnpy.DONTWAIT)
        raise AssertionError("there was nothing")
    except nnpy.NNError as error:
        assert error.error_no == errno.EAGAIN
    polled = nnpy.PollSet((subscriber, nnpy.POLLIN))
    assert polled.poll(0) == [0]
    publisher.send("flub")
    assert polled.poll(1000) == [nnpy.POLLIN]
    assert subscriber.getsockopt(nnpy.SOL_SOCKET, nnpy.RCVFD) > 0
    publisher.close()
    subscriber.close()


def nnpy_is_closed_by_another_thread():
    pull = nnpy.Socket(nnpy.AF_SP, nnpy.PULL)
    pull.bind("inproc://nnpy-closed")
    ended = []

    def receive():
        try:
            pull.recv()
        except nnpy.NNError as error:
            ended.append(error.error_no)

    thread = threading.Thread(target=receive)
    thread.start()
    time.sleep(0.05)  # until it waits; it may as well find the socket closed
    pull.close()
    thread.join()
    assert ended == [errno.EBADF]


def nanomsg_asks():
    url = f"tcp://127.0.0.1:{free_port()}"
    with nanomsg.Socket(nanomsg.REQ) as req, nanomsg.Socket(nanomsg.REP) as rep:
        rep.bind(url)
        req.connect(url)
        for size in (0, 1, 1000, 500_000):
            req.send(bytes(size))
            assert rep.recv() == bytes(size)
            rep.send(b"answer")
            assert req.recv() == b"answer"
    with nanomsg.Socket(nanomsg.SURVEYOR) as surveyor, nanomsg.Socket(nanomsg.RESPONDENT) as respondent:
        surveyor.bind("inproc://nanomsg-survey")
        respondent.connect("inproc://nanomsg-survey")
        surveyor.survey_deadline = 100
        time.sleep(0.05)  # a survey goes to those who are connected
        surveyor.send(b"who?")
        assert respondent.recv() == b"who?"
        respondent.send(b"I")
        assert surveyor.recv() == b"I"
        try:
            surveyor.recv()
            raise AssertionError("the survey was over")
        except nanomsg.NanoMsgAPIError as error:
            assert error.errno == errno.ETIMEDOUT
    with nanomsg.Socket(nanomsg.PAIR) as pair:
        pair.recv_timeout = 10
        assert pair.recv_timeout == 10
        try:
            pair.recv()
            raise AssertionError("there was nothing")
        except nanomsg.NanoMsgAPIError as error:
            assert error.errno == errno.ETIMEDOUT


def main():
    with tempfile.TemporaryDirectory() as folder:
        nnpy_pairs(folder)
    nnpy_publishes()
    nnpy_is_closed_by_another_thread()
    nanomsg_asks()
    print("nnpy and nanomsg: all well")


if __name__ == "__main__":
    main()
