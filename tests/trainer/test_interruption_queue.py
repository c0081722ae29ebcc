"""The queue is heard through everything a queue does to one who polls it for weeks."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from trainer import interruption_queue
from trainer.config_sections import PreemptionConfig
from trainer.errors import UserError
from trainer.interruption_queue import QueueListener
from trainer.preemption import Notice
from waiting import wait_until

INSTANCE = "i-1234567890abcdef0"
GONE = (400, {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "The specified queue does not exist."})
DENIED = (403, {"__type": "com.amazon.coral.service#AccessDeniedException", "message": "not allowed"})
THROTTLED = (400, {"__type": "com.amazonaws.sqs#RequestThrottled", "message": "Rate exceeded"})
BROKEN = (503, {"__type": "com.amazonaws.sqs#ServiceUnavailable", "message": "try later"})
NOTHING: tuple[int, dict] = (200, {})


def warning(instance: str = INSTANCE) -> str:
    detail = {"instance-id": instance, "instance-action": "terminate"}
    return json.dumps({"detail-type": "EC2 Spot Instance Interruption Warning", "source": "aws.ec2", "detail": detail})


def carrying(*bodies: str) -> tuple[int, dict]:
    messages = [
        {"MessageId": str(number), "ReceiptHandle": f"handle-{number}", "Body": body, "MD5OfBody": _md5(body)}
        for number, body in enumerate(bodies)
    ]
    return 200, {"Messages": messages}


def _md5(body: str) -> str:
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


class Queue(ThreadingHTTPServer):
    """Answers what it is told to, then nothing; keeps what it was asked. `answers` may hold a number: seconds of
    silence, after which the connection is dropped."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, dict] | float] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def of(self, action: str) -> list[dict[str, Any]]:
        return [body for name, body in self.asked if name == action]


class Handler(BaseHTTPRequestHandler):
    server: Queue

    def do_POST(self) -> None:
        action = self.headers["X-Amz-Target"].partition(".")[2]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((action, body))
        answer: tuple[int, dict] | float = NOTHING
        if action == "ReceiveMessage":
            if self.server.answers:
                answer = self.server.answers.pop(0)
            else:
                time.sleep(min(0.05, body.get("WaitTimeSeconds", 0)))
        if isinstance(answer, float):
            time.sleep(answer)
            self.close_connection = True
            return
        text = json.dumps(answer[1]).encode()
        self.send_response(answer[0])
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    server = Queue()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL_SQS", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(interruption_queue, "_LONGEST_BACKOFF_SECONDS", 0.1)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def listening(queue: Queue) -> Iterator[Callable[..., Notice]]:
    opened: list[QueueListener] = []

    def listen(names: tuple[str, ...] = (INSTANCE,)) -> Notice:
        notice = Notice()
        notice.configure(PreemptionConfig())
        opened.append(QueueListener(f"{queue.url}/123456789012/interruptions", names, notice, wait_seconds=1))
        return notice

    yield listen
    for listener in opened:
        listener.close()


def heard(notice: Notice) -> bool:
    return wait_until(lambda: notice.received)


def test_a_warning_that_lies_there_is_heard_before_training_starts(queue: Queue, listening: Callable) -> None:
    queue.answers = [carrying(warning())]
    notice = listening()
    assert notice.received
    assert notice.reason == f"spot interruption of {INSTANCE}"
    assert queue.of("DeleteMessage") == [
        {"QueueUrl": queue.of("ReceiveMessage")[0]["QueueUrl"], "ReceiptHandle": "handle-0"}
    ]


@pytest.mark.parametrize("trouble", [[THROTTLED] * 4, [BROKEN] * 4, [0.1, 0.1, 0.1, 0.1], [GONE] * 4, [DENIED] * 4])
def test_a_queue_that_fails_for_a_while_is_heard_afterwards(
    queue: Queue, listening: Callable, trouble: list, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trainer")
    queue.answers = [NOTHING, *trouble, carrying(warning())]
    assert heard(listening())
    said = [record.getMessage() for record in caplog.records]
    # On a busy machine a first connection may fail in a way of its own before.
    assert len([line for line in said if "trying again" in line]) <= 2, "told once, not at every poll"


@pytest.mark.parametrize("trouble", [THROTTLED, BROKEN])
def test_a_queue_that_is_busy_at_the_start_is_no_reason_not_to_train(
    queue: Queue, listening: Callable, trouble: tuple
) -> None:
    queue.answers = [trouble] * 4
    notice = listening()
    queue.answers.append(carrying(warning()))
    assert heard(notice)


def test_a_queue_that_can_not_be_reached_at_the_start_is_no_reason_not_to_train(
    queue: Queue, listening: Callable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert not listening().received
    assert "trying again for as long as the run lasts" in caplog.text


@pytest.mark.parametrize("answer", [GONE, DENIED])
def test_a_queue_that_does_not_exist_or_may_not_be_read_is_the_users_to_put_right(
    queue: Queue, listening: Callable, answer: tuple
) -> None:
    queue.answers = [answer]
    with pytest.raises(UserError, match=r"preemption.queue_url .*/interruptions: the queue can't be read: "):
        listening()


def test_nothing_but_what_a_training_role_may_is_asked_of_the_queue(queue: Queue, listening: Callable) -> None:
    queue.answers = [NOTHING, carrying(warning("i-0")), carrying(warning())]
    assert heard(listening())
    wait_until(lambda: queue.of("DeleteMessage"))
    assert {action for action, _ in queue.asked} == {"ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility"}


def test_others_messages_go_back_at_once_and_strange_ones_do_no_harm(queue: Queue, listening: Callable) -> None:
    queue.answers = [carrying(warning("i-0"), "no JSON", "null", '{"detail": 3}'), carrying(warning())]
    assert heard(listening())
    back = queue.of("ChangeMessageVisibility")
    assert {one["ReceiptHandle"] for one in back} == {f"handle-{number}" for number in range(4)}
    assert {one["VisibilityTimeout"] for one in back} == {0}
    wait_until(lambda: len(queue.of("DeleteMessage")) == 1)


def test_a_block_that_ends_is_left_in_time_and_the_message_stays_for_the_others(
    queue: Queue, listening: Callable
) -> None:
    detail = {"capacity-reservation-id": "cr-1", "end-date": "2020-01-01T00:00:00Z"}
    body = json.dumps({"detail-type": "Capacity Block Reservation Expiration Warning", "detail": detail})
    queue.answers = [carrying(body)]
    notice = listening((INSTANCE, "cr-1"))
    assert notice.received
    assert notice.reason == "Capacity Block's end of cr-1"
    assert queue.of("ChangeMessageVisibility")
    assert not queue.of("DeleteMessage")
