"""Trainyard: a team's own GPU training platform on AWS, rehearsed on one machine.

The folders of the repository are importable below this name (`trainyard.modules`, `trainyard.policies`, …);
the entries beside this file are symbolic links to them.
"""
