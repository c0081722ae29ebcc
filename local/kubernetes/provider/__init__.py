"""The `kubernetes` provider of a rehearsal: what Pulumi's own does for a cluster, in Python, against a real API server.

`python -m trainyard.local.kubernetes.provider [ENGINE_ADDRESS]` is the plugin that the engine starts. How it differs
from the official provider stands in docs/kubernetes-provider.md.
"""
