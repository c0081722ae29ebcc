"""Pulumi components for a GPU training platform on AWS, each usable alone from another program.

Every component takes its tags, its key and what it joins as arguments, and reads account, partition and region from the
provider it is given. Physical names come from Pulumi's auto-naming, so two platforms live side by side in an account.
"""
