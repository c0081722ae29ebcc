"""What `--set` makes of an environment's values, and what it refuses."""

from __future__ import annotations

import pytest

from trainyard.cli.environments import SettingsError, environment_file, read_values, with_changes
from trainyard.local.paths import ROOT

VALUES = {
    "trainyard:region": "us-east-1",
    "trainyard:gpu_groups": [{"name": "a", "maximum_nodes": 2}, {"name": "b", "maximum_nodes": 4}],
    "trainyard:lustre": {"storage_gib": 1200},
    "aws:region": "us-east-1",
}


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("region=me-central-1", ["trainyard:region"], "me-central-1"),
        ("trainyard:region=me-central-1", ["trainyard:region"], "me-central-1"),
        ("lustre.storage_gib=2400", ["trainyard:lustre", "storage_gib"], 2400),
        ("gpu_groups[1].maximum_nodes=8", ["trainyard:gpu_groups", 1, "maximum_nodes"], 8),
        ("availability_zones=[us-east-1a, us-east-1b]", ["trainyard:availability_zones"], ["us-east-1a", "us-east-1b"]),
        ("network.nat=single", ["trainyard:network", "nat"], "single"),
        ("owner=a=b", ["trainyard:owner"], "a=b"),
    ],
)
def test_a_setting_is_changed_and_the_rest_stays(assignment, path, value):
    found = with_changes(VALUES, [assignment])
    for key in path:
        found = found[key]
    assert found == value
    assert VALUES["trainyard:gpu_groups"][1]["maximum_nodes"] == 4
    assert with_changes(VALUES, [assignment])["aws:region"] == "us-east-1"


def test_null_takes_a_setting_away():
    assert "trainyard:lustre" not in with_changes(VALUES, ["lustre=null"])


def test_later_changes_win():
    assert with_changes(VALUES, ["region=a", "region=b"])["trainyard:region"] == "b"


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("region", "written key=value"),
        ("=x", "is no key"),
        ("a..b=x", "is no key"),
        ("gpu_groups[7].name=x", r"there is no entry \[7\]; it has 2"),
        ("region[0]=x", "it is no list"),
        ("region.name=x", "is no object"),
        ("lustre={a", "no YAML"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused_in_words(assignment, said):
    with pytest.raises(SettingsError, match=said):
        with_changes(VALUES, [assignment])


def test_an_unknown_environment_is_answered_with_those_there_are():
    with pytest.raises(SettingsError, match=r"'prod'; there are .*local"):
        environment_file("prod", ROOT)


@pytest.mark.parametrize("text", ["- a list", "config: [1", "config: text", "\x00"])
def test_a_file_that_is_no_stacks_is_refused(text, tmp_path):
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match="is not the YAML of a stack"):
        read_values(file)
