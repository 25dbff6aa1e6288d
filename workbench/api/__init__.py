"""What programs and notebooks call; the command does, too.

`library` has everything that the command can do, `nb` is what a notebook works with, `health` is what `wb doctor` looks
at. They print nothing: whoever calls says where progress goes. Names that are public stand in the package's `__all__`.
"""
