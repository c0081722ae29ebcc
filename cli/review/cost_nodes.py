"""What nodes and volumes cost: groups of nodes as they are bought, their disks, and volumes that pods ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from trainyard.cli.review.cost_lines import (
    HOURS_A_MONTH,
    PAID_AS_ITSELF,
    Charged,
    Lines,
    Nature,
    Sum,
    gib_of,
    listed,
    mapping,
    number,
    time_of,
)
from trainyard.modules.gpu_capacity import DRAINED_BEFORE_END
from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.modules.node_labels import INSTANCE_TYPE_LABEL, POOL_LABEL
from trainyard.stacks.prices import price

_EBS = "ebs.csi.aws.com"
FREE_IOPS, FREE_THROUGHPUT = 3000, 125
"""Of a gp3 volume. Source: as modules/cpu_group.py."""


def node_group(of: Charged) -> Lines:
    template = _template(of)
    scaling = mapping(of.props.get("scalingConfig"))
    least, most = number(scaling.get("minSize")), number(scaling.get("maxSize"))
    kind = _instance_type(of, template)
    if least is None or most is None or not kind:
        yield of.bare(Nature.UNPRICED, "its size or its instance type is not known")
        return
    bought = _bought(of, template)
    gpus = INSTANCE_TYPES[kind].gpus if kind in INSTANCE_TYPES else 0
    trains = gpus or mapping(of.props.get("labels")).get(POOL_LABEL) == "gpu"
    node, assumed = _node(of, kind, bought, gpus, template)
    named = f"{kind}, {bought}"
    if bought == "a reservation":
        held = of.sum()
        held.add(f"on-demand {kind}", HOURS_A_MONTH)
        said = "the reservation has as many instances as the group may; it is paid whether they run or not"
        yield of.line(Nature.IDLE, f"{most:g} × {named}", held, "month", said, times=most)
    elif least:
        yield of.line(Nature.IDLE, f"{least:g} × {named}", node, "month", *assumed, times=least * HOURS_A_MONTH)
    else:
        said = "without work it has no node"
        if bought == "a Capacity Block":
            said = f"{said}; the block is paid in advance, not by the month"
        yield of.line(Nature.IDLE, f"0 × {named}", of.sum(), "month", said)
    if not trains:
        if most > least:
            yield of.line(Nature.USAGE, named, node, f"hour of a further {kind}", f"{most:g} nodes at most", *assumed)
        return
    apart = "storage, endpoints and control plane are in the monthly cost"
    if bought == "a reservation":
        apart = "in the monthly cost already, as are storage, endpoints and control plane"
    yield of.line(Nature.TRAINING, f"1 × {named}", node, "hour", apart, *assumed)
    if most > 1:
        said = (f"the whole group: {most:g} times one node, with the same assumptions", *node.said[:1])
        whole = Sum(of.region, node.amount, [], node.sources, node.missing)
        yield of.line(Nature.TRAINING, f"{most:g} × {named}", whole, "hour", *said, times=most)
    hours = _block_hours(of)
    if bought == "a Capacity Block" and hours:
        block = of.sum()
        _add_block(block, kind, gpus)
        what = f"{most:g} × {named}, whole"
        said = (f"{hours:g} h, by the group's schedules", "paid in advance, whether it is used or not", "without disks")
        yield of.line(Nature.TRAINING, what, block, "block", *said, times=most * hours)


def _node(of: Charged, kind: str, bought: str, gpus: int, template: Mapping[str, Any]) -> tuple[Sum, tuple[str, ...]]:
    """What an hour of a node costs, disk included, and what is assumed for it."""
    node, said = of.sum(), []
    if bought == "spot":
        node.add(f"spot {kind}", 1, elsewhere=False)
        said.append("spot: from the cheapest to the dearest zone at one moment; it changes by the hour")
    elif bought == "a Capacity Block":
        _add_block(node, kind, gpus)
        said.append(f"{gpus} accelerators a node; a block has the price that was offered when it was bought")
    else:
        node.add(f"on-demand {kind}", 1)
    others = [one for one in listed(of.props.get("instanceTypes"))[1:] if isinstance(one, str)]
    if others:
        said.append(f"EKS gets the first of its types; it may be {' or '.join(others)}")
    disks = list(_disks(template))
    for disk in disks:
        _volume(node, disk, 1 / HOURS_A_MONTH)
    if not disks:
        said.append("without its disk, which is not known")
    return node, tuple(said)


def _add_block(of: Sum, kind: str, gpus: int) -> None:
    if gpus:
        of.add(f"capacity-block {kind}", gpus)
    else:
        of.missing.append(f"capacity-block {kind}, whose accelerators are not known,")


def _volume(of: Sum, disk: Mapping[str, Any], months: float) -> None:
    """Add an EBS volume, and what a month of it costs to what is assumed."""
    kind, size = disk.get("volumeType"), number(disk.get("volumeSize")) or 0
    iops, throughput = number(disk.get("iops")) or 0, number(disk.get("throughput")) or 0
    quantities = {f"ebs-{kind}": size}
    if kind == "gp3":
        quantities |= {
            "ebs-gp3-iops": max(0, iops - FREE_IOPS),
            "ebs-gp3-throughput": max(0, throughput - FREE_THROUGHPUT),
        }
    elif kind in ("io1", "io2"):
        quantities |= {f"ebs-{kind}-iops": iops}
    month = Sum(of.region)
    for item, quantity in quantities.items():
        month.add(item, quantity, quietly=True)
        of.add(item, quantity * months, quietly=True)
    known = price(f"ebs-{kind}", of.region)
    if known and not month.missing:
        more = "".join(f", {value:g} {unit}" for value, unit in ((iops, "IOPS"), (throughput, "MB/s")) if value)
        of.said.append(
            f"disk of {size:g} GiB {kind}{more}: {month.amount.low:.2f} USD a month {of.place(known)} [{known.source}]"
        )


def _disks(template: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for one in listed(template.get("blockDeviceMappings")):
        disk = mapping(mapping(one).get("ebs"))
        if number(disk.get("volumeSize")) and isinstance(disk.get("volumeType"), str):
            yield disk


def _template(of: Charged) -> Mapping[str, Any]:
    """Of the launch template that a group of nodes names; nothing where it is not in the state."""
    named = mapping(of.props.get("launchTemplate"))
    wanted = {one for one in (named.get("id"), named.get("name")) if isinstance(one, str)}
    for one in of.graph.of(["aws:ec2/launchTemplate:LaunchTemplate"]):
        if any(isinstance(own, str) and own in wanted for own in (one.props.get("id"), one.props.get("name"))):
            return one.props
    return {}


def _instance_type(of: Charged, template: Mapping[str, Any]) -> str:
    given = [*listed(of.props.get("instanceTypes"))[:1], template.get("instanceType")]
    given.append(mapping(of.props.get("labels")).get(INSTANCE_TYPE_LABEL))
    return next((one for one in given if isinstance(one, str) and one), "")


def _bought(of: Charged, template: Mapping[str, Any]) -> str:
    capacity = of.props.get("capacityType")
    market = mapping(template.get("instanceMarketOptions")).get("marketType")
    if capacity == "CAPACITY_BLOCK" or market == "capacity-block":
        return "a Capacity Block"
    if capacity == "SPOT" or market == "spot":
        return "spot"
    target = mapping(mapping(template.get("capacityReservationSpecification")).get("capacityReservationTarget"))
    return "a reservation" if target.get("capacityReservationId") else "on demand"


def _block_hours(of: Charged) -> float:
    """From the start to the end of a Capacity Block, as the group's scheduled sizes tell it; 0 where they do not."""
    groups = [
        mapping(group).get("name")
        for one in listed(of.props.get("resources"))
        for group in listed(mapping(one).get("autoscalingGroups"))
    ]
    times: dict[bool, datetime] = {}
    for one in of.graph.of(["aws:autoscaling/schedule:Schedule"]):
        name, size = one.props.get("autoscalingGroupName"), number(one.props.get("desiredCapacity"))
        at = time_of(one.props.get("startTime"))
        if isinstance(name, str) and name in groups and size is not None and at is not None:
            times[size > 0] = at
    if len(times) < 2:
        return 0
    hours = (times[False] - times[True] + DRAINED_BEFORE_END).total_seconds() / 3600
    return hours if hours > 0 else 0


