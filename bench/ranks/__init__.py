"""Stages of a case made by several processes that train together, one a GPU.

`start.made_together` of the process that runs the cases starts `torchrun`, a process of its own that starts the ranks,
which all run `rank`: the same job from the same command, the same code in lockstep. They leave the stages in the cache.

When the process that runs the cases ends, however it does, their standard input does, and so do they (`ending`).
"""
