"""Who can read, write, decrypt or administer each bucket, key, secret, queue and topic of a stack, and by what way.

`principals` finds the identities with all their policies and whoever takes them, `targets` what they may reach, and
`rows` asks the evaluation of IAM for every pair.
"""
