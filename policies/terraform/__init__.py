"""The rules over a Terraform plan: its resources under the names that the rules know, and back."""
