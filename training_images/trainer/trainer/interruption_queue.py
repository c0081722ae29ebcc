"""The platform's interruption queue, read by one rank for its whole gang.

All jobs of the account read the same queue: what is not for this gang goes back at once. Receiving, deleting and
changing visibility is all that a training role may do with it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from trainer.errors import UserError
from trainer.interruption_events import Interruption, read_event
from trainer.preemption import INSTANCE_ID_VARIABLE, Notice

_PAUSE_AFTER_ANOTHERS_MESSAGE_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0
_PASSING = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "KmsThrottled",
        "OverLimit",
        "RequestThrottled",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
    }
)
"""What SQS says of troubles that pass. Source: Amazon SQS API reference, "Common Errors" and ReceiveMessage."""

log = logging.getLogger("trainer")


class QueueListener:
    """Polls the queue from a thread until there is something to leave for."""

    def __init__(self, queue_url: str, names: Collection[str], notice: Notice, wait_seconds: int) -> None:
        """`names` are this gang's instances and reservations.

        Raises UserError if the queue does not exist or may not be read. One that can't be reached, or is busy, is no
        reason not to train: it is tried again and again, and signals are heard meanwhile.
        """
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        if not names:
            raise UserError(
                f"preemption.queue_url is set, but no rank names its instance: set {INSTANCE_ID_VARIABLE} on each rank"
            )
        self._queue_url = queue_url
        self._names = frozenset(names)
        self._notice = notice
        self._wait_seconds = wait_seconds
        self._closed = threading.Event()
        self._trouble: str | None = None
        self._heard: set[tuple[str, datetime | None]] = set()
        try:
            timeouts = Config(connect_timeout=5, read_timeout=wait_seconds + 10, retries={"mode": "standard"})
            self._sqs: Any = boto3.session.Session().client("sqs", config=timeouts)
            self._receive(wait_seconds=0)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = error.response.get("Error", {}).get("Code", "")
            if status < 500 and code.rpartition(".")[2] not in _PASSING:
                raise self._unreadable(error) from None
            self._note_trouble(error)
        except (BotoCoreError, ValueError) as error:
            if not _is_about_the_network(error):
                raise self._unreadable(error) from None
            self._note_trouble(error)
        threading.Thread(target=self._listen, name="interruption-queue", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(
            f"preemption.queue_url {self._queue_url}: the queue can't be read: {error}. Expected the URL of an SQS "
            "queue that this role may receive from (AWS_REGION, AWS_ENDPOINT_URL and credentials decide where)"
        )

    def _listen(self) -> None:
        backoff_seconds = 1.0
        while not (self._closed.is_set() or self._notice.received):
            try:
                anothers = self._receive(self._wait_seconds)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong here, the run must hear the next warning
                self._note_trouble(error)
                self._closed.wait(backoff_seconds)
                backoff_seconds = min(2 * backoff_seconds, _LONGEST_BACKOFF_SECONDS)
                continue
            backoff_seconds = 1.0
            if self._trouble is not None:
                log.info("interruption queue: read again")
                self._trouble = None
            if anothers:  # let whom it concerns have it first
                self._closed.wait(_PAUSE_AFTER_ANOTHERS_MESSAGE_SECONDS)

    def _note_trouble(self, error: Exception) -> None:
        """Told once for each kind: a queue that is gone for days must not fill the log."""
        if self._trouble != type(error).__name__:
            self._trouble = type(error).__name__
            log.warning("interruption queue: %s; trying again for as long as the run lasts", error)

    def _receive(self, wait_seconds: int) -> bool:
        """One poll. Returns whether it brought messages that are, also, for others."""
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url, WaitTimeSeconds=wait_seconds, MaxNumberOfMessages=10
        )
        anothers = False
        for message in answer.get("Messages", []):
            handle = message["ReceiptHandle"]
            interruption = read_event(message.get("Body", ""))
            name = interruption.concerns(self._names) if interruption is not None else None
            if interruption is not None and name is not None:
                self._hear(interruption, name)
            if interruption is None or name is None or interruption.shared:
                anothers = True
                self._sqs.change_message_visibility(QueueUrl=self._queue_url, ReceiptHandle=handle, VisibilityTimeout=0)
            else:
                self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=handle)
        return anothers

    def _hear(self, interruption: Interruption, name: str) -> None:
        reason = f"{interruption.what} of {name}"
        if (reason, interruption.ends_at) in self._heard:  # a message that stays for others comes back
            return
        self._heard.add((reason, interruption.ends_at))
        if interruption.ends_at is None:
            self._notice.warn(reason)
            return
        left = (interruption.ends_at - datetime.now(UTC)).total_seconds()
        log.info("interruption queue: %s in %.0f s", reason, left)
        self._notice.plan(reason, interruption.ends_at)


def _is_about_the_network(error: Exception) -> bool:
    from botocore.exceptions import ConnectionError as NotConnected
    from botocore.exceptions import HTTPClientError

    return isinstance(error, NotConnected | HTTPClientError)
