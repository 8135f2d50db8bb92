"""What a process brings along: event loops, forks, installed plug-ins, code of the user's."""
