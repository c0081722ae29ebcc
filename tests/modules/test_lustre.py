"""The file system: how it is made, who reaches it, what outlives it."""

from __future__ import annotations

from typing import Any

import pytest
from mocked_pulumi import ACCOUNT, REGION, Deployment, Registered, run

from trainyard.modules.lustre import EFA_STEP_GIB, Lustre, LustreArgs, LustreLink

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/data"
CLIENTS = "sg-0clients"
EFA = {"p4d": "sg-0efa-p4d", "p5": "sg-0efa-p5"}
FILE_SYSTEM = "aws:fsx/lustreFileSystem:LustreFileSystem"
IN = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
OUT = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"


def _args(**changes: Any) -> LustreArgs:
    given: dict[str, Any] = {
        "vpc_id": "vpc-1",
        "subnet_id": "subnet-1",
        "client_security_group_ids": [CLIENTS],
        "key_arn": KEY,
        "storage_gib": 4800,
        "throughput_mbps_per_tib": 250,
    }
    return LustreArgs(**{**given, **changes})


def _made(**changes: Any) -> Deployment:
    return run(lambda: Lustre("yard", _args(**changes)))


@pytest.fixture(scope="module")
def plain() -> Deployment:
    return _made(
        tags={"owner": "ml", "data-class": "personal"}, logs_key_arn="arn:aws:kms:logs", root_squash="65534:65534"
    )


@pytest.fixture(scope="module")
def with_efa() -> Deployment:
    return _made(efa=True, efa_security_group_ids_by_name=EFA, storage_gib=19_200)


@pytest.fixture(scope="module")
def linked() -> Deployment:
    links = [
        LustreLink("/datasets", "yard-datasets"),
        LustreLink("/runs/vision", "yard-checkpoints", prefix="vision/", exports=True),
    ]
    return _made(links=links, backup_retention_days=0, tags={"owner": "ml"})


def test_it_is_of_the_lasting_kind_compressed_and_under_the_given_key(plain: Deployment) -> None:
    made = plain.one(FILE_SYSTEM).inputs
    assert (made["deploymentType"], made["storageType"], made["fileSystemTypeVersion"]) == (
        "PERSISTENT_2",
        "SSD",
        "2.15",
    )
    assert (made["storageCapacity"], made["perUnitStorageThroughput"]) == (4800, 250)
    assert made["dataCompressionType"] == "LZ4"
    assert made["metadataConfiguration"] == {"mode": "AUTOMATIC"}
    assert made["kmsKeyId"] == KEY
    assert made["subnetIds"] == "subnet-1"
    assert made["efaEnabled"] is False
    assert made["rootSquashConfiguration"] == {"rootSquash": "65534:65534"}


def test_without_links_it_is_backed_up_with_its_tags(plain: Deployment) -> None:
    made = plain.one(FILE_SYSTEM).inputs
    assert made["automaticBackupRetentionDays"] == 7
    assert made["copyTagsToBackups"] is True
    assert made["tags"]["data-class"] == "personal"
    assert made["skipFinalBackup"] is False


def test_what_goes_wrong_with_links_is_logged_where_fsx_may_write(plain: Deployment) -> None:
    group = plain.one("aws:cloudwatch/logGroup:LogGroup")
    assert group.inputs["name"].startswith("/aws/fsx/")
    assert group.inputs["kmsKeyId"] == "arn:aws:kms:logs"
    assert group.inputs["tags"]["data-class"] == "internal"
    logged = plain.one(FILE_SYSTEM).inputs["logConfiguration"]
    assert logged == {"level": "WARN_ERROR", "destination": group.outputs["arn"]}


def _group(made: Deployment) -> str:
    return made.one("aws:ec2/securityGroup:SecurityGroup").id


def _open(made: Deployment, token: str) -> set[tuple[str, str, int | None, int | None, str]]:
    """The rules as (group, protocol, first port, last port, peer)."""
    return {
        (
            rule.inputs["securityGroupId"],
            rule.inputs["ipProtocol"],
            rule.inputs.get("fromPort"),
            rule.inputs.get("toPort"),
            rule.inputs["referencedSecurityGroupId"],
        )
        for rule in made.of_type(token)
    }


def test_lustre_passes_between_clients_and_servers_both_ways_and_nothing_else(plain: Deployment) -> None:
    own = _group(plain)
    expected = {
        (group, "tcp", first, last, peer)
        for group, peer in ((own, own), (own, CLIENTS), (CLIENTS, own))
        for first, last in ((988, 988), (1018, 1023))
    }
    assert _open(plain, IN) == expected
    assert _open(plain, OUT) == expected


def test_with_efa_everything_passes_among_the_file_system_and_each_efa_group_both_ways(with_efa: Deployment) -> None:
    own = _group(with_efa)
    for token in (IN, OUT):
        everything = {(group, peer) for group, protocol, _, _, peer in _open(with_efa, token) if protocol == "-1"}
        assert everything == {
            (own, own),
            *((own, group) for group in EFA.values()),
            *((group, own) for group in EFA.values()),
        }
    assert with_efa.one(FILE_SYSTEM).inputs["efaEnabled"] is True


