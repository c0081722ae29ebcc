"""What differs between two runs, what only a new object can hold, and what others changed."""

from __future__ import annotations

from typing import ClassVar

import pytest

from trainyard.local.aws.values import UNKNOWN
from trainyard.local.kubernetes.provider.changes import Mutability, changed_paths, replacing
from trainyard.local.kubernetes.provider.connection import ApiError
from trainyard.local.kubernetes.provider.drift import drifted_inputs, imported_inputs
from trainyard.local.kubernetes.provider.kinds import Kind
from trainyard.local.kubernetes.provider.objects import said_immutable

NONE = Mutability()


class TestChangedPaths:
    def test_each_path_tells_how_it_differs(self):
        old = {"spec": {"ports": [{"port": 1}, {"port": 2}], "kept": True, "gone": 1}}
        new = {"spec": {"ports": [{"port": 3}], "kept": True, "added": None, "more": {}}}
        assert changed_paths(old, new) == {
            "spec.ports[0].port": "update",
            "spec.ports[1]": "delete",
            "spec.gone": "delete",
            "spec.more": "add",
        }

    def test_keys_that_are_no_identifiers_are_quoted(self):
        assert changed_paths({"a": {}}, {"a": {"b.c/d": "e"}}) == {'a["b.c/d"]': "add"}

    def test_a_value_that_is_not_known_yet_differs_from_every_other(self):
        assert changed_paths({"a": "b"}, {"a": UNKNOWN}) == {"a": "update"}

    def test_a_truth_value_is_no_number(self):
        assert changed_paths({"a": 1}, {"a": True}) == {"a": "update"}


@pytest.mark.parametrize(
    ("kind", "path", "is_replaced"),
    [
        (Kind("apps/v1", "Deployment"), "spec.selector.matchLabels.app", True),
        (Kind("apps/v1", "DaemonSet"), "spec.selector", True),
        (Kind("apps/v1", "Deployment"), "spec.selectors", False),
        (Kind("apps/v1", "Deployment"), "spec.template.spec.containers[0].image", False),
        (Kind("apps/v1", "StatefulSet"), "spec.volumeClaimTemplates[0].spec", True),
        (Kind("apps/v1", "StatefulSet"), "spec.revisionHistoryLimit", False),
        (Kind("v1", "PersistentVolumeClaim"), "spec.resources.requests.storage", False),
        (Kind("v1", "PersistentVolumeClaim"), "spec.storageClassName", True),
        (Kind("v1", "PersistentVolume"), "spec.csi.volumeHandle", True),
        (Kind("v1", "PersistentVolume"), "spec.capacity.storage", False),
        (Kind("storage.k8s.io/v1", "StorageClass"), 'parameters["type"]', True),
        (Kind("batch/v1", "Job"), "spec.template.spec.containers[0].image", True),
        (Kind("batch/v1", "Job"), "spec.suspend", False),
        (Kind("rbac.authorization.k8s.io/v1", "RoleBinding"), "roleRef.name", True),
        (Kind("rbac.authorization.k8s.io/v1", "RoleBinding"), "subjects[0].name", False),
        (Kind("v1", "Service"), "spec.clusterIP", True),
        (Kind("v1", "Pod"), "spec.containers[0].image", False),
        (Kind("v1", "Pod"), "spec.nodeName", True),
        (Kind("example.com/v1", "Run"), "metadata.name", True),
        (Kind("example.com/v1", "Run"), "metadata.labels.a", False),
    ],
)
def test_what_a_kind_holds_for_its_life_needs_a_new_object(kind: Kind, path: str, is_replaced: bool):
    assert (path in replacing(kind, {path: "update"}, {}, NONE)) is is_replaced


def test_data_changes_in_place_only_where_the_provider_says_so_and_the_object_is_not_sealed():
    kind, paths = Kind("v1", "ConfigMap"), {"data.a": "update"}
    mutable = Mutability(config_maps=True)
    assert replacing(kind, paths, {}, NONE) == {"data.a"}
    assert replacing(kind, paths, {}, mutable) == set()
    assert replacing(kind, paths, {"immutable": True}, mutable) == {"data.a"}
    assert replacing(Kind("v1", "Secret"), {"type": "update"}, {}, Mutability(secrets=True)) == {"type"}


def test_only_refusals_about_fixed_fields_ask_for_a_new_object():
    fixed = ApiError(422, "Invalid", "", (("spec.selector", "FieldValueInvalid", "Invalid value: field is immutable"),))
    wrong = ApiError(422, "Invalid", "", (("spec.replicas", "FieldValueInvalid", "must be positive"),))
    assert said_immutable(fixed) == {"spec.selector"}
    assert said_immutable(wrong) == set()


class TestDrift:
    BEFORE: ClassVar = {"spec": {"cpu": "1", "ports": [{"name": "a", "port": 1, "protocol": "TCP"}]}}
    INPUTS: ClassVar = {"spec": {"cpu": "1000m", "ports": [{"name": "a", "port": 1}], "off": False}}

    def test_what_the_server_writes_otherwise_and_adds_is_no_drift(self):
        now = {"spec": {**self.BEFORE["spec"], "added": 3}, "status": {}}
        assert drifted_inputs(self.INPUTS, self.BEFORE, now) == self.INPUTS

    def test_what_others_changed_or_removed_shows(self):
        now = {"spec": {"cpu": "2", "ports": [{"name": "b", "port": 2}, {"name": "a", "port": 3}]}}
        found = drifted_inputs(self.INPUTS, self.BEFORE, now)
        assert found == {"spec": {"cpu": "2", "ports": [{"name": "a", "port": 3}], "off": False}}
        assert "cpu" not in drifted_inputs(self.INPUTS, self.BEFORE, {"spec": {}})["spec"]

    def test_an_import_leaves_out_what_the_server_makes(self):
        live = {"metadata": {"name": "a", "uid": "1", "managedFields": []}, "data": {"b": "c"}, "status": {}}
        assert imported_inputs(live) == {"metadata": {"name": "a"}, "data": {"b": "c"}}
