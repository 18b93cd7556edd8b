"""The package by itself, and against pynng."""

import asyncio
import os
import signal
import threading
import time

import pytest

import sinew

pynng = pytest.importorskip("pynng") if not os.environ.get("CI") else __import__("pynng")

SOON = 5


def run(main):
    return asyncio.run(asyncio.wait_for(main, 30))


@pytest.mark.parametrize("url", ["inproc://py-pair", "tcp://127.0.0.1:0", "ipc://{}/pair"])
def test_pair_both_ways(url, tmp_path):
    with sinew.Pair() as left, sinew.Pair() as right:
        right.connect(left.bind(url.format(tmp_path)))
        left.send(b"ping", timeout=SOON)
        assert right.recv(timeout=SOON) == b"ping"
        right.send(bytearray(b"pong"), timeout=SOON)
        assert left.recv(timeout=SOON) == b"pong"
        left.send(b"", timeout=SOON)
        assert right.recv(timeout=SOON) == b""


def test_requests_by_handle_and_from_threads():
    with sinew.Rep() as rep, sinew.Req() as req:
        req.connect(rep.bind("tcp://127.0.0.1:0"))
        replies = {}

        def ask(question):
            replies[question] = req.request(question, timeout=SOON)

        threads = [threading.Thread(target=ask, args=(name,)) for name in (b"one", b"two", b"three")]
        for thread in threads:
            thread.start()
        requests = [rep.recv(timeout=SOON) for _ in threads]
        for request in reversed(requests):
            request.reply(b"hello " + request.data)
        for thread in threads:
            thread.join()
        assert replies == {name: b"hello " + name for name in (b"one", b"two", b"three")}
        with pytest.raises(sinew.Closed):
            requests[0].reply(b"twice")


def test_errors_say_what_stood_in_the_way():
    with sinew.Push() as push:
        push.connect("ipc:///nowhere")
        with pytest.raises(sinew.TimedOut, match="nobody is connected"):
            push.send(b"x", timeout=0.05)
        with pytest.raises(sinew.WouldBlock):
            push.send(b"x", timeout=0)
        with pytest.raises(ValueError, match="no option"):
            push.set("colour", 1)
        with pytest.raises(sinew.Error, match="has no option"):
            push.set("ttl", 3)
        with pytest.raises(sinew.Error, match="1 to 8192"):
            push.set("send_queue", 0)
        push.set("linger", 1.5)
        assert push.get("linger") == 1.5 and push.get("max_resends") is None
    with pytest.raises(sinew.Closed):
        push.send(b"x")
    with pytest.raises(sinew.Error):
        sinew.Pair().bind("nonsense")


def test_subscriptions_and_drops():
    with sinew.Pub() as publisher, sinew.Sub(b"weather.") as subscriber:
        url = publisher.bind("inproc://py-news")
        publisher.send(b"before anybody is there", timeout=0)
        subscriber.connect(url)
        publisher.wait_for_peers(1, timeout=SOON)
        publisher.send(b"traffic.quiet", timeout=0)
        publisher.send(b"weather.sunny", timeout=0)
        assert subscriber.recv(timeout=SOON) == b"weather.sunny"
        assert publisher.stat("messages_sent") == 3
        assert subscriber.drops() == {"not_subscribed": 1}
        assert 'sinew_messages_sent_total' in publisher.metrics()


def test_surveys():
    with sinew.Surveyor(survey_deadline=0.2) as surveyor, sinew.Respondent() as respondent:
        respondent.connect(surveyor.bind("inproc://py-survey"))
        surveyor.wait_for_peers(1, timeout=SOON)
        with surveyor.survey(b"who?") as survey:
            respondent.recv(timeout=SOON).reply(b"I")
            assert list(survey) == [b"I"]


def test_events_and_peers():
    with sinew.Pull() as pull, pull.events() as events:
        url = pull.bind("tcp://127.0.0.1:0")
        with sinew.Push() as push:
            push.connect(url)
            kinds = [events.next(timeout=SOON).kind for _ in range(2)]
            assert kinds == ["attaching", "attached"]
            [peer] = pull.peers()
            assert not peer.outgoing and peer.remote.startswith("tcp://127.0.0.1:")
            push.send(b"last", timeout=SOON)
            assert push.drain(timeout=SOON) == 0
        assert events.next(timeout=SOON).kind == "detached"
        assert pull.recv(timeout=SOON) == b"last"


def test_close_ends_a_call_of_another_thread():
    pull, ended = sinew.Pull(), []
    thread = threading.Thread(target=lambda: ended.extend(pull))
    thread.start()
    time.sleep(0.05)  # until it waits; it may as well find the socket closed
    pull.close()
    thread.join(SOON)
    assert not thread.is_alive() and ended == []


