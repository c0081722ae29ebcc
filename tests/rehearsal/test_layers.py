"""`local` split into its three layers: the same platform, in three stacks that find each other by their outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import yaml

from trainyard.local.engine import EngineError
from trainyard.local.paths import ROOT
from trainyard.local.rehearsal import Rehearsal, count_resources
from trainyard.stacks.settings import LAYERS


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory) -> Iterator[Rehearsal]:
    folder = tmp_path_factory.mktemp("layers")
    content = yaml.safe_load((ROOT / "stacks/environments/Pulumi.local.yaml").read_text())
    content["config"]["trainyard:layers"] = True
    config = folder / "Pulumi.local.yaml"
    config.write_text(yaml.safe_dump(content))
    with Rehearsal("local", folder / "rehearsal", config=config, layers=LAYERS, throw_away=True) as rehearsal:
        yield rehearsal


def test_the_cluster_says_what_is_missing_below_it(rehearsal):
    with pytest.raises(EngineError, match="local-data"):
        rehearsal.engine(layer="cluster").run("up")


def test_all_three_come_up_and_no_policy_is_violated(rehearsal):
    up = rehearsal.up()
    assert up.mandatory == []
    resources = rehearsal.export()["deployment"]["resources"]
    assert Counter(one["urn"].split(":")[2] for one in resources).keys() == {f"local-{layer}" for layer in LAYERS}
    assert count_resources(rehearsal.export()) >= 120
    assert rehearsal.outputs()["team_namespaces"] == ["vision", "language"]


def test_a_second_preview_changes_nothing(rehearsal):
    assert set(rehearsal.preview().changes) == {"same"}


def test_the_workloads_alone_can_go_and_come_back(rehearsal):
    rehearsal.engine(layer="workloads").run("destroy")
    up = rehearsal.up()
    made = {urn.split("::")[0].rpartition(":")[2] for operation, urn in up.steps if operation == "create"}
    assert made == {"local-workloads"}


def test_all_of_it_goes_in_the_right_order(rehearsal):
    rehearsal.destroy()
    assert count_resources(rehearsal.export()) == 0
