"""A review as JUnit XML, which every CI knows how to show: a suite for each environment, a case for each finding."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from trainyard.cli.review.model import Environment, Finding, Review, Standing
from trainyard.policies.rule import Verdict

# What XML 1.0 cannot hold, however it is written.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(review: Review) -> str:
    """Failed: a new violation. An error: what could not be judged. Skipped: what stood before."""
    what = f"review {review.base} to {review.head}" if review.base else f"policies check {review.head}"
    root = ET.Element("testsuites", name=_clean(f"trainyard {what}"))
    for environment in review.environments:
        _suite(root, environment)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: ET.Element, environment: Environment) -> None:
    suite = ET.SubElement(root, "testsuite", name=environment.name)
    engine = (
        () if environment.source else (("comes up", environment.failure), ("can be applied", environment.apply_error))
    )
    for what, said in engine:
        case = ET.SubElement(suite, "testcase", classname=environment.name, name=what)
        if said:
            _say(case, "error", "error", said)
    for finding in environment.findings:
        _case(suite, environment, finding)
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    for kind, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(kind) is not None for case in cases)))


def _case(suite: ET.Element, environment: Environment, finding: Finding) -> None:
    place = f"{finding.name}.{finding.place}" if finding.place else finding.name
    name = _clean(f"{finding.rule}: {place}")
    case = ET.SubElement(suite, "testcase", classname=environment.name, name=name)
    if finding.standing is Standing.FIXED:
        return
    text = f"{finding.message}\n{finding.why}\n{finding.remedy}"
    if not finding.stops:
        what = "stood before" if finding.standing is Standing.STANDING else "advice"
        ET.SubElement(case, "skipped", message=_clean(f"{what}: {finding.message}"))
    elif finding.verdict is Verdict.VIOLATION:
        _say(case, "failure", finding.rule, text)
    else:
        _say(case, "error", "cannot be verified", text)


def _say(case: ET.Element, kind: str, type_: str, text: str) -> None:
    first = _clean(text).partition("\n")[0]
    ET.SubElement(case, kind, type=type_, message=first).text = _clean(text)


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