def test_a_group_that_leaves_takes_its_own_rules_and_no_others(with_efa: Deployment) -> None:
    """A rule that moved to another name would be made before the old one goes, and EC2 refuses duplicates."""
    alone = _made(efa=True, efa_security_group_ids_by_name={"p5": EFA["p5"]}, storage_gib=19_200)
    for token in (IN, OUT):
        before = {rule.name: rule.inputs for rule in with_efa.of_type(token)}
        after = {rule.name: rule.inputs for rule in alone.of_type(token)}
        assert {name for name in before if name not in after} == {name for name in before if "p4d" in name} != set()
        assert all(before[name] == inputs for name, inputs in after.items())


def test_it_waits_for_its_rules_and_each_rule_says_what_it_is_for(with_efa: Deployment) -> None:
    rules: list[Registered] = [*with_efa.of_type(IN), *with_efa.of_type(OUT)]
    assert {rule.urn for rule in rules} <= with_efa.one(FILE_SYSTEM).dependencies
    assert all(rule.inputs["description"] for rule in rules)


def _link(made: Deployment, name: str) -> dict[str, Any]:
    return dict(made.one("aws:fsx/dataRepositoryAssociation:DataRepositoryAssociation", name).inputs)


def test_links_show_buckets_and_write_back_only_where_asked(linked: Deployment) -> None:
    everything = {"events": ["NEW", "CHANGED", "DELETED"]}
    datasets, runs = _link(linked, "yard-datasets"), _link(linked, "yard-runs-vision")
    assert (datasets["fileSystemPath"], datasets["dataRepositoryPath"]) == ("/datasets", "s3://yard-datasets/")
    assert datasets["s3"] == {"autoImportPolicy": everything}
    assert (runs["fileSystemPath"], runs["dataRepositoryPath"]) == ("/runs/vision", "s3://yard-checkpoints/vision/")
    assert runs["s3"] == {"autoImportPolicy": everything, "autoExportPolicy": everything}
    for link in (datasets, runs):
        assert link["batchImportMetaDataOnCreate"] is True
        assert link["deleteDataInFilesystem"] is False
        assert link["tags"] == {"owner": "ml"}


def test_with_links_there_are_no_backups_not_even_a_last_one(linked: Deployment) -> None:
    made = linked.one(FILE_SYSTEM).inputs
    assert made["automaticBackupRetentionDays"] == 0
    assert made["skipFinalBackup"] is True


@pytest.mark.parametrize("protected", [True, False])
def test_a_protected_file_system_is_neither_deleted_nor_left_without_a_last_backup(protected: bool) -> None:
    made = _made(protected=protected).one(FILE_SYSTEM)
    assert made.protect is made.retain_on_delete is protected
    assert made.inputs["skipFinalBackup"] is not protected


@pytest.mark.parametrize(("throughput", "step"), EFA_STEP_GIB.items())
def test_efa_takes_its_own_sizes(throughput: int, step: int) -> None:
    efa = {"efa": True, "efa_security_group_ids_by_name": EFA, "throughput_mbps_per_tib": throughput}
    assert _args(**efa, storage_gib=step).storage_gib == step
    for wrong in (0, step // 2, step + 2400):
        with pytest.raises(ValueError, match=f"it may be {step}, {2 * step}"):
            _args(**efa, storage_gib=wrong)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"storage_gib": 1000}, "1200, 2400"),
        ({"storage_gib": 3600}, "1200, 2400"),
        ({"storage_gib": 0}, "1200, 2400"),
        ({"storage_gib": -2400}, "1200, 2400"),
        ({"throughput_mbps_per_tib": 200}, "125, 250, 500, 1000"),
        ({"client_security_group_ids": []}, "nobody could mount"),
        ({"efa": True, "storage_gib": 19_200}, "go together"),
        ({"efa_security_group_ids_by_name": EFA}, "go together"),
        ({"backup_retention_days": 91}, "0 to 90"),
        ({"links": [LustreLink("/a", "b")]}, "set backup_retention_days to 0"),
        ({"links": [LustreLink(f"/{n}", "b") for n in range(9)], "backup_retention_days": 0}, "at most 8"),
        ({"links": [LustreLink("/a", "b"), LustreLink("/a/c", "d")], "backup_retention_days": 0}, "overlap"),
        ({"links": [LustreLink("/a", "b"), LustreLink("/a", "d")], "backup_retention_days": 0}, "overlap"),
        ({"maintenance": "0:03:00"}, "day:HH:MM"),
        ({"maintenance": "Sunday 03:00"}, "day:HH:MM"),
        ({"root_squash": "nobody"}, "uid:gid"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _args(**changes)


@pytest.mark.parametrize(
    ("path", "prefix", "message"),
    [
        ("datasets", "", "absolute"),
        ("/datasets/", "", "absolute"),
        ("/", "", "absolute"),
        ("/d", "x", "ends in a slash"),
    ],
)
def test_a_wrong_link_is_refused(path: str, prefix: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LustreLink(path, "bucket", prefix)


def test_folders_whose_names_only_begin_alike_do_not_overlap() -> None:
    assert len(_args(links=[LustreLink("/run", "a"), LustreLink("/runs", "b")], backup_retention_days=0).links) == 2
