"""What we are measured against, each run in a process of its own. They import nothing of ours but what they load."""