def test_a_handler_of_python_runs_while_a_call_waits():
    class Enough(Exception):
        pass

    def handler(*_):
        raise Enough

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with sinew.Pull() as pull:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Enough):
                pull.recv()
        # One that returns, and the call goes on.
        signal.signal(signal.SIGALRM, lambda *_: None)
        with sinew.Pull() as pull:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(sinew.TimedOut):
                pull.recv(timeout=0.2)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_tasks():
    async def main():
        with sinew.Push() as push, sinew.Pull() as pull, sinew.Req() as req, sinew.Rep() as rep:
            pull.connect(push.bind("inproc://py-tasks"))
            req.connect(rep.bind("tcp://127.0.0.1:0"))
            # Several tasks wait for one socket, and one of them gives up.
            waiting = [asyncio.ensure_future(pull.recv_async()) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            await push.send_async(b"a")
            await push.send_async(b"b")
            assert sorted(await asyncio.gather(*waiting[1:])) == [b"a", b"b"]

            async def serve():
                for _ in range(50):
                    request = await rep.recv_async()
                    request.reply(request.data.upper())

            serving = asyncio.ensure_future(serve())
            questions = [f"question {number}".encode() for number in range(50)]
            replies = await asyncio.gather(*map(req.request_async, questions))
            assert replies == [question.upper() for question in questions]
            await serving

        with sinew.Surveyor(survey_deadline=0.2) as surveyor, sinew.Respondent() as respondent:
            respondent.connect(surveyor.bind("inproc://py-tasks-survey"))
            surveyor.wait_for_peers(1, timeout=SOON)
            with surveyor.survey(b"who?") as survey:
                (await respondent.recv_async()).reply(b"I")
                assert [answer async for answer in survey] == [b"I"]

    run(main())


def test_a_task_that_waits_too_long_loses_nothing():
    async def main():
        with sinew.Pair() as left, sinew.Pair() as right:
            right.connect(left.bind("inproc://py-cancelled"))
            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(right.recv_async(), 0.01)
            await left.send_async(b"kept")
            assert await right.recv_async() == b"kept"

    run(main())


PYNNG = [
    ("Pair", "Pair0"), ("Push", "Pull0"), ("Pub", "Sub0"), ("Bus", "Bus0"), ("Pair1", "Pair1"),
]


@pytest.mark.parametrize("ours,theirs", PYNNG)
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_pynng_gets_what_we_send(ours, theirs, transport, tmp_path):
    with getattr(sinew, ours)() as mine, getattr(pynng, theirs)(recv_timeout=5000) as other:
        if theirs == "Sub0":
            other.subscribe(b"")
        other.dial(mine.bind("tcp://127.0.0.1:0" if transport == "tcp" else f"ipc://{tmp_path}/a"), block=True)
        mine.wait_for_peers(1, timeout=SOON)
        for size in (1, 1000, 100_000):  # pynng cannot receive an empty message
            mine.send(bytes(size), timeout=SOON)
            assert other.recv() == bytes(size)


@pytest.mark.parametrize("ours,theirs", [("Pair", "Pair0"), ("Pull", "Push0"), ("Sub", "Pub0"), ("Bus", "Bus0")])
def test_we_get_what_pynng_sends(ours, theirs):
    with getattr(sinew, ours)() as mine, getattr(pynng, theirs)(send_timeout=5000) as other:
        if ours == "Sub":
            mine.subscribe(b"")
        other.dial(mine.bind("tcp://127.0.0.1:0"), block=True)
        mine.wait_for_peers(1, timeout=SOON)
        for size in (0, 1, 100_000):
            other.send(bytes(size))
            assert mine.recv(timeout=SOON) == bytes(size)


def test_pynng_asks_and_is_asked():
    with sinew.Rep() as rep, pynng.Req0(recv_timeout=5000) as req:
        req.dial(rep.bind("tcp://127.0.0.1:0"), block=True)
        req.send(b"question")
        rep.recv(timeout=SOON).reply(b"answer")
        assert req.recv() == b"answer"
    with sinew.Req() as req, pynng.Rep0(recv_timeout=5000) as rep:
        listener = rep.listen("tcp://127.0.0.1:0")
        req.connect(f"tcp://{listener.local_address}")
        thread = threading.Thread(target=lambda: rep.send(rep.recv() + b"!"))
        thread.start()
        assert req.request(b"question", timeout=SOON) == b"question!"
        thread.join()
    with sinew.Surveyor(survey_deadline=1) as surveyor, pynng.Respondent0(recv_timeout=5000) as respondent:
        respondent.dial(surveyor.bind("tcp://127.0.0.1:0"), block=True)
        surveyor.wait_for_peers(1, timeout=SOON)
        with surveyor.survey(b"who?") as survey:
            respondent.send(respondent.recv() + b" I")
            assert survey.recv(timeout=SOON) == b"who? I"
