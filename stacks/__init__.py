"""The Pulumi program: settings in, platform out."""
