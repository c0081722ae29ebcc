"""`python -m trainyard.local.kubernetes.provider [ENGINE_ADDRESS]`: the plugin, which prints its port and serves."""

from trainyard.local.kubernetes.provider.plugin import main

if __name__ == "__main__":
    main()
