"""Hearing that this gang has to go: a signal to any rank, or the platform's interruption queue.

Hearing is all that happens here. The loop asks at every micro-batch boundary whether any rank has heard something.
Nothing here imports torch, so that signals are caught from a process's first moment on.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Collection
from types import FrameType
from typing import Any

from trainer.errors import UserError

INSTANCE_ID_VARIABLE = "TRAINER_INSTANCE_ID"
SPOT_WARNING = "EC2 Spot Instance Interruption Warning"
_PAUSE_AFTER_ANOTHERS_MESSAGE_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0

log = logging.getLogger("trainer")


class Notice:
    """What this process has heard. Set once, from a signal handler or a thread; never cleared."""

    def __init__(self) -> None:
        self.reason: str | None = None

    @property
    def received(self) -> bool:
        return self.reason is not None

    def give(self, reason: str) -> None:
        self.reason = self.reason or reason

    def listen_for_signals(self) -> None:
        """SIGTERM, from torchrun, Kubernetes or a person, and the first Ctrl-C; a second Ctrl-C ends the process."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.give(signal.Signals(number).name)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def own_instance_id() -> str | None:
    return os.environ.get(INSTANCE_ID_VARIABLE) or None


class QueueListener:
    """Polls the interruption queue from a thread; one rank of the gang does so for all."""

    def __init__(self, queue_url: str, instance_ids: Collection[str], notice: Notice, wait_seconds: int) -> None:
        """Raises UserError if the queue can't be read with the present credentials."""
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        if not instance_ids:
            raise UserError(
                f"preemption.queue_url is set, but no rank names its instance: set {INSTANCE_ID_VARIABLE} on each rank"
            )
        self._errors: tuple[type[Exception], ...] = (BotoCoreError, ClientError)
        self._queue_url = queue_url
        self._instance_ids = frozenset(instance_ids)
        self._notice = notice
        self._wait_seconds = wait_seconds
        self._closed = threading.Event()
        try:
            timeouts = Config(connect_timeout=5, read_timeout=wait_seconds + 10, retries={"mode": "standard"})
            self._sqs: Any = boto3.session.Session().client("sqs", config=timeouts)
            self._sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
        except (*self._errors, ValueError) as error:
            raise UserError(
                f"preemption.queue_url {queue_url}: the queue can't be read: {error}. Expected the URL of an SQS queue "
                "that this role may receive from (AWS_REGION, AWS_ENDPOINT_URL and credentials decide where)"
            ) from None
        threading.Thread(target=self._listen, name="interruption-queue", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def _listen(self) -> None:
        backoff_seconds = 1.0
        while not (self._closed.is_set() or self._notice.received):
            try:
                anothers = self._receive()
                backoff_seconds = 1.0
            except self._errors as error:
                log.warning("interruption queue: %s; trying again in %.0f s", error, backoff_seconds)
                self._closed.wait(backoff_seconds)
                backoff_seconds = min(2 * backoff_seconds, _LONGEST_BACKOFF_SECONDS)
                continue
            if anothers:  # let whom it concerns have it first
                self._closed.wait(_PAUSE_AFTER_ANOTHERS_MESSAGE_SECONDS)

    def _receive(self) -> bool:
        """One long poll. Returns whether it brought messages that are not for this gang."""
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url, WaitTimeSeconds=self._wait_seconds, MaxNumberOfMessages=10
        )
        anothers = False
        for message in answer.get("Messages", []):
            instance = interrupted_instance(message["Body"])
            if instance in self._instance_ids:
                self._notice.give(f"spot interruption of {instance}")
                self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
            else:
                anothers = True
                self._sqs.change_message_visibility(
                    QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
                )
        return anothers


def interrupted_instance(body: str) -> str | None:
    """The instance that an EventBridge event, as an SQS target gets it, says will be interrupted; None for others."""
    try:
        event = json.loads(body)
        return event["detail"]["instance-id"] if event["detail-type"] == SPOT_WARNING else None
    except (ValueError, KeyError, TypeError):
        return None
