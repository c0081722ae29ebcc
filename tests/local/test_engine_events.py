"""No finding of the engine is lost between its event log and the report."""

from __future__ import annotations

import json

import pytest

from trainyard.local.engine import Engine, EngineError

FINDING = {
    "policyEvent": {
        "policyName": "tags-owner",
        "enforcementLevel": "mandatory",
        "resourceUrn": "urn",
        "message": "kein Eigentümer – 所有者なし",
    }
}
SUMMARY = {"summaryEvent": {"resourceChanges": {"create": 1}}}


@pytest.fixture
def run(tmp_path):
    """A function that runs an engine which writes the pieces given into its event log, one after the other."""

    def begin(pieces: list[bytes], on_event=None):
        for index, piece in enumerate(pieces):
            (tmp_path / f"piece{index}").write_bytes(piece)
        pulumi = tmp_path / "pulumi"
        pulumi.write_text(
            "#!/bin/sh\n"
            'while [ "$1" != --event-log ]; do shift; done\n'
            + "".join(f'cat "{tmp_path}/piece{index}" >> "$2"; sleep 0.3\n' for index in range(len(pieces)))
        )
        pulumi.chmod(0o755)
        return Engine(pulumi, tmp_path, "test", tmp_path / "home", "http://127.0.0.1:1").run("up", on_event=on_event)

    return begin


def _lines(*events) -> bytes:
    return b"".join(json.dumps(event, ensure_ascii=False).encode() + b"\n" for event in events)


def test_an_event_that_is_written_in_two_halves_is_read_whole(run):
    text = _lines(FINDING, SUMMARY)
    within_a_character = text.index("ü".encode()) + 1
    result = run([text[:within_a_character], text[within_a_character:]])
    assert [one["message"] for one in result.violations] == [FINDING["policyEvent"]["message"]]
    assert result.complete


def test_a_listener_that_fails_hides_no_finding_and_no_failure(run):
    heard = []

    def listen(event):
        heard.append(event)
        raise BrokenPipeError("nobody reads the progress")

    with pytest.raises(BrokenPipeError):
        run([_lines({"preludeEvent": {}}), _lines(FINDING, SUMMARY)], listen)
    assert len(heard) == 1


def test_a_log_that_breaks_off_is_no_clean_run(run):
    with pytest.raises(EngineError, match="told only a part") as cut:
        run([_lines(FINDING)])
    assert len(cut.value.result.violations) == 1


def test_a_log_that_cannot_be_read_is_no_clean_run(run):
    with pytest.raises(EngineError, match="cannot be read"):
        run([b"{nonsense\n" + _lines(SUMMARY)])


def test_an_engine_that_is_killed_failed(tmp_path):
    pulumi = tmp_path / "pulumi"
    pulumi.write_text("#!/bin/sh\nkill -9 $$\n")
    pulumi.chmod(0o755)
    with pytest.raises(EngineError) as ended:
        Engine(pulumi, tmp_path, "test", tmp_path / "home", "http://127.0.0.1:1").run("up")
    assert ended.value.result.exit_status == -9
