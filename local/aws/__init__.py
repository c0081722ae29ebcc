"""The emulated AWS account: the server that plays it and the Pulumi provider plugin that talks to it."""
