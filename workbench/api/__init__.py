"""What programs and notebooks call; the command does, too.

`library` opens workspaces and competitions. The handle is in `competition`, and each of its parts in a module of its
own: `data`, `features`, `experiments`, `runs`, `studies`, `submissions`, `kernels`. `values` has the types that they
take and return, `deprecated` the calls of earlier versions. `nb` is what a notebook works with, `health` what
`wb doctor` looks at.

A new call is a method of the part that it belongs to, with a docstring and typed options: a frozen dataclass where
there are more than six. Nothing here prints: whoever calls says where progress goes. The command imports this wing and
`core` alone. Names that are public stand in the package's `__all__`.
"""
