"""A package, so that the control plane goes with its last test (`scope="package"`): idle it takes 4 % of a core."""