def storage_class(of: Charged) -> Lines:
    if of.props.get("provisioner") != _EBS:
        yield of.bare(Nature.FREE, PAID_AS_ITSELF)
        return
    disk = _of_class(of.props, 100)
    volume = of.sum()
    _volume(volume, disk, 1 / HOURS_A_MONTH)
    iops = f", {disk['iops']:g} IOPS" if disk["iops"] else ""
    said = "as long as the pods that ask for it; nothing while nothing runs"
    yield of.line(Nature.USAGE, "volumes", volume, f"hour of a volume of 100 GiB {disk['volumeType']}{iops}", said)


def _of_class(storage_class: Mapping[str, Any], gib: float) -> dict[str, Any]:
    given = mapping(storage_class.get("parameters"))
    kind = given.get("type")
    each = number(given.get("iopsPerGB")) or 0
    return {
        "volumeType": kind if isinstance(kind, str) else "gp3",
        "volumeSize": gib,
        "iops": each * gib or number(given.get("iops")) or 0,
        "throughput": number(given.get("throughput")) or 0,
    }


def claim(of: Charged) -> Lines:
    spec = mapping(of.props.get("spec"))
    named = spec.get("storageClassName")
    classes = [
        one.props
        for one in of.graph.of(["kubernetes:storage.k8s.io/v1:StorageClass"])
        if isinstance(named, str) and mapping(one.props.get("metadata")).get("name") == named
    ]
    gib = gib_of(mapping(mapping(spec.get("resources")).get("requests")).get("storage"))
    if named == "" and isinstance(spec.get("volumeName"), str):
        yield of.bare(Nature.FREE, PAID_AS_ITSELF)
    elif classes and gib and classes[0].get("provisioner") == _EBS:
        disk = _of_class(classes[0], gib)
        volume = of.sum()
        _volume(volume, disk, 1)
        yield of.line(
            Nature.IDLE, f"{gib:g} GiB {disk['volumeType']}", volume, "month", "it stands as long as the claim"
        )
    else:
        yield of.bare(Nature.UNPRICED, "a volume whose class or size is not known")


def volume(of: Charged) -> Lines:
    size, kind = number(of.props.get("size")), of.props.get("type") or "gp2"
    if size is None or not isinstance(kind, str):
        yield of.bare(Nature.UNPRICED, "its size or its kind is not known")
        return
    month = of.sum()
    _volume(month, {**of.props, "volumeSize": size, "volumeType": kind}, 1)
    yield of.line(Nature.IDLE, f"{size:g} GiB {kind}", month, "month", "paid by its size, full or empty")
