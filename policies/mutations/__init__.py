"""What an attacker or a careless change would do to an environment, one change at a time: which of it do the rules see?

`changes.yaml` says what is tried on which kind of resource, `harmless.yaml` what is no loss and why. Both are written
from what can go wrong, and never read off the rules: a mutation that no rule sees is the result that counts.
"""
