"""The rehearsal's Kubernetes: a control plane without nodes, its authentication, and the provider that talks to it."""
