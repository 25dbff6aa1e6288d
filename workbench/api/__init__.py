"""The library that programs, notebooks and the command call.

`library` opens workspaces and competitions. The handle is in `competition`, and each of its parts in a module of its
own: `data`, `features`, `experiments`, `runs`, `studies`, `submissions`, `kernels`. `values` has the types that they
take and return, `deprecated` the calls of earlier versions. `nb` is the module for notebooks, `health` has the checks
of `wb doctor`.

A new call is a method of the part that it belongs to, with a docstring and typed options, in a frozen dataclass if
there are more than six. Nothing here prints: the caller passes listeners for progress. The command imports only this
wing and `core`. Public names are in the package's `__all__`.
"""
