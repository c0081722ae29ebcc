"""A package, so that what stands goes with its last test (`scope="package"`) and not at the end of all tests."""
