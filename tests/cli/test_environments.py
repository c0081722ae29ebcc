"""What `--set` makes of an environment's values, and what it refuses."""

from __future__ import annotations

import pytest

from trainyard.cli.environments import SettingsError, environment_file, read, read_values, with_changes
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
        ("owner=2026-13-45", "no YAML"),
        ("owner=*nobody", "no YAML"),
        ("owner=!!python/object:os.system x", "no YAML"),
        pytest.param("owner=" + "[" * 3000, "no YAML", id="deep"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused_in_words(assignment, said):
    with pytest.raises(SettingsError, match=said):
        with_changes(VALUES, [assignment])


def test_an_unknown_environment_is_answered_with_those_there_are():
    with pytest.raises(SettingsError, match=r"'prod'; there are .*local"):
        environment_file("prod", ROOT)


@pytest.mark.parametrize("name", ["", ".", "../environments/Pulumi.dev", "local/../dev", "dev\n", "a" * 5000])
def test_a_name_that_none_can_have_is_answered_likewise(name):
    with pytest.raises(SettingsError, match=r"no environment is called .* there are dev, local"):
        environment_file(name, ROOT)


def test_what_is_no_file_is_no_environment(tmp_path):
    folder = tmp_path / "stacks" / "environments"
    (folder / "Pulumi.folder.yaml").mkdir(parents=True)
    (folder / "Pulumi.dangling.yaml").symlink_to(folder / "nowhere")
    with pytest.raises(SettingsError, match="'folder'; there are none"):
        environment_file("folder", tmp_path)


BOMB = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"- a list", "it is no mapping"),
        (b"config: [1", "expected ',' or ']'"),
        (b"config: text", "its config is no mapping"),
        (b"config: [[trainyard:region, us-east-1]]", "its config is no mapping"),
        (b"\x00", "special characters are not allowed"),
        (b"\xff\xfec\x00", "can't decode byte"),
        ("config: {trainyard:owner: Bär}".encode("latin-1"), "can't decode byte"),
        (b"config:\n  1: x", "the key 1 in its config is no text"),
        (b"config:\n  a: 1\n  b: 2\n  a: 3", "a stands in it twice, the second time in line 4"),
        (b"config: {}\nconfig: {}", "config stands in it twice"),
        (b"config:\n  region: a\n  trainyard:region: b", "trainyard:region stands in it twice"),
        (b"config: &all\n  a: *all", "an alias in line 1 contains itself"),
        (f"a0: &a0 [x]\n{BOMB}config: {{a: *a8}}".encode(), "more than 20000 values"),
        (b"config: {a: " + b"[" * 3000, "nested too deeply"),
        (b"config: {a: " + b"[" * 100 + b"]" * 100 + b"}", "nested too deeply in line 1"),
        (b"config: {a: 2026-13-45}", "month must be in"),
        (b"config: {a: 1" + b"0" * 5000 + b"}", "4300 digits"),
        (b"#" * 300_000, "larger than 256 KiB"),
        (b"--- a\n--- b", "expected a single document"),
    ],
)
def test_a_file_that_is_no_stacks_is_refused(content, said, tmp_path):
    file = tmp_path / "Pulumi.x.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"{file} is not the YAML of a stack: [\\s\\S]*{said}"):
        read_values(file)


def test_a_file_is_read_as_pulumi_reads_it(tmp_path):
    """With a byte order mark and Windows' line ends, merged anchors, and keys that leave their namespace out."""
    file = tmp_path / "Pulumi.x.yaml"
    text = "base: &base {nat: single}\nconfig:\n  region: us-east-1\n  trainyard:network: {<<: *base, existing: null}\n"
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert read_values(file) == {
        "trainyard:region": "us-east-1",
        "trainyard:network": {"nat": "single", "existing": None},
    }


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        read_values(tmp_path)


def test_a_number_may_be_a_name_as_it_may_for_pulumi():
    file = environment_file("dev", ROOT)
    _, settings = read("dev", file, ["cost_centre=2026", "account_id=210987654321", "log_retention_days=90"])
    assert (settings.cost_centre, settings.account_id, settings.log_retention_days) == ("2026", "210987654321", 90)


def test_an_error_names_the_region_where_it_is_known():
    with pytest.raises(SettingsError) as wrong:
        read("dev", environment_file("dev", ROOT), ["region=us-east-2", "nonsense"])
    assert wrong.value.region == "us-east-1"
