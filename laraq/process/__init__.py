"""Process-wide matters: event loops, forks, installed plug-ins, users' hooks."""
