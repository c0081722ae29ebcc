"""Where data of a class lie, every way by which they can get elsewhere, and whether they may.

`jurisdictions` reads the table of laws, `places` finds where a resource or a destination is, `channels` lists the ways,
and `flows` follows them through a whole stack. Nothing here is legal advice.
"""
