"""What every wing stands on: errors, files that are whole or not there, locks, memory, threads, other processes.

In comes nothing of the workbench: no module here imports from a wing above. Out go the errors (`errors`), what goes
with a piece of work and what happens in it (`context`, `events`), atomic files and the store of blocks (`cache`), locks
(`locks`), reading files by their names (`frames`, `packed`), masks for secrets (`credentials`), text that is safe to
show (`printable`, `html_page`), calls of a user's code (`user_code`), commands in a world of their own (`isolation`),
the process of a notebook (`notebook_worker`).

What is imported here is paid by every command: heavy packages load inside the function that needs them.
"""
