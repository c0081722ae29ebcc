"""What IAM says: policy documents read, requests evaluated against them, and what rights lead to.

`documents` reads statements, `conditions` and `evaluation` decide a request in three values (yes, no, it depends),
`grants` lists what each identity holds, and `paths` the ways from rights held to rights never given.
"""
