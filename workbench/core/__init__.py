"""Foundations that every wing uses; no module here imports from a wing above.

- `errors`: the exceptions that users see
- `context`, `events`: threads, listeners and progress events of a piece of work
- `cache`, `locks`, `temporary`: atomic files, the block cache, locks between processes
- `frames`, `headers`, `packed`: reading files, compressed ones too
- `credentials`, `printable`, `html_page`: masking secrets, and text that is safe to print or to put into a page
- `user_code`, `isolation`, `notebook_worker`: calling a user's code, sandboxed commands, the process of a notebook
- `memory`, `threads`: limits of the machine

Every command imports this package: heavy packages are imported inside the function that needs them.
"""
