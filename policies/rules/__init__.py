"""The rules, a module for each subject: a function, and all that a person needs to judge and mend what it finds."""
