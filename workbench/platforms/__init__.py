"""The platforms that host competitions.

Input is the name of a platform and of a competition; output are files, scores, and the status of submissions and
kernels. `protocol` defines what a platform can do, and which class implements which name (`IMPLEMENTATIONS`);
`interactions` describes a log of events; `kaggle` is the only importer of Kaggle's client. The local platform is the
wing `rehearsal`, which reads the files that it hosts in the same way as `wb fetch`.

A new platform is a class that follows `protocol.Platform`, one line in `IMPLEMENTATIONS`, and one subclass of the
tests' `PlatformContract`.
"""
